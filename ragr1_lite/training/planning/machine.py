"""The device a training would run on, and its memory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

Device = Literal["cuda", "cpu"]

GIB = 1 << 30  # what is called a GB here, as on the boxes of graphics cards


def has_card() -> bool:
    """Whether there is a CUDA device."""
    import torch

    return torch.cuda.is_available()


def memory_gb(device: Device) -> float | None:
    """Memory of the card (None without one), or of the machine or its container."""
    if device == "cuda":
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory) / GIB if has_card() else None
    return main_memory()[1] / GIB


def main_memory() -> tuple[int, int]:
    """Bytes free and in all, of the machine or its container."""
    import psutil

    machine = psutil.virtual_memory()
    free, total = int(machine.available), int(machine.total)
    with suppress(OSError, ValueError):  # no container, or "max"
        files = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
        limit, used = (int(file.read_text(encoding="utf-8")) for file in files)
        if limit < total:
            free, total = min(free, limit - used), limit
    return free, total
