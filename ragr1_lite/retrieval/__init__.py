"""Retrieval: corpora are read, indexed once, and answer all queries of a turn in one call.

``corpora`` makes passages of files, ``bm25`` indexes and searches them in this process, ``remote`` searches and serves
over the network, ``searchers`` opens whatever names stand for, ``updating`` follows a folder that changes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25.build import build_index as build_index
    from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher as Bm25Searcher
    from ragr1_lite.retrieval.bm25.store import IndexInfo as IndexInfo
    from ragr1_lite.retrieval.bm25.store import verify_index as verify_index
    from ragr1_lite.retrieval.corpora import read_corpus as read_corpus
    from ragr1_lite.retrieval.remote.opensearch import index_passages as index_passages
    from ragr1_lite.retrieval.remote.server import make_app as make_app
    from ragr1_lite.retrieval.searchers import open_searcher as open_searcher
    from ragr1_lite.retrieval.updating import update_index as update_index

_MODULES = {
    "Bm25Searcher": "bm25.searcher",
    "IndexInfo": "bm25.store",
    "build_index": "bm25.build",
    "index_passages": "remote.opensearch",
    "make_app": "remote.server",
    "open_searcher": "searchers",
    "read_corpus": "corpora",
    "update_index": "updating",
    "verify_index": "bm25.store",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that the command line starts without bm25s and NumPy."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
