"""The device a training would run on: its memory and, measured in moments, its speed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.training.planning.memory import Device

GIB = 1 << 30
"""What is called a GB here, as on the boxes of graphics cards."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Floating-point operations and bytes of memory that a device gets through in a second."""

    operations: float
    bytes: float


def has_card() -> bool:
    """Whether there is a CUDA device."""
    import torch

    return torch.cuda.is_available()


def memory_gb(device: Device) -> float | None:
    """Memory of the card or, of a CPU, what the machine or its container has; None where nothing tells."""
    if device == "cuda":
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory) / GIB if has_card() else None
    limits = []
    with suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))
    return min(limits) / GIB if limits else None


def measure_rate(device: Device, dtype: str) -> Rate | None:
    """Times a product and a copy for some tenths of a second; None where the device is not there."""
    import torch

    if device == "cuda" and not has_card():
        return None
    size = 4096 if device == "cuda" else 1024
    kind = torch.float32 if dtype == "fp32" else torch.bfloat16
    square = torch.ones(size, size, device=device, dtype=kind)
    block = torch.ones(256 << 20 if device == "cuda" else 16 << 20, device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    return Rate(
        2 * size**3 / _seconds(lambda: square @ square, wait),
        2 * block.nbytes / _seconds(block.clone, wait),
    )


def _seconds(work: Callable[[], Any], wait: Callable[[], None]) -> float:
    """The least of a few times."""
    times = []
    for _ in range(4):
        wait()
        began = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - began)
    return min(times)
