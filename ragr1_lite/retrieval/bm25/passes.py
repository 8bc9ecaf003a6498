"""The two counting passes of an index, over one block of passages' word ids at a time.

Large blocks go to kernels compiled by numba, small ones to NumPy, which starts sooner; what both make is equal, bit for
bit, and equal to bm25s' own arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from ragr1_lite.retrieval.bm25.postings import Array

COMPILED_FROM = 2**20
"""Words in a block from which compiled kernels are used: NumPy takes 0.1 s for as many, starting numba 0.5 s."""


@dataclass(frozen=True, slots=True)
class Block:
    """The words of consecutive passages.

    Attributes:
        first: The first passage's position in the corpus.
        lengths: Words of each passage, shape ``(passages,)``.
        ids: The words' ids, one passage after the other, int32, shape ``(sum of lengths,)``.
    """

    first: int
    lengths: Array
    ids: Array


@dataclass(frozen=True, slots=True)
class Weights:
    """BM25's factors in Lucene's form, rounded as by bm25s; ``idf`` of each word is float32, shape ``(words,)``."""

    idf: Array
    average_length: float
    k1: float
    b: float

    def norms(self, lengths: Array) -> Array:
        """What a passage's length, in words, adds below the line, float64, shape ``(passages,)``."""
        return self.k1 * ((1 - self.b) + self.b * lengths / self.average_length)


@dataclass(frozen=True, slots=True)
class Range:
    """The postings of words from ``low`` to before ``high``, being filled.

    Attributes:
        heads: Where each word's next posting goes, int64, shape ``(high - low,)``.
        indices: Passages, int32, shape ``(postings,)``.
        data: Scores, float32, shape ``(postings,)``.
    """

    low: int
    high: int
    heads: Array
    indices: Array
    data: Array


def idf_of(count: int, passages: int) -> float:
    """Lucene's idf of a word that is in ``count`` of the passages; 0 where it is in none.

    By Python's logarithm, as bm25s: NumPy's differs in the last bit.
    """
    return math.log(1 + (passages - count + 0.5) / (count + 0.5)) if count else 0.0


def add_frequencies(block: Block, frequencies: Array) -> None:
    """First pass: adds to each word's number of passages, int64, shape ``(words,)``."""
    if kernel := _compiled_for(block, _count):
        kernel(block.ids, block.lengths, np.full(len(frequencies), -1, np.int32), frequencies)
    else:
        words, _, _ = _distinct(block)
        frequencies += np.bincount(words, minlength=len(frequencies))


def add_postings(block: Block, weights: Weights, postings: Range) -> None:
    """Second pass: fills in the block's postings, behind those of earlier blocks."""
    norms = weights.norms(block.lengths)
    if kernel := _compiled_for(block, _fill):
        idf, counts = weights.idf[postings.low : postings.high], np.zeros(postings.high - postings.low, np.int32)
        kernel(
            block.ids, block.lengths, norms, block.first, postings.low, idf, counts,
            postings.heads, postings.indices, postings.data,
        )  # fmt: skip
    else:
        _fill_by_sorting(block, norms, weights.idf, postings)


def _count(ids: Array, lengths: Array, last: Array, frequencies: Array) -> None:
    """Counts each word once a passage; ``last`` holds the passage that a word was last seen in."""
    start = 0
    for passage in range(len(lengths)):
        end = start + lengths[passage]
        for place in range(start, end):
            word = ids[place]
            if last[word] != passage:
                last[word] = passage
                frequencies[word] += 1
        start = end


def _fill(
    ids: Array, lengths: Array, norms: Array, first: int, low: int, idf: Array, counts: Array,
    heads: Array, indices: Array, data: Array,
) -> None:  # fmt: skip
    """Counts a passage's words, then writes a posting for each and leaves ``counts`` at zero again."""
    words, start = len(idf), 0
    for passage in range(len(lengths)):
        end = start + lengths[passage]
        for place in range(start, end):
            word = ids[place] - low
            if 0 <= word < words:
                counts[word] += 1
        for place in range(start, end):
            word = ids[place] - low
            if 0 <= word < words and counts[word]:
                count = counts[word]
                counts[word] = 0
                head = heads[word]
                heads[word] = head + 1
                indices[head] = first + passage
                data[head] = idf[word] * (count / (norms[passage] + count))
        start = end


def _fill_by_sorting(block: Block, norms: Array, idf: Array, postings: Range) -> None:
    words, passages, counts = _distinct(block)
    low, high = np.searchsorted(words, (postings.low, postings.high))
    words, passages, counts = words[low:high], passages[low:high], counts[low:high]
    scores = idf[words] * (counts / (norms[passages] + counts))
    words -= postings.low
    new = np.bincount(words, minlength=len(postings.heads))
    heads = (postings.heads - np.cumsum(new) + new)[words] + np.arange(len(words))
    postings.indices[heads] = block.first + passages
    postings.data[heads] = scores
    postings.heads[:] += new


def _distinct(block: Block) -> tuple[Array, Array, Array]:
    """Returns the words, the passages within the block and the counts of its postings, by word, then passage."""
    rows = max(1, len(block.lengths))
    keys = block.ids * np.int64(rows) + np.repeat(np.arange(len(block.lengths)), block.lengths)
    keys, counts = np.unique(keys, return_counts=True)
    words, passages = np.divmod(keys, rows)
    return words, passages, counts


def _compiled_for(block: Block, kernel: Callable[..., None]) -> Callable[..., None] | None:
    return _compiled(kernel) if len(block.ids) >= COMPILED_FROM else None


@cache
def _compiled(kernel: Callable[..., None]) -> Callable[..., None] | None:
    """Compiles a kernel, or returns ``None`` where numba is missing or switched off."""
    try:
        import numba
    except ImportError:
        return None
    if numba.config.DISABLE_JIT:
        return None
    try:
        compiled: Callable[..., None] = numba.njit(cache=True, nogil=True)(kernel)
    except RuntimeError:  # No folder to keep compiled code in.
        compiled = numba.njit(nogil=True)(kernel)
    return compiled
