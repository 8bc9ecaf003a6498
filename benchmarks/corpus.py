"""A synthetic corpus of any size that costs a search engine what Wikipedia in 100-word passages costs: word ids alone.

How it was calibrated: 25,531 Wikipedia introductions (HotpotQA's), cut into words and stemmed by this package's
tokenizer, titles included.

* ``LENGTH``, ``SPREAD``: words of the 9,282 whole 100-word pieces among them, with their titles.
* ``SHARES``: what share of all 2.4 million words the words of ranks ``RANKS`` are; in between, the law is a power of
  the rank. It is Zipf and Mandelbrot's, piece by piece: one piece does not fit, as stems fall with the power 0.8 around
  rank 500 and 1.6 beyond rank 8,000. The last point continues that fall to the number of words that Heaps' law
  (measured: the power .63) lets one expect of a million passages.
* ``FRESH``: writers repeat themselves, so that a piece has 67 different words and not the 86 of independent draws. That
  share of its words is drawn; each of the others repeats one of those.
* Queries are a title and an attribute's word. ``TITLE_WORDS``: how many titles have two, three and four words.
  ``TITLE_QUANTILES``: quantiles of the ranks, by passages, of titles' words; one in ten is among the 32 most frequent.
  ``ATTRIBUTE``: ranks of words such as *director*, *birth*, *award*, the middle half of 2WikiMultiHopQA's relations
  without *of*. Half the queries touch .07 postings a passage or less, the mean is .24 (the titles alone, measured: .03
  and .27; whole questions, nothing stopped: 3.5).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ragr1_lite.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Query = tuple[int, ...]

LENGTH, SPREAD = 105.4, 3.1
FRESH = 0.76
RANKS = (1, 2, 3, 5, 8, 15, 30, 60, 120, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 850_000)
SHARES = (
    0.069, 0.031, 0.031, 0.021, 0.013, 5.4e-3, 2.3e-3, 1.5e-3, 7.9e-4, 4.9e-4, 2.7e-4, 1.4e-4, 5.7e-5, 2.2e-5, 7.6e-6,
    2.5e-6, 8.4e-7, 4.6e-9,
)  # fmt: skip
WORDS = RANKS[-1]

TITLE_WORDS = {2: 0.5, 3: 0.3, 4: 0.2}
TITLE_QUANTILES = {0: 1, 0.05: 4, 0.1: 32, 0.15: 90, 0.25: 278, 0.5: 1490, 0.75: 6815, 0.9: 26_375, 1: 78_928}
ATTRIBUTE = (165, 883)

_CHUNK = 8192
_TRIES = 20


def passages(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Draws passages, the same for the same seed.

    Returns:
        Their words' ids, below ``WORDS`` and smaller for more frequent words, one passage after the other, int32, shape
        ``(sum of lengths,)``; and their lengths, int32, shape ``(count,)``.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    lengths = np.maximum(1, rng.normal(LENGTH, SPREAD, count).round()).astype(np.int32)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    ids = np.empty(ends[-1], np.int32)
    for first in range(0, count, _CHUNK):
        last = min(first + _CHUNK, count)
        ids[ends[first] : ends[last]] = _chunk(rng, lengths[first:last])
    return ids, lengths


def queries(frequencies: Array, count: int, seed: int = 0) -> list[Query]:
    """Draws different queries of three to five different words, each word in some passage.

    Args:
        frequencies: In how many passages each word is, shape ``(words,)``.
        count: How many queries.
        seed: Of the draw.

    Raises:
        DataError: There are too few words for so many queries.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    ranked = np.argsort(-frequencies, kind="stable")[: np.count_nonzero(frequencies)]
    log_ranks = np.log(np.minimum(list(TITLE_QUANTILES.values()), max(1, len(ranked))))
    low, high = np.log(np.minimum(ATTRIBUTE, max(1, len(ranked))))
    drawn: dict[Query, None] = {}
    for _ in range(_TRIES * count):
        words = rng.choice(list(TITLE_WORDS), p=list(TITLE_WORDS.values()))
        title = np.interp(rng.random(words), list(TITLE_QUANTILES), log_ranks)
        ranks = np.exp([*title, rng.uniform(low, high)]).round().astype(int)
        if len(ranked) and len(set(ranks.tolist())) == len(ranks):
            drawn[tuple(ranked[ranks - 1].tolist())] = None
        if len(drawn) == count:
            return list(drawn)
    raise DataError(
        f"An index of {len(ranked):,} words is too small for {count} different queries", "Use a larger one."
    )


def rollouts(distinct: list[Query], count: int, seed: int = 0) -> list[Query]:
    """What the rollouts of groups ask in one turn: ``count`` queries in any order, each distinct one at least once."""
    import numpy as np

    rng = np.random.default_rng(seed)
    more = rng.integers(0, len(distinct), count - len(distinct))
    return [distinct[place] for place in rng.permutation([*range(len(distinct)), *more.tolist()])]


def _chunk(rng: np.random.Generator, lengths: Array) -> Array:
    import numpy as np

    total, ends = int(lengths.sum()), np.cumsum(lengths)
    starts = np.repeat(ends - lengths, lengths)
    fresh = np.repeat(np.ceil(lengths * FRESH).astype(np.int64), lengths)
    bounds, ranks = _law()
    ids: Array = np.interp(rng.random(total), bounds, ranks).astype(np.int32)
    repeats = np.flatnonzero(np.arange(total) - starts >= fresh)
    ids[repeats] = ids[starts[repeats] + (rng.random(len(repeats)) * fresh[repeats]).astype(np.int64)]
    return ids


@cache
def _law() -> tuple[Array, Array]:
    """Cumulated shares and the ranks, from 0, where they are reached: the frequent one by one, the others in steps."""
    import numpy as np

    shares = np.exp(np.interp(np.log(np.arange(1, WORDS + 1)), np.log(RANKS), np.log(SHARES)))
    cumulated = np.concatenate([np.zeros(1), np.cumsum(shares / shares.sum())])
    steps = np.geomspace(4096, WORDS, 2048).astype(np.int64)
    places = np.array([*range(4096), *np.unique(steps).tolist()])
    return cumulated[places] / cumulated[-1], np.minimum(places, WORDS - 1e-6)
