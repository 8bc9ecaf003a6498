r"""Searching a server over HTTP in the ``/retrieve`` form of Search-R1's and RAG-R1's retrieval servers.

::

    {"queries": ["area of Chad"], "topk": 3, "return_scores": true}
    {"result": [[{"document": {"id": "7", "contents": "\"Chad\"\nChad is …"}, "score": 11.2}, …]]}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.remote.client import JsonClient, RemoteSearcher, read_document, split_url

QUERIES, PASSAGES = 4_000, 40_000
"""What one request may ask for. A turn has some hundreds of queries, making training data may have many thousands."""
_START = "Check the URL, or start it; one of ours starts with: ragr1-lite index serve FOLDER"


class HttpSearcher(RemoteSearcher):
    """Searches over HTTP by the ``/retrieve`` form, with one request for a turn's queries.

    ``/retrieve`` is added to a URL without a path. ``timeout``: seconds until an answer must be there.

    Raises:
        ConfigError: The URL is not one of a server.
    """

    def __init__(self, url: str, *, timeout: float = 60.0, retries: int = 5) -> None:
        parts = split_url(url)
        self.url = parts._replace(path=parts.path if parts.path.strip("/") else "/retrieve").geturl()
        self._client = JsonClient(f"The search server {self.url}", self.url, _START, timeout=timeout, retries=retries)

    @classmethod
    def open(cls, url: str, report: Report = ignore) -> HttpSearcher:
        """Connects before anything else starts; raises RetrievalIndexError where nothing answers."""
        searcher = cls(url)
        searcher._client.reach()
        return searcher

    def _most_queries(self, k: int) -> int:
        return min(QUERIES, max(1, PASSAGES // max(1, k)))

    def _ask(self, queries: list[str], k: int) -> list[tuple[Passage, ...]]:
        answer = self._client.ask("POST", body={"queries": queries, "topk": k, "return_scores": True})
        try:
            return _read_result(answer, len(queries), k)
        except ValueError as problem:
            raise self._client.unusable(str(problem)) from None


def _read_result(answer: Any, queries: int, k: int) -> list[tuple[Passage, ...]]:
    """The passages of an answer; ``ValueError`` says where it is not in the ``/retrieve`` form."""
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, list):
        raise ValueError("it has no list `result`")
    if len(result) != queries:
        raise ValueError(f"it has {len(result)} results for {queries} queries")
    return [tuple(_read_passages(row, k)) for row in result]


def _read_passages(row: Any, k: int) -> Iterator[Passage]:
    if row is None:
        return
    if not isinstance(row, list):
        raise ValueError("a query's result is not a list")
    for item in row[:k]:
        if not isinstance(item, dict | str):
            raise ValueError("a passage is neither an object nor a text")
        scored = item if isinstance(item, dict) else {}
        document = scored.get("document", item)
        identifier = document.get("id", "") if isinstance(document, dict) else ""
        yield read_document(document, identifier, scored.get("score", 0.0))
