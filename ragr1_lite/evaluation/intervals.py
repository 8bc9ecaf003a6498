"""Confidence intervals of a mean, and whether two runs on the same questions differ; seeded, so always the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

RESAMPLES = 10_000
CERTAINTY = 0.95
_Z95 = 1.959964
_AT_ONCE = 2**22
"""Numbers drawn together; they bound the memory."""
_DIGITS = 9
"""Values that agree so far are the same: F1 is made of fractions."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of ``n`` figures and the bounds of its 95 % interval."""

    n: int
    mean: float
    low: float
    high: float

    @property
    def bounds(self) -> list[float]:
        """Low and high, rounded to four places."""
        return [round(self.low, 4), round(self.high, 4)]

    def to_json(self) -> dict[str, float]:
        """Rounded to four places."""
        return {"n": self.n, "mean": round(self.mean, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much the second run's mean is above the first's.

    Attributes:
        interval: The mean of the differences, question by question, and its interval.
        p: How often chance alone, which swaps the two runs' values of any question, makes a difference as large.
    """

    interval: Interval
    p: float

    def to_json(self, name: str) -> dict[str, Any]:
        """The mean under ``name``, ``ci`` and ``p``, rounded to four places."""
        return {name: round(self.interval.mean, 4), "ci": self.interval.bounds, "p": round(self.p, 4)}

    @property
    def significant(self) -> bool:
        """Whether the runs differ: the interval excludes 0, and p agrees.

        Of a handful of questions the bootstrap alone is too sure: a single one has an interval without width.
        """
        return (self.interval.low > 0 or self.interval.high < 0) and self.p < 1 - CERTAINTY


def bootstrap(values: Sequence[float]) -> Interval:
    """The percentile bootstrap's interval of a mean.

    Args:
        values: One per question, at least one. They take few different values, so a resample is a multinomial draw.
    """
    import numpy as np

    different, counts = np.unique(np.round(np.asarray(values, dtype=np.float64), _DIGITS), return_counts=True)
    generator = np.random.default_rng(0)
    drawn = (generator.multinomial(len(values), counts / len(values), size=some) for some in _portions(len(counts)))
    means = np.concatenate([draws @ different / len(values) for draws in drawn])
    low, high = np.quantile(means, ((1 - CERTAINTY) / 2, (1 + CERTAINTY) / 2))
    return Interval(len(values), math.fsum(values) / len(values), float(low), float(high))


def wilson(hits: Sequence[float]) -> Interval:
    """Wilson's interval of a share.

    Args:
        hits: 1.0 or 0.0 per question, at least one.
    """
    n, share = len(hits), math.fsum(hits) / len(hits)
    z2 = _Z95 * _Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(n, share, max(0.0, centre - half), min(1.0, centre + half))


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compares two runs on the same questions: the bootstrap of the differences, and a sign-flip test.

    Args:
        first: A figure of each question, at least one.
        second: The same of the other run, in the same order.
    """
    differences = [theirs - ours for ours, theirs in zip(first, second, strict=True)]
    return Difference(bootstrap(differences), _sign_flips(differences))


def _sign_flips(differences: Sequence[float]) -> float:
    """The two-sided p of a permutation test: the share of random signs that sum to as much, the true ones included.

    Of equal differences the number that keep their sign is a binomial draw.
    """
    import numpy as np

    rounded = np.round(np.asarray(differences, dtype=np.float64), _DIGITS)
    sizes, counts = np.unique(np.abs(rounded), return_counts=True)
    generator, reached = np.random.default_rng(0), 0
    for some in _portions(len(counts)):
        kept = generator.binomial(counts, 0.5, size=(some, len(counts)))
        sums = np.abs((2 * kept - counts) @ sizes)
        reached += int(np.count_nonzero(sums >= abs(rounded.sum()) - 10**-_DIGITS))
    return (1 + reached) / (1 + RESAMPLES)


def _portions(width: int) -> Iterator[int]:
    """Cuts the resamples, of ``width`` numbers each, into portions that fit in memory."""
    most = max(1, _AT_ONCE // width)
    for begin in range(0, RESAMPLES, most):
        yield min(most, RESAMPLES - begin)
