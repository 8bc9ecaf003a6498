"""Benchmarks: every way in one process, interleaved, medians; ratios rather than times."""

from ragr1_lite.bench.decoding import sampling
from ragr1_lite.bench.hardware import machine
from ragr1_lite.bench.searching import figures, retrieval, sizes

__all__ = ["figures", "machine", "retrieval", "sampling", "sizes"]
