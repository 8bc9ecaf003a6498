"""Retrieval: corpora are read, indexed once, and answer all queries of a turn in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25 import Bm25Searcher, build_index
    from ragr1_lite.retrieval.corpora import read_corpus
    from ragr1_lite.retrieval.sources import open_searcher
    from ragr1_lite.retrieval.store import IndexInfo, verify_index

__all__ = ["Bm25Searcher", "IndexInfo", "build_index", "open_searcher", "read_corpus", "verify_index"]

_HOMES = {
    "Bm25Searcher": "bm25",
    "IndexInfo": "store",
    "build_index": "bm25",
    "open_searcher": "sources",
    "read_corpus": "corpora",
    "verify_index": "store",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: bm25s and NumPy stay out until then."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
