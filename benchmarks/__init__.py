"""Benchmarks: every way in one process, interleaved, medians; ratios rather than times."""

from benchmarks.decoding import sampling
from benchmarks.hardware import machine
from benchmarks.searching import figures, retrieval, sizes

__all__ = ["figures", "machine", "retrieval", "sampling", "sizes"]
