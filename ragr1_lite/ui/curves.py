"""Figures over the steps of a run: kept in little memory, drawn in one line, told in two numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

_BLOCKS = "▁▂▃▄▅▆▇█"


class Curve:
    """A figure over the steps, as means of equally many steps each: however long the run, few numbers.

    Args:
        room: Points that are kept at most; an even number.
    """

    def __init__(self, room: int = 512) -> None:
        self._room, self._each = room, 1
        self._means: list[float] = []
        self._rest: list[float] = []

    def add(self, value: float) -> None:
        """The next step's figure; what is no number leaves no mark."""
        if not math.isfinite(value):
            return
        self._rest.append(value)
        if len(self._rest) == self._each:
            self._means.append(fmean(self._rest))
            self._rest.clear()
        if len(self._means) == self._room:
            self._means = [fmean(self._means[start : start + 2]) for start in range(0, self._room, 2)]
            self._each *= 2

    @property
    def points(self) -> list[float]:
        """The means, oldest first; the last may be of fewer steps."""
        means, rest = list(self._means), list(self._rest)  # copies: a display reads while the run goes on
        return [*means, fmean(rest)] if rest else means


def sparkline(points: Sequence[float], width: int) -> str:
    """Points as blocks between the lowest and the highest; means of neighbours where they are more than ``width``.

    >>> sparkline([0.0, 0.5, 1.0], 10), sparkline([3.0, 1.0, 2.0, 0.0], 2), sparkline([2.0, 2.0], 2)
    ('▁▅█', '█▁', '▁▁')
    """
    if not points or width < 1:
        return ""
    count = min(width, len(points))
    edges = [len(points) * number // count for number in range(count + 1)]
    means = [fmean(points[start:end]) for start, end in zip(edges, edges[1:], strict=False)]
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[math.floor((mean - low) * scale + 0.5)] for mean in means)


def ends(points: Sequence[float]) -> tuple[float, float]:
    """The means of the first and of the last tenth."""
    tenth = max(1, len(points) // 10)
    return fmean(points[:tenth]), fmean(points[-tenth:])
