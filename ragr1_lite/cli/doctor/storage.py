"""Folders, disks, the model caches, and the hub that fills one of them."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

from ragr1_lite.cli.doctor.finding import Finding, error_line
from ragr1_lite.models import smollm2
from ragr1_lite.training.planning.machine import GIB

RUN_BYTES = GIB
"""Free space that a run needs: adapters and two checkpoints of a model of 3B parameters take about as much."""
TIMEOUT = 3.0
"""Seconds in which a hub should answer."""


def working_folder() -> Finding:
    """Whether runs can be written here, and how large they may become."""
    here, folder = Path.cwd(), _existing(Path.cwd() / "runs")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = "Change into a folder that you can write to, or choose one with --set output=FOLDER."
        return Finding("working folder", f"{here} cannot be written to: {error.strerror}", fix)
    free = shutil.disk_usage(folder).free
    detail = f"{here}, {free / GIB:.1f} GB free for runs"
    if free < RUN_BYTES:
        fix = "Free some space, or put runs on another disk with --set output=FOLDER."
        return Finding("working folder", f"{detail}, too little for checkpoints", fix)
    return Finding("working folder", detail)


def model_cache() -> Finding:
    """The cache of the built-in model: where it is, how large, whether the model is in it."""
    root = smollm2.cache_root()
    if (root / smollm2.NAME / "config.json").is_file():
        return Finding("model cache", f"{root}, {_size(root) / GIB:.1f} GB, holds {smollm2.NAME}")
    detail = f"{root}, {smollm2.NAME} is not in it"
    fix = "Free some space or set RAGR1_LITE_CACHE to another folder."
    above = _existing(root)
    free = shutil.disk_usage(above).free
    if not os.access(above, os.W_OK):
        return Finding("model cache", f"{detail} and it cannot be written", fix)
    if free < smollm2.NEEDED_BYTES:
        return Finding("model cache", f"{detail} and its disk has {free / GIB:.1f} GB free, too little", fix)
    return Finding("model cache", f"{detail} yet: first use fetches it from the package index")


def hub_cache() -> Finding:
    """The cache of models from the hub."""
    from huggingface_hub.constants import HF_HUB_CACHE

    root = Path(HF_HUB_CACHE)
    models = [folder.name.removeprefix("models--").replace("--", "/") for folder in sorted(root.glob("models--*"))]
    names = ", ".join([*models[:5], *["…"] * (len(models) > 5)])
    content = f"{_size(root) / GIB:.1f} GB, {names}" if models else "empty"
    free = shutil.disk_usage(_existing(root)).free
    return Finding("hub cache", f"{root}, {content}; {free / GIB:.1f} GB free")


def hub(*, online: bool) -> Finding:
    """Whether the model hub answers; it is asked only where ``online``."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return Finding("hub", "not asked: HF_HUB_OFFLINE is set, so only models in the cache are used")
    if not online:
        return Finding("hub", "not asked; --online asks")
    if problem := _unreachable(ENDPOINT):
        fix = f"Check network and proxy; without a hub, use local folders or {smollm2.NAME}."
        return Finding("hub", f"{ENDPOINT} does not answer: {problem}", fix)
    return Finding("hub", f"{ENDPOINT} answers")


def _unreachable(url: str) -> str:
    """Why an address does not answer; empty where it does, whatever the status."""
    problems = [f"nothing within {TIMEOUT:.0f} s"]

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
            problems.clear()
        except urllib.error.HTTPError:
            problems.clear()
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None)
            problems[:] = [error_line(reason if isinstance(reason, OSError) else error)]

    # In a thread, because looking a name up has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return "".join(problems)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(one for one in (path, *path.absolute().parents) if one.is_dir())


def _size(folder: Path) -> int:
    """Bytes of all files in a folder; links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() or path.is_symlink())
