"""Cards, threads and memory."""

from __future__ import annotations

import os
from contextlib import suppress
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
    free, total = _memory()
    fix = "Close other programs, or give this container more." if free < FREE_MEMORY else ""
    return Finding("memory", f"{free / GIB:.1f} GB free of {total / GIB:.1f}", fix)


def energy() -> Finding:
    """Which energy counters can be read; runs go without them."""
    has_card()  # imports PyTorch, which knows whether there is one to meter
    return Finding("energy", "; ".join(f"{part}: {why or 'metered'}" for part, why in energy_meters().items()))


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
    if capability < BF16:
        return Finding(name, f"{detail}: 4 bits; bf16 is emulated, which is slow")
    return Finding(name, f"{detail}: 4 bits and bf16")


def _has_kernels(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Whether code for ``sm_80`` and the like runs on a card: of its generation, or as PTX of an earlier one."""
    for name in architectures:
        kind, _, digits = name.partition("_")
        known = divmod(int("".join(filter(str.isdigit, digits)) or 0), 10)
        if kind == "sm" and known[0] == capability[0] and known <= capability:
            return True
        if kind == "compute" and known <= capability:
            return True
    return not architectures


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> tuple[int, int]:
    """Bytes free and in all."""
    import psutil

    machine = psutil.virtual_memory()
    free, total = machine.available, machine.total
    with suppress(OSError, ValueError):  # no container, or "max"
        files = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
        limit, used = (int(file.read_text(encoding="utf-8")) for file in files)
        if limit < total:
            free, total = min(free, limit - used), limit
    return free, total
