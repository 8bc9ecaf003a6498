"""The postings of an index, and their search without compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragr1_lite.files.json_lines import json_of
from ragr1_lite.retrieval.bm25.mapped_files import broken, load_array

Array = np.ndarray[Any, Any]

DATA, INDICES, INDPTR = (f"{name}.csc.index.npy" for name in ("data", "indices", "indptr"))
PARAMS = "params.index.json"


@dataclass(frozen=True, slots=True)
class Postings:
    """bm25s' own arrays: for each word, the passages that hold it and what it scores there.

    Those of an index on disk are memory-mapped. ``indptr`` is checked when they are opened; ``indices`` would have to
    be read as a whole for that, so a search must not trust them to lie below ``passages``.

    Attributes:
        data: What the word adds to the passage's score, float32, shape ``(entries,)``.
        indices: The passage's position, int32, ascending within a word, shape ``(entries,)``.
        indptr: Where each word's entries begin, and where the last one's end, int64, shape ``(words + 1,)``.
        passages: How many there are, those without a word included.
    """

    data: Array
    indices: Array
    indptr: Array
    passages: int


def load_postings(folder: Path) -> Postings:
    """Maps an index's postings into memory; raises RetrievalIndexError where a file is missing or does not fit."""
    passages = _passages(folder / PARAMS)
    data, indices = load_array(folder / DATA, "<f4"), load_array(folder / INDICES, "<i4")
    indptr = load_array(folder / INDPTR, "<i8")
    if len(indptr) < 2 or indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any():
        raise broken(folder / INDPTR)
    if len(data) != len(indices):
        raise broken(folder / DATA)
    return Postings(data, indices, indptr, passages)


def best_by_numpy(postings: Postings, queries: Sequence[Sequence[int]], k: int) -> tuple[Array, Array]:
    """Finds what :func:`ragr1_lite.retrieval.bm25.kernel.best` finds, bit for bit, in time that grows with the corpus.

    Args and Returns are those of the kernel.

    Raises:
        IndexError: A word's id is not in the index, or a position in the postings is not one of a passage.
    """
    shape = len(queries), min(k, postings.passages)
    positions, scores = np.full(shape, -1, np.int64), np.zeros(shape, np.float32)
    for row, query in enumerate(queries):
        if not all(0 <= word < len(postings.indptr) - 1 for word in query):
            raise IndexError("A word's id is not in the index")
        sums = np.zeros(postings.passages, np.float32)
        for word in query:
            entries = slice(postings.indptr[word], postings.indptr[word + 1])
            sums[postings.indices[entries]] += postings.data[entries]  # A word has at most one entry a passage.
        least = np.partition(sums, -shape[1])[-shape[1]]
        found = np.flatnonzero(sums >= least if least > 0 else sums > 0)  # All that equal the k-th, too.
        found = found[np.argsort(-sums[found], kind="stable")[:k]]
        positions[row, : len(found)], scores[row, : len(found)] = found, sums[found]
    return positions, scores


def weighted(postings: Postings, query: Sequence[tuple[int, float]], positions: Array) -> Array:
    """Scores passages anew, what each word adds being multiplied by its weight.

    Args:
        postings: Where the scores are.
        query: The words' ids, each with its weight.
        positions: The passages, int64, shape ``(passages,)``.

    Returns:
        The scores, float64, shape ``(passages,)``.
    """
    sums = np.zeros(len(positions))
    for word, weight in query:
        entries = slice(postings.indptr[word], postings.indptr[word + 1])
        indices, data = postings.indices[entries], postings.data[entries]
        places = np.minimum(np.searchsorted(indices, positions), len(indices) - 1)
        sums += np.where(indices[places] == positions, data[places] * weight, 0)
    return sums


def _passages(file: Path) -> int:
    """Reads how many passages bm25s says there are, and whether it scored them in the one form we search."""
    try:
        params = json_of(file.read_bytes())
        passages, form = params["num_docs"], (params["method"], params["idf_method"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise broken(file) from error
    if not isinstance(passages, int) or passages < 1 or form != ("lucene", "lucene"):
        raise broken(file)
    return passages
