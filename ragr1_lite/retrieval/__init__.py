"""Retrieval: corpora are read, indexed once, and answer all queries of a turn in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25.build import build_index
    from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher
    from ragr1_lite.retrieval.bm25.store import IndexInfo, verify_index
    from ragr1_lite.retrieval.corpora import read_corpus
    from ragr1_lite.retrieval.remote.http import HttpSearcher
    from ragr1_lite.retrieval.remote.opensearch import OpenSearchSearcher, index_passages
    from ragr1_lite.retrieval.remote.server import make_app, serve
    from ragr1_lite.retrieval.remote.web import WebSearcher
    from ragr1_lite.retrieval.searchers import open_searcher

__all__ = [
    "Bm25Searcher",
    "HttpSearcher",
    "IndexInfo",
    "OpenSearchSearcher",
    "WebSearcher",
    "build_index",
    "index_passages",
    "make_app",
    "open_searcher",
    "read_corpus",
    "serve",
    "verify_index",
]

_HOMES = {
    "Bm25Searcher": "bm25.searcher",
    "HttpSearcher": "remote.http",
    "IndexInfo": "bm25.store",
    "OpenSearchSearcher": "remote.opensearch",
    "WebSearcher": "remote.web",
    "build_index": "bm25.build",
    "index_passages": "remote.opensearch",
    "make_app": "remote.server",
    "open_searcher": "searchers",
    "read_corpus": "corpora",
    "serve": "remote.server",
    "verify_index": "bm25.store",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: bm25s and NumPy stay out until then."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
