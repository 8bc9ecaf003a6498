"""Opens a searcher by the name of its index, or one over several indexes.

Several are asked for all queries of a turn in one call each, and what they find is merged. Indexes of ours whose words
are cut alike are merged by score: how rare a word is, is counted over all of them together, as in one index of
everything; a passage's length is measured by its own index' mean. Other scores are not comparable: then the first
passages of all indexes come first, in the indexes' order, and the second ones after them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from ragr1_lite.config import WORLD, index_names
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import Passage, Searcher
from ragr1_lite.core.urls import COMMAND, refuse_password

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher
    from ragr1_lite.retrieval.bm25.store import IndexInfo


def open_searcher(index: str | Sequence[str], report: Report = ignore) -> Searcher:
    """Opens an index by its name, or several, which are searched together.

    ==============================  ================================================================
    ``world``                       the embedded world, indexed in memory
    ``FOLDER``                      an index on disk
    ``http://…``, ``https://…``     a server of the ``/retrieve`` or the ``/batch_search`` form
    ``opensearch://HOST/INDEX``     an OpenSearch cluster; ``opensearch+https://`` with TLS
    ``web+PROVIDER://``             a web search: ``brave``, ``serper``, ``searxng://HOST``
    ``mcp+https://HOST/PATH``       a tool of an MCP server; ``mcp+http://`` on this machine
    ``mcp+stdio:COMMAND``           the same of a command, which is started
    ==============================  ================================================================

    Raises:
        RetrievalIndexError: The folder is no index, or a broken one; the server does not answer.
        ConfigError: The URL is of an unknown kind or holds a password, or something it needs is missing; or an index is
            named twice.
    """
    names = index_names(index)
    if len(names) == 1:
        return _open(names[0], report)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"The index {twice[0]} is named twice", "Name each once.")
    return SeveralSearcher({name: _open(name, report) for name in names})


def info_of(index: str) -> IndexInfo:
    """What ``world``, or an index on disk, is made of; raises as :func:`open_manifest` does."""
    from ragr1_lite.retrieval.bm25.store import open_manifest

    return _world().info if index == WORLD else open_manifest(Path(index))


def _open(index: str, report: Report) -> Searcher:
    if index == WORLD:
        return _world()
    if index.startswith(COMMAND):
        return _mcp(index, report)
    scheme, marked, _ = index.lower().partition("://")
    if not marked:
        from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher

        return Bm25Searcher.open(Path(index), report)
    refuse_password(index)
    if scheme in ("http", "https"):
        from ragr1_lite.retrieval.remote.http import HttpSearcher

        return HttpSearcher.open(index, report)
    if scheme in ("opensearch", "opensearch+https"):
        from ragr1_lite.retrieval.remote.opensearch import OpenSearchSearcher

        return OpenSearchSearcher.open(index, report)
    if scheme in ("mcp+http", "mcp+https"):
        return _mcp(index, report)
    if scheme.startswith("web+"):
        from ragr1_lite.retrieval.remote.web import WebSearcher

        return WebSearcher.open(index, report)
    raise ConfigError(
        f"No index is reached by {scheme}://",
        "Name a folder, or a URL with http, https, opensearch, web+brave or mcp+https.",
    )


def _mcp(index: str, report: Report) -> Searcher:
    from ragr1_lite.retrieval.remote.mcp import McpSearcher

    return McpSearcher.open(index, report)


@cache
def _world() -> Bm25Searcher:
    from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher
    from ragr1_lite.world import passages

    return Bm25Searcher.from_passages(passages(), title_weight=1)  # as in training data and figures so far


class SeveralSearcher:
    """A ``core.types.Searcher`` over others; each passage names the ``index`` it is from.

    Attributes:
        ours: Those of them that are indexes of ours, by their names.
    """

    def __init__(self, searchers: Mapping[str, Searcher]) -> None:
        from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher

        self._searchers = dict(searchers)
        self.ours = {name: one for name, one in searchers.items() if isinstance(one, Bm25Searcher)}
        ours = list(self.ours.values())
        alike = len(ours) == len(searchers) and all(one.info.tokenizer == ours[0].info.tokenizer for one in ours)
        self._alike = ours if alike else []

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        """Finds at most ``k`` passages per query in all indexes together; raises as theirs do."""
        if k < 1:
            return [()] * len(queries)
        distinct = list(dict.fromkeys(queries))
        if self._alike:
            from ragr1_lite.retrieval.bm25.searcher import search_together

            results = search_together(self._alike, distinct, k)
        else:
            results = [searcher.search(distinct, k) for searcher in self._searchers.values()]
        merged = {}
        for query, *rows in zip(distinct, *results, strict=True):
            named = [[replace(one, index=name) for one in row] for name, row in zip(self._searchers, rows, strict=True)]
            if self._alike:
                found = sorted(chain(*named), key=lambda passage: -passage.score)
            else:
                found = [one for rank in zip_longest(*named) for one in rank if one is not None]
            merged[query] = tuple(found[:k])
        return [merged[query] for query in queries]
