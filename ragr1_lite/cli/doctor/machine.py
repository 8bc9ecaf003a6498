"""Cards, threads, memory and energy; folders, disks, the model caches, and the hub that fills one of them."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ragr1_lite.cli.doctor.finding import Finding, error_line, load
from ragr1_lite.cli.doctor.packages import has_card
from ragr1_lite.evaluation.resources import energy_meters
from ragr1_lite.models.builtin import BUILT_IN, DEFAULT_MODEL, cache_root, cached
from ragr1_lite.models.precision import FAST_FP16
from ragr1_lite.training.planning.machine import GIB, main_memory

FREE_MEMORY = 2 * GIB  # bytes with which answering works; training wants more, see `ragr1-lite plan`
BF16 = (8, 0)  # the first compute capability that calculates in bf16 (Ampere)
FOUR_BITS = (6, 0)  # the first for which bitsandbytes has 4-bit kernels (Pascal)
RUN_BYTES = GIB
"""Free space that a run needs: adapters and two checkpoints of a model of 3B parameters take about as much."""
TIMEOUT = 3.0  # seconds in which a hub should answer


def gpus() -> list[Finding]:
    """Each card: its memory, and what it and this build of PyTorch can calculate."""
    if not has_card():
        return [Finding("gpu", "none found: training runs on the CPU, where smollm2-135m is the size to train")]
    cuda = load("torch").cuda
    return [_gpu(cuda, number) for number in range(cuda.device_count())]


def threads() -> Finding:
    """Cores, and how many threads were asked for."""
    cores, asked = _cores(), os.environ.get("OMP_NUM_THREADS")
    detail = f"{cores} core{'s' if cores > 1 else ''}, OMP_NUM_THREADS {'is ' + asked if asked else 'not set'}"
    if not asked:
        return Finding("threads", f"{detail}: all are used where that is faster than one")
    if not asked.isdecimal() or int(asked) < 1:
        return Finding("threads", f"{detail}, which is no number of threads", "Set it to one, or unset it.")
    if int(asked) > cores:
        fix = f"export OMP_NUM_THREADS={cores}, or unset it."
        return Finding("threads", f"{detail}: threads that wait for each other are slow", fix)
    return Finding("threads", detail)


def memory() -> Finding:
    """The memory of the machine or of this container."""
    free, total = main_memory()
    fix = "Close other programs, or give this container more." if free < FREE_MEMORY else ""
    return Finding("memory", f"{free / GIB:.1f} GB free of {total / GIB:.1f}", fix)


def energy() -> Finding:
    """Which energy counters can be read; runs go without them."""
    has_card()  # imports PyTorch, which knows whether there is one to meter
    return Finding("energy", "; ".join(f"{part}: {why or 'metered'}" for part, why in energy_meters().items()))


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
    """The cache of the built-in models: where it is, how large, which are in it."""
    root = cache_root()
    held = [name for name in BUILT_IN if cached(name)]
    if DEFAULT_MODEL in held:
        return Finding("model cache", f"{root}, {_size(root) / GIB:.1f} GB, holds {', '.join(held)}")
    detail = f"{root}, {DEFAULT_MODEL} is not in it"
    fix = "Free some space or set RAGR1_LITE_CACHE to another folder."
    above = _existing(root)
    free = shutil.disk_usage(above).free
    if not os.access(above, os.W_OK):
        return Finding("model cache", f"{detail} and it cannot be written", fix)
    if free < BUILT_IN[DEFAULT_MODEL].needed_bytes:
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
        fix = f"Check network and proxy; without a hub, use local folders or {DEFAULT_MODEL}."
        return Finding("hub", f"{ENDPOINT} does not answer: {problem}", fix)
    return Finding("hub", f"{ENDPOINT} answers")


def _gpu(cuda: Any, number: int) -> Finding:
    name, capability = f"gpu {number}", cuda.get_device_capability(number)
    free, total = cuda.mem_get_info(number)
    detail = f"{cuda.get_device_name(number)}, {free / GIB:.1f} GB free of {total / GIB:.1f}"
    detail += f", compute capability {capability[0]}.{capability[1]}"
    if not _has_kernels(cuda.get_arch_list(), capability):
        fix = "Install a build of PyTorch for this card: an older CUDA for an old one, a newer for a new one."
        return Finding(name, f"{detail}: this PyTorch has no code for it", fix)
    if capability < FOUR_BITS:
        return Finding(name, f"{detail}: too old for 4 bits, set model.dtype=fp32")
    fastest = "bf16" if capability >= BF16 else "fp16" if capability >= FAST_FP16 else "fp32"
    return Finding(name, f"{detail}: 4 bits, computed in {fastest}")


def _has_kernels(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Whether code for ``sm_80`` and the like runs on a card: of its generation, or as PTX of an earlier one."""
    for name in architectures:
        kind, _, digits = name.partition("_")
        known = divmod(int("".join(filter(str.isdigit, digits)) or 0), 10)
        if known <= capability and (kind == "compute" or (kind == "sm" and known[0] == capability[0])):
            return True
    return not architectures


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
