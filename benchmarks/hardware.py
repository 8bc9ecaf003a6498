"""What figures depend on: the processor, its instruction sets, the versions."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_SETS = ("sse4_2", "avx", "avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")


def machine(*packages: str, threads: int = 1) -> dict[str, str]:
    """Names this machine.

    Args:
        packages: Whose versions count, NumPy's aside.
        threads: How many the measured code uses.
    """
    model, sets = _processor()
    versions = {package: _version(package) for package in ("numpy", *packages)}
    return {
        "cpu": model,
        "instructions": sets,
        "cores": str(os.cpu_count()),
        "threads": str(threads),
        "python": platform.python_version(),
        "numpy_uses": _simd(),
        **versions,
    }


def _processor() -> tuple[str, str]:
    """The processor's name, and those of its instruction sets that matter here."""
    model, sets = platform.processor() or platform.machine(), ""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            if key.strip() in ("flags", "Features"):
                sets = " ".join(name for name in _SETS if name in value.split())
    return model, sets


def _simd() -> str:
    """The instruction sets that NumPy found at run time, beyond those it was built for."""
    import numpy as np

    with suppress(TypeError, KeyError):
        return " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", ())) or "its baseline"
    return "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
