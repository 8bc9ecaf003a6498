"""Searching an OpenSearch cluster, for corpora that outgrow one machine.

The URL names the index::

    opensearch://localhost:9200/wiki            plain HTTP
    opensearch+https://search.example.org/wiki  TLS, verified; SSL_CERT_FILE may name your own certificate

User and password come from ``OPENSEARCH_USERNAME`` and ``OPENSEARCH_PASSWORD`` in the environment.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from ragr1_lite.core.errors import ConfigError, DataError, RetrievalIndexError
from ragr1_lite.core.events import Notice, Report, ignore, phase
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.remote.client import (
    JsonClient,
    RemoteSearcher,
    Temporary,
    is_here,
    one_line,
    read_document,
    split_url,
    whole,
)

QUERIES = 1_000
"""Queries per ``_msearch``, at most."""
_WORDS = 200
"""Words of a query that are searched: a cluster takes 1,024 clauses, and every word is one in each field."""
_BULK_PASSAGES, _BULK_BYTES = 1_000, 8 * 2**20
_TOO_MANY_REFUSED = 10
_FIELDS = ["title", "text", "contents"]
_FORM = "Write it like opensearch://localhost:9200/wiki, or opensearch+https://… for TLS."
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}")
_TEXT = {"type": "text", "analyzer": "english"}
_MAPPING = {"mappings": {"dynamic": False, "properties": {"title": _TEXT, "text": _TEXT}}}


class Cluster(JsonClient):
    """A cluster, asked about one of its indexes; ``timeout``: seconds until an answer must be there.

    Raises:
        ConfigError: The URL is not one of an index.
    """

    def __init__(self, url: str, *, timeout: float, retries: int) -> None:
        parts = split_url(url)
        self.url, self.index = url, parts.path.strip("/")
        if not _NAME.fullmatch(self.index) or parts.query:
            raise ConfigError(f"{url!r} names no index", _FORM)
        tls = parts.scheme.endswith("+https")
        place = parts.netloc if parts.port else f"{parts.netloc}:{443 if tls else 9200}"
        user, password = (os.environ.get(f"OPENSEARCH_{name}", "") for name in ("USERNAME", "PASSWORD"))
        self.exposed = bool(user) and not tls and not is_here(parts.hostname)
        super().__init__(
            f"The cluster of {url}",
            f"{'https' if tls else 'http'}://{place}/{self.index}",
            "Check the URL, or start it; a cluster with TLS needs opensearch+https://.",
            timeout=timeout,
            retries=retries,
            headers={"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"} if user else {},
        )

    def exists(self) -> bool:
        """Whether the cluster has the index; raises RetrievalIndexError where it does not answer, or refuses."""
        status, content = self.send("HEAD", retries=1)
        if status not in (200, 404):
            raise self.refusal(status, content)
        return status == 200

    def put(self, rows: list[bytes]) -> list[str]:
        """Puts rows of ``_bulk`` into the index, those that it had no time for again; returns why others were refused.

        Raises RetrievalIndexError where the cluster is gone, refuses or cannot keep up.
        """
        left, refused = rows, list[str]()

        def once() -> None:
            nonlocal left
            answer = self.ask("POST", "/_bulk", lines=b"".join(left))
            try:
                results = [item["index"] for item in answer["items"]]
                busy = [row for row, one in zip(left, results, strict=True) if one["status"] == 429]
                others = [one for one in results if one["status"] >= 300 and one["status"] != 429]
            except (KeyError, TypeError, ValueError) as problem:
                raise self.unusable(f"it is no answer to _bulk ({one_line(repr(problem))})") from None
            refused.extend(one_line(f"{one.get('_id')}: {one.get('error')}") for one in others)
            left = busy
            if busy:
                raise Temporary("status 429: the cluster cannot keep up")

        self.retried(once)
        return refused

    def missing(self) -> RetrievalIndexError:
        """The error of an index that the cluster does not have."""
        return RetrievalIndexError(
            f"There is no index {self.index} in the cluster of {self.url}", "Check the name, or index passages first."
        )

    def refusal(self, status: int, content: bytes) -> RetrievalIndexError:
        """The error of a status: without a login, without the index, or any other."""
        if status in (401, 403):
            return RetrievalIndexError(
                f"The cluster of {self.url} does not let us in (status {status})",
                "Set OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD in the environment.",
            )
        return self.missing() if status == 404 else super().refusal(status, content)


class OpenSearchSearcher(RemoteSearcher):
    """Searches an index of an OpenSearch cluster by BM25, with one ``_msearch`` for a turn's queries.

    Title and text are searched as if they were one field; ``contents``, where documents have it, too.
    Arguments and errors are those of :class:`Cluster`.
    """

    def __init__(self, url: str, *, timeout: float = 60.0, retries: int = 5) -> None:
        self._client: Cluster = Cluster(url, timeout=timeout, retries=retries)

    @classmethod
    def open(cls, url: str, report: Report = ignore) -> OpenSearchSearcher:
        """Connects; raises RetrievalIndexError where the cluster does not answer, refuses, or has no such index."""
        searcher = cls(url)
        if not searcher._client.exists():
            searcher.close()
            raise searcher._client.missing()
        if searcher._client.exposed:
            report(Notice(f"{url} is plain HTTP: the password can be read on its way.", "warning"))
        return searcher

    def _most_queries(self, k: int) -> int:
        return QUERIES

    def _ask(self, queries: list[str], k: int) -> list[tuple[Passage, ...]]:
        body = b"".join(_lines({}, _query(query, k)) for query in queries)
        answer = self._client.ask("POST", "/_msearch", lines=body)
        responses = answer.get("responses") if isinstance(answer, dict) else None
        if not isinstance(responses, list) or len(responses) != len(queries):
            raise self._client.unusable("it has not one response for each query")
        try:
            return [tuple(self._read_hits(response, k)) for response in responses]
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise self._client.unusable(f"a response is not of its form ({one_line(str(problem))})") from None

    def _read_hits(self, response: Mapping[str, Any], k: int) -> Iterator[Passage]:
        if problem := response.get("error"):
            if isinstance(problem, dict) and problem.get("type") == "index_not_found_exception":
                raise self._client.missing()
            reason = one_line(str(problem.get("reason") if isinstance(problem, dict) else problem))
            raise RetrievalIndexError(
                f"The index {self._client.url} cannot be searched ({reason})", "Fix it, or index it again."
            )
        for hit in response["hits"]["hits"][:k]:
            yield read_document(hit["_source"], hit["_id"], hit["_score"])


def index_passages(
    url: str, passages: Iterable[Passage], *, overwrite: bool = False, retries: int = 5, report: Report = ignore
) -> int:
    """Makes an index in a cluster and puts passages into it by ``_bulk``.

    Passages are read once, in order; one with the id of an earlier one takes its place.

    Returns:
        How many passages were put in.

    Raises:
        RetrievalIndexError: The index exists and may not be overwritten, or the cluster is gone or refuses.
        DataError: The cluster refused more than a few passages.
    """
    cluster = Cluster(url, timeout=120.0, retries=retries)
    total, done, refused = len(passages) if isinstance(passages, Sized) else None, 0, list[str]()
    try:
        if cluster.exists():
            if not overwrite:
                raise RetrievalIndexError(
                    f"The index {url} exists already", "Name another one, or replace it with --overwrite."
                )
            cluster.ask("DELETE")
        cluster.ask("PUT", body=_MAPPING)
        with phase(report, "Indexing passages", total, "passages") as advance:
            for chunk in _chunks(passages):
                refused += cluster.put(chunk)
                done += len(chunk)
                problem = f"The cluster refused {len(refused)} of {done} passages"
                if len(refused) > _TOO_MANY_REFUSED:
                    raise DataError(f"{problem}; the first: {refused[0]}", _FORM)
                advance(done)
            cluster.ask("POST", "/_refresh")
            if refused:
                report(Notice(f"{problem}; the first: {refused[0]}", "warning"))
    finally:
        cluster.close()
    return done - len(refused)


def _chunks(passages: Iterable[Passage]) -> Iterator[list[bytes]]:
    """The rows of ``_bulk`` in portions that a cluster takes at once."""
    chunk, size = list[bytes](), 0
    for one in passages:
        place = {"place": whole(one.place)} if one.place else {}
        source = {"title": whole(one.title), "text": whole(one.text), **place}
        row = _lines({"index": {"_id": whole(one.id)}}, source)
        if chunk and (len(chunk) == _BULK_PASSAGES or size + len(row) > _BULK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row)
    if chunk:
        yield chunk


def _lines(*values: Any) -> bytes:
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()


def _query(query: str, k: int) -> dict[str, Any]:
    words = " ".join(whole(query).split()[:_WORDS])
    match = {"query": words, "fields": _FIELDS, "type": "cross_fields"}
    return {"query": {"multi_match": match}, "size": k, "_source": [*_FIELDS, "place"]}
