"""The best passages of queries by bm25s itself, without compiled code: for small indexes, and where numba is missing.

The only importer of bm25s for searching; it starts in a twentieth of a second and takes a time that grows with the
corpus.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from ragr1_lite.retrieval.bm25.postings import Postings

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def best(postings: Postings, queries: Sequence[Sequence[int]], k: int) -> tuple[Array, Array]:
    """Finds the best passages of each query: what :func:`ragr1_lite.retrieval.bm25.kernel.best` finds, bit for bit.

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

    model = _model(postings)
    shape = len(queries), min(k, postings.passages)
    positions, scores = np.full(shape, -1, np.int64), np.zeros(shape, np.float32)
    for row, query in enumerate(queries):
        if not all(0 <= word < len(postings.indptr) - 1 for word in query):
            raise IndexError("A word's id is not in the index")
        sums = model.get_scores_from_ids(list(query))
        found = _candidates(sums, shape[1])
        found = found[np.argsort(-sums[found], kind="stable")[:k]]
        positions[row, : len(found)], scores[row, : len(found)] = found, sums[found]
    return positions, scores


def warm() -> None:
    """Starts bm25s."""
    _bm25s()


def _model(postings: Postings) -> Any:
    """bm25s' index over these postings; nothing is copied."""
    model = _bm25s().BM25(method="lucene", backend="numpy")
    model.scores = {
        "data": postings.data,
        "indices": postings.indices,
        "indptr": postings.indptr,
        "num_docs": postings.passages,
    }
    model.nonoccurrence_array = None
    return model


def _candidates(sums: Array, k: int) -> Array:
    """Returns the positions of the ``k`` best, in order, and of all that equal the last of them.

    bm25s' own selection takes any of these; ours takes the first.
    """
    import numpy as np

    least = np.partition(sums, len(sums) - k)[len(sums) - k]
    found: Array = np.flatnonzero(sums >= least if least > 0 else sums > 0)
    return found


@cache
def _bm25s() -> Any:
    """Imports bm25s for ourselves, with NumPy alone.

    It would start numba and SciPy, which take 0.4 s and may be what is broken, and JAX, which takes most of a GPU's
    memory, wherever they are installed. Whoever else imports bm25s gets it as it is.
    """
    if "bm25s" not in sys.modules:
        with _hidden("jax", "numba", "scipy"):
            import bm25s
        for name in [name for name in sys.modules if name.partition(".")[0] == "bm25s"]:
            del sys.modules[name]
    else:
        import bm25s
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # It would log at DEBUG.
    return bm25s


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Makes packages that were not imported yet look as if they were not installed."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None stands for what cannot be imported.
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
