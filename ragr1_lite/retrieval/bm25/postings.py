"""The postings of an index: which passages hold a word, and what it scores there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragr1_lite.retrieval.bm25.mapped_files import broken, load_array

if TYPE_CHECKING:
    import numpy as np

DATA, INDICES, INDPTR = (f"{name}.csc.index.npy" for name in ("data", "indices", "indptr"))
PARAMS = "params.index.json"


@dataclass(frozen=True, slots=True)
class Postings:
    """bm25s' own arrays, one list of postings after the other.

    Those of an index on disk are memory-mapped. ``indptr`` is checked when they are opened; ``indices`` would have to
    be read as a whole for that, so whoever follows them must not trust them to lie below ``passages``.

    Attributes:
        data: What the word adds to the passage's score, float32, shape ``(entries,)``.
        indices: The passage's position, int32, ascending within a word, shape ``(entries,)``.
        indptr: Where each word's entries begin, and where the last one's end, int64, shape ``(words + 1,)``.
        passages: How many there are, those without a word included.
    """

    data: np.ndarray[Any, Any]
    indices: np.ndarray[Any, Any]
    indptr: np.ndarray[Any, Any]
    passages: int


def load_postings(folder: Path) -> Postings:
    """Opens an index's postings, mapped into memory.

    Raises:
        RetrievalIndexError: A file is missing or broken, or they do not fit each other.
    """
    passages = _passages(folder / PARAMS)
    data, indices = load_array(folder / DATA, "<f4"), load_array(folder / INDICES, "<i4")
    indptr = load_array(folder / INDPTR, "<i8")
    if len(indptr) < 2 or indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any():
        raise broken(folder / INDPTR)
    if len(data) != len(indices):
        raise broken(folder / DATA)
    return Postings(data, indices, indptr, passages)


def _passages(file: Path) -> int:
    """Reads how many passages bm25s says there are, and whether it scored them in the one form we search."""
    try:
        params = json.loads(file.read_bytes())
        passages, form = params["num_docs"], (params["method"], params["idf_method"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise broken(file) from error
    if not isinstance(passages, int) or passages < 1 or form != ("lucene", "lucene"):
        raise broken(file)
    return passages
