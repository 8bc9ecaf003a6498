"""The best passages of queries by NumPy alone: no start-up cost, and a time that grows with the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ragr1_lite.retrieval.postings import Postings

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def best(postings: Postings, queries: Sequence[Sequence[int]], k: int) -> tuple[Array, Array]:
    """Finds the best passages of each query: what :func:`ragr1_lite.retrieval.kernel.best` finds, bit for bit.

    Args:
        postings: Scores that are not negative.
        queries: Words' ids, in order; their scores are added in this order, repeated ones repeatedly.
        k: At least 1.

    Returns:
        Positions, int64, and scores, float32, both of shape ``(queries, min(k, passages))``: the best first, equal
        ones by position. Where fewer passages have a word of the query, -1 and 0 fill the row.

    Raises:
        IndexError: A word's id is not in the index, or a position in the postings is not one of a passage.
    """
    import numpy as np

    shape = len(queries), min(k, postings.passages)
    positions, scores = np.full(shape, -1, np.int64), np.zeros(shape, np.float32)
    for row, query in enumerate(queries):
        sums = _sums(postings, query)
        found = _candidates(sums, shape[1])
        found = found[np.argsort(-sums[found], kind="stable")[:k]]
        positions[row, : len(found)], scores[row, : len(found)] = found, sums[found]
    return positions, scores


def _sums(postings: Postings, query: Sequence[int]) -> Array:
    import numpy as np

    sums = np.zeros(postings.passages, np.float32)
    for word in query:
        start, end = postings.indptr[word], postings.indptr[word + 1]
        sums[postings.indices[start:end]] += postings.data[start:end]  # Within a word, no passage comes twice.
    return sums


def _candidates(sums: Array, k: int) -> Array:
    """Returns the positions of the ``k`` best, in order, and of all that equal the last of them."""
    import numpy as np

    least = np.partition(sums, len(sums) - k)[len(sums) - k]
    found: Array = np.flatnonzero(sums >= least if least > 0 else sums > 0)
    return found
