"""Cards, threads and memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragr1_lite.cli.doctor.finding import Finding, load
from ragr1_lite.cli.doctor.packages import has_card
from ragr1_lite.evaluation.resources import energy_meters
from ragr1_lite.training.planning.machine import GIB

FREE_MEMORY = 2 * GIB
"""Bytes with which answering works; training wants more, see `ragr1-lite plan`."""
BF16 = (8, 0)
"""The first compute capability that calculates in bf16 (Ampere)."""
FOUR_BITS = (6, 0)
"""The first for which bitsandbytes has 4-bit kernels (Pascal)."""


def gpus() -> Iterator[Finding]:
    """Each card: its memory, and what it and this build of PyTorch can calculate."""
    if not has_card():
        yield Finding("gpu", True, "none found: training runs on the CPU, where smollm2-135m is the size to train")
        return
    cuda = load("torch").cuda
    for number in range(cuda.device_count()):
        yield _gpu(cuda, number)


def threads() -> Iterator[Finding]:
    """Cores, and how many threads were asked for."""
    cores, asked = _cores(), os.environ.get("OMP_NUM_THREADS")
    detail = f"{cores} core{'s' if cores > 1 else ''}, OMP_NUM_THREADS {'is ' + asked if asked else 'not set'}"
    if not asked:
        yield Finding("threads", True, f"{detail}: all are used where that is faster than one")
    elif not asked.isdecimal() or int(asked) < 1:
        yield Finding("threads", False, f"{detail}, which is no number of threads", "Set it to one, or unset it.")
    elif int(asked) > cores:
        mend = f"export OMP_NUM_THREADS={cores}, or unset it."
        yield Finding("threads", False, f"{detail}: threads that wait for each other are slow", mend)
    else:
        yield Finding("threads", True, detail)


def memory() -> Iterator[Finding]:
    """The machine's memory, or what this container may take of it."""
    free, total = _memory()
    if not total:
        yield Finding("memory", True, "this system does not tell")
        return
    detail = f"{free / GIB:.1f} GB free of {total / GIB:.1f}"
    if free < FREE_MEMORY:
        yield Finding("memory", False, detail, "Close other programs, or give this container more.")
    else:
        yield Finding("memory", True, detail)


def energy() -> Iterator[Finding]:
    """Which counters of energy can be read; runs go without them."""
    has_card()  # imports PyTorch, which tells whether there is one to meter
    told = (f"{part}: {why or 'metered'}" for part, why in energy_meters().items())
    yield Finding("energy", True, "; ".join(told))


def _gpu(cuda: Any, number: int) -> Finding:
    """One card."""
    name, capability = f"gpu {number}", cuda.get_device_capability(number)
    free, total = cuda.mem_get_info(number)
    detail = f"{cuda.get_device_name(number)}, {free / GIB:.1f} GB free of {total / GIB:.1f}"
    detail += f", compute capability {capability[0]}.{capability[1]}"
    if not _has_kernels(cuda.get_arch_list(), capability):
        mend = "Install a build of PyTorch for this card: an older CUDA for an old one, a newer for a new one."
        return Finding(name, False, f"{detail}: this PyTorch has no code for it", mend)
    if capability < FOUR_BITS:
        return Finding(name, True, f"{detail}: too old for 4 bits, set model.dtype=fp32")
    if capability < BF16:
        return Finding(name, True, f"{detail}: 4 bits; bf16 is emulated, which is slow")
    return Finding(name, True, f"{detail}: 4 bits and bf16")


def _has_kernels(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Whether code for ``sm_80`` and the like runs on a card: of its generation, or as PTX of an earlier one."""
    for name in architectures:
        kind, _, digits = name.partition("_")
        known = int("".join(filter(str.isdigit, digits)) or 0)
        major, minor = divmod(known, 10)
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    return not architectures


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> tuple[int, int]:
    """Bytes free and in all; zeros where the system does not tell."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return 0, 0
    free = _number("/proc/meminfo", "MemAvailable:") * 1024 or total
    limit = _number("/sys/fs/cgroup/memory.max")
    if 0 < limit < total:
        total, free = limit, min(free, limit - _number("/sys/fs/cgroup/memory.current"))
    return free, total


def _number(path: str, key: str = "") -> int:
    """The number after a key in one of the system's files; 0 where there is none."""
    try:
        words = Path(path).read_text(encoding="utf-8").split()
    except OSError:
        return 0
    after = words[words.index(key) + 1 :] if key in words else [] if key else words
    return int(after[0]) if after and after[0].isdecimal() else 0
