r"""Searching a server over HTTP in the form of Search-R1's and RAG-R1's servers, or in that of ReCall's and FlashRAG's.

::

    /retrieve       {"queries": ["area of Chad"], "topk": 3, "return_scores": true}
                    {"result": [[{"document": {"id": "7", "contents": "\"Chad\"\nChad is …"}, "score": 11.2}, …]]}
    /batch_search   {"query": ["area of Chad"], "top_n": 3, "return_score": true}
                    [[[{"id": "7", "contents": "\"Chad\"\nChad is …"}, …]], [[11.2, …]]]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.remote.client import JsonClient, RemoteSearcher, read_document, split_url

QUERIES, PASSAGES = 4_000, 40_000
"""What one request may ask for. A turn has some hundreds of queries, making training data may have many thousands."""
_START = (
    "Check the URL, which ends in /retrieve or /batch_search, or start it; one of ours starts with: "
    "ragr1-lite index serve FOLDER"
)
_BATCH, _ALONE = "/batch_search", "/search"


class HttpSearcher(RemoteSearcher):
    """Searches over HTTP with one request for a turn's queries, in the form that the URL's end names.

    ``/retrieve`` is added to a URL without a path. ReCall's ``/search`` takes one query: its ``/batch_search`` is asked
    instead. Any other path is asked as ``/retrieve`` is. ``timeout``: seconds until an answer must be there.

    Raises:
        ConfigError: The URL is not one of a server.
    """

    def __init__(self, url: str, *, timeout: float = 60.0, retries: int = 5) -> None:
        parts = split_url(url)
        path = parts.path if parts.path.strip("/") else "/retrieve"
        if path.rstrip("/").endswith(_ALONE):
            path = path.rstrip("/").removesuffix(_ALONE) + _BATCH
        self._in_batches = path.rstrip("/").endswith(_BATCH)
        self.url = parts._replace(path=path).geturl()
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
        body: dict[str, Any] = {"queries": queries, "topk": k, "return_scores": True}
        if self._in_batches:
            body = {"query": queries, "top_n": k, "return_score": True}
        answer = self._client.ask("POST", body=body)
        try:
            return _read_answer(answer, len(queries), k)
        except ValueError as problem:
            raise self._client.unusable(str(problem)) from None


def _read_answer(answer: Any, queries: int, k: int) -> list[tuple[Passage, ...]]:
    """The passages of an answer, whatever was asked; ``ValueError`` says where it is in neither form."""
    if isinstance(answer, list) and len(answer) == 2 and all(_is_table(part, queries) for part in answer):
        documents, scores = answer
        return [tuple(_read_passages(*both, k)) for both in zip(documents, scores, strict=True)]
    rows = answer.get("result") if isinstance(answer, dict) else answer
    if not isinstance(rows, list):
        raise ValueError("it has no list `result`, as /retrieve answers, and is no list, as /batch_search answers")
    if len(rows) != queries:
        raise ValueError(f"it has {len(rows)} results for {queries} queries")
    return [tuple(_read_passages(row, None, k)) for row in rows]


def _is_table(part: Any, queries: int) -> bool:
    """Whether it has a list for each query, as documents and scores have that come apart."""
    return isinstance(part, list) and len(part) == queries and all(isinstance(row, list) for row in part)


def _read_passages(row: Any, scores: Sequence[Any] | None, k: int) -> Iterator[Passage]:
    """A query's passages; their ``scores`` where these come apart from them."""
    if row is None:
        return
    if not isinstance(row, list):
        raise ValueError("a query's result is not a list")
    if scores is not None and len(scores) != len(row):
        raise ValueError(f"it has {len(scores)} scores for the {len(row)} documents of a query")
    for place, item in enumerate(row[:k]):
        if not isinstance(item, dict | str):
            raise ValueError("a passage is neither an object nor a text")
        scored = item if isinstance(item, dict) else {}
        document = scored.get("document", item)
        identifier = document.get("id", "") if isinstance(document, dict) else ""
        yield read_document(document, identifier, scores[place] if scores else scored.get("score", 0.0))
