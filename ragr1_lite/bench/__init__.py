"""Benchmarks: every way in one process, interleaved, medians; ratios rather than times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragr1_lite.bench.decoding import sampling
    from ragr1_lite.bench.hardware import machine
    from ragr1_lite.bench.searching import figures, retrieval, sizes

__all__ = ["figures", "machine", "retrieval", "sampling", "sizes"]

_HOMES = {
    "figures": "searching",
    "machine": "hardware",
    "retrieval": "searching",
    "sampling": "decoding",
    "sizes": "searching",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
