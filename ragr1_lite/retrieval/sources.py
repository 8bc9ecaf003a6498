"""The searcher a name stands for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ragr1_lite.config import WORLD
from ragr1_lite.core import Searcher
from ragr1_lite.events import Report, ignore
from ragr1_lite.retrieval.bm25 import Bm25Searcher


def open_searcher(index: str, report: Report = ignore) -> Searcher:
    """Opens ``world`` (indexed in memory) or an index folder.

    Raises:
        RetrievalIndexError: The folder is no index, or a broken one.
    """
    return _world() if index == WORLD else Bm25Searcher.open(Path(index), report)


@cache
def _world() -> Bm25Searcher:
    from ragr1_lite.world import passages

    return Bm25Searcher.from_passages(passages())
