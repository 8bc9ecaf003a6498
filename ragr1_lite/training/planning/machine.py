"""The device a training would run on, and its memory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

Device = Literal["cuda", "cpu"]

GIB = 1 << 30
"""What is called a GB here, as on the boxes of graphics cards."""


def has_card() -> bool:
    """Whether there is a CUDA device."""
    import torch

    return torch.cuda.is_available()


def memory_gb(device: Device) -> float | None:
    """Memory of the card (None without one), or of the machine or its container."""
    if device == "cuda":
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory) / GIB if has_card() else None
    import psutil

    memory = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))
    return memory / GIB
