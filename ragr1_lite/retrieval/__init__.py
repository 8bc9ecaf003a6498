"""Retrieval: corpora are read, indexed once, and answer all queries of a turn in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25 import Bm25Searcher
    from ragr1_lite.retrieval.build import build_index
    from ragr1_lite.retrieval.corpora import read_corpus
    from ragr1_lite.retrieval.http import HttpSearcher
    from ragr1_lite.retrieval.opensearch import OpenSearchSearcher, index_passages
    from ragr1_lite.retrieval.server import make_app, serve
    from ragr1_lite.retrieval.sources import open_searcher
    from ragr1_lite.retrieval.store import IndexInfo, verify_index
    from ragr1_lite.retrieval.web import WebSearcher

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
    "Bm25Searcher": "bm25",
    "HttpSearcher": "http",
    "IndexInfo": "store",
    "OpenSearchSearcher": "opensearch",
    "WebSearcher": "web",
    "build_index": "build",
    "index_passages": "opensearch",
    "make_app": "server",
    "open_searcher": "sources",
    "read_corpus": "corpora",
    "serve": "server",
    "verify_index": "store",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: bm25s and NumPy stay out until then."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
