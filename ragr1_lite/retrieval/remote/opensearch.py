"""Searching an OpenSearch cluster, for corpora that outgrow one machine. The only importer of opensearch-py.

The URL names the index::

    opensearch://localhost:9200/wiki            plain HTTP
    opensearch+https://search.example.org/wiki  TLS, verified; SSL_CERT_FILE may name your own certificate

User and password come from ``OPENSEARCH_USERNAME`` and ``OPENSEARCH_PASSWORD`` in the environment.
opensearch-py is the extra ``opensearch``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice
from types import SimpleNamespace
from typing import Any

from ragr1_lite.core.errors import ConfigError, DataError, RetrievalIndexError
from ragr1_lite.core.events import Notice, Report, ignore, phase
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.remote.client import (
    RemoteSearcher,
    Server,
    Temporary,
    is_here,
    one_line,
    read_document,
    split_url,
    trusted,
    whole,
)
from ragr1_lite.versions import install_hint

QUERIES = 1_000
"""Queries per ``_msearch``, at most."""
_WORDS = 200
"""Words of a query that are searched: a cluster takes 1,024 clauses, and every word is one in each field."""
_BULK_PASSAGES, _BULK_BYTES = 1_000, 8 * 2**20
_TOO_MANY_REFUSED = 10
_ANSWER_BYTES = 256 * 2**20
_FIELDS = ["title", "text", "contents"]
_FORM = "Write it like opensearch://localhost:9200/wiki, or opensearch+https://… for TLS."
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}")
_MAPPING = {
    "mappings": {
        "dynamic": False,
        "properties": {
            "title": {"type": "text", "analyzer": "english"},
            "text": {"type": "text", "analyzer": "english"},
        },
    }
}


class OpenSearchSearcher(RemoteSearcher, Server):
    """Searches an index of an OpenSearch cluster by BM25, with one ``_msearch`` for a turn's queries.

    Title and text are searched as if they were one field; ``contents``, where documents have it, too.

    ``timeout``: seconds until an answer must be there.

    Raises:
        ConfigError: The URL is not one of an index, or opensearch-py is not installed.
    """

    def __init__(self, url: str, *, timeout: float = 60.0, retries: int = 5) -> None:
        hint = "Check the URL, or start it; a cluster with TLS needs opensearch+https://."
        super().__init__(f"The cluster of {url}", hint, retries)
        parts = split_url(url)
        self.index = parts.path.strip("/")
        if not _NAME.fullmatch(self.index) or parts.query:
            raise ConfigError(f"{url!r} names no index", _FORM)
        self.url = url
        tls = parts.scheme.endswith("+https")
        user, password = (os.environ.get(f"OPENSEARCH_{name}") for name in ("USERNAME", "PASSWORD"))
        self._exposed = bool(user) and not tls and not is_here(parts.hostname)
        self._client = _opensearchpy().OpenSearch(
            hosts=[{"host": parts.hostname, "port": parts.port or (443 if tls else 9200)}],
            http_auth=(user, password or "") if user else None,
            use_ssl=tls,
            ssl_context=trusted() if tls else None,
            timeout=timeout,
            max_retries=0,
            connection_class=_bounded_connection(),
        )

    @classmethod
    def open(cls, url: str, report: Report = ignore) -> OpenSearchSearcher:
        """Connects; raises RetrievalIndexError where the cluster does not answer, refuses, or has no such index."""
        searcher = cls(url)
        if not searcher.exists():
            raise searcher._missing()
        if searcher._exposed:
            report(Notice(f"{url} is plain HTTP: the password can be read on its way.", "warning"))
        return searcher

    def exists(self) -> bool:
        """Whether the cluster has the index; raises RetrievalIndexError where it does not answer, or refuses."""
        return bool(self.call(lambda client: client.indices.exists(index=self.index), retries=1))

    def _most_queries(self, k: int) -> int:
        return QUERIES

    def _ask(self, queries: list[str], k: int) -> list[tuple[Passage, ...]]:
        body = [line for query in queries for line in ({}, _query(query, k))]
        answer = self.call(lambda client: client.msearch(body=body, index=self.index))
        responses = answer.get("responses") if isinstance(answer, dict) else None
        if not isinstance(responses, list) or len(responses) != len(queries):
            raise self.unusable("it has not one response for each query")
        try:
            return [tuple(_read_hits(self._checked(response), k)) for response in responses]
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise self.unusable(f"a response is not of its form ({one_line(str(problem))})") from None

    def call(self, request: Any, *, retries: int | None = None) -> Any:
        """Sends a request, again where that can help; raises RetrievalIndexError where it failed."""
        errors = _opensearchpy().exceptions

        def once() -> Any:
            try:
                return request(self._client)
            except errors.ConnectionError as error:
                if isinstance(error.info, _TooLarge):
                    raise self.unusable(str(error.info)) from None
                raise Temporary(one_line(str(error.info)) or "no connection") from None
            except errors.TransportError as error:
                if error.status_code == 429 or (isinstance(error.status_code, int) and error.status_code >= 500):
                    raise Temporary(_reason(error)) from None
                raise self._error_of(error) from None
            except errors.SerializationError:
                raise self.unusable("it is not JSON") from None

        return self.retried(once, retries)

    def _checked(self, response: Mapping[str, Any]) -> Mapping[str, Any]:
        """A response of ``_msearch`` that is not an error."""
        problem = response.get("error")
        if not problem:
            return response
        if isinstance(problem, dict) and problem.get("type") == "index_not_found_exception":
            raise self._missing()
        reason = one_line(str(problem.get("reason") if isinstance(problem, dict) else problem))
        raise RetrievalIndexError(f"The index {self.url} cannot be searched ({reason})", "Fix it, or index it again.")

    def put(self, passages: Iterable[Passage]) -> Iterator[str]:
        """Puts passages into the index; yields for each why it was refused, or nothing. Raises as :meth:`call`."""
        rows = (
            {"_id": whole(one.id), "title": whole(one.title), "text": whole(one.text)}
            | ({"place": whole(one.place)} if one.place else {})
            for one in passages
        )
        results = _opensearchpy().helpers.streaming_bulk(
            SimpleNamespace(transport=self._client.transport, bulk=self._bulk),
            rows,
            chunk_size=_BULK_PASSAGES,
            max_chunk_bytes=_BULK_BYTES,
            raise_on_error=False,
            max_retries=self._retries,
            initial_backoff=1,
            max_backoff=8,
        )
        for taken, item in results:
            result = item["index"]
            if result["status"] == 429:
                raise self.gone("status 429: the cluster cannot keep up")
            yield "" if taken else one_line(f"{result.get('_id')}: {result.get('error')}")

    def _bulk(self, body: str) -> Any:
        """What opensearch-py's helper calls: retried as other requests are, and its answer's form is checked.

        ``body``, its lines, is passed by place by version 2 and by name by version 3.
        """
        answer = self.call(lambda client: client.bulk(body=body, index=self.index))
        try:
            statuses = [item["index"]["status"] for item in answer["items"]]
        except (KeyError, TypeError) as problem:
            raise self.unusable(f"it is no answer to _bulk ({one_line(repr(problem))})") from None
        if 2 * len(statuses) != body.count("\n"):
            raise self.unusable(f"it is no answer to _bulk ({len(statuses)} results)")
        return answer

    def _missing(self) -> RetrievalIndexError:
        return RetrievalIndexError(
            f"There is no index {self.index} in the cluster of {self.url}", "Check the name, or index passages first."
        )

    def _error_of(self, error: Any) -> RetrievalIndexError:
        if error.status_code in (401, 403):
            return RetrievalIndexError(
                f"The cluster of {self.url} does not let us in (status {error.status_code})",
                "Set OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD in the environment.",
            )
        return self._missing() if error.status_code == 404 else self.refused(_reason(error))


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
    cluster = OpenSearchSearcher(url, timeout=120.0, retries=retries)
    total, done, refused = len(passages) if isinstance(passages, Sized) else None, 0, list[str]()
    try:
        _make_index(cluster, overwrite)
        with phase(report, "Indexing passages", total, "passages") as advance:
            results = cluster.put(passages)
            while chunk := list(islice(results, _BULK_PASSAGES)):
                done += len(chunk)
                refused += filter(None, chunk)
                problem = f"The cluster refused {len(refused)} of {done} passages"
                if len(refused) > _TOO_MANY_REFUSED:
                    raise DataError(f"{problem}; the first: {refused[0]}", _FORM)
                advance(done)
            cluster.call(lambda client: client.indices.refresh(index=cluster.index))
            if refused:
                report(Notice(f"{problem}; the first: {refused[0]}", "warning"))
    finally:
        cluster.close()
    return done - len(refused)


def _query(query: str, k: int) -> dict[str, Any]:
    words = " ".join(whole(query).split()[:_WORDS])
    match = {"query": words, "fields": _FIELDS, "type": "cross_fields"}
    return {"query": {"multi_match": match}, "size": k, "_source": [*_FIELDS, "place"]}


def _read_hits(response: Mapping[str, Any], k: int) -> Iterator[Passage]:
    for hit in response["hits"]["hits"][:k]:
        yield read_document(hit["_source"], hit["_id"], hit["_score"])


def _make_index(cluster: OpenSearchSearcher, overwrite: bool) -> None:
    if cluster.exists():
        if not overwrite:
            raise RetrievalIndexError(
                f"The index {cluster.url} exists already", "Name another one, or ask for it to be overwritten."
            )
        cluster.call(lambda client: client.indices.delete(index=cluster.index))
    cluster.call(lambda client: client.indices.create(index=cluster.index, body=_MAPPING))


def _reason(error: Any) -> str:
    """A status, with the reason that the cluster gave."""
    info = error.info.get("error") if isinstance(error.info, dict) else None
    reason = info.get("reason") if isinstance(info, dict) else info or error.error
    return f"status {error.status_code}: {one_line(str(reason))}"


class _TooLarge(Exception):
    """Why an answer is not read to its end."""


def _bounded_connection() -> Any:
    """The client's connection, with an answer's size bounded, and the time until it is there whole."""

    class Bounded(_opensearchpy().Urllib3HttpConnection):  # type: ignore[misc]
        def _create_urllib3_pool(self) -> None:
            super()._create_urllib3_pool()
            send = self.pool.urlopen

            def urlopen(*args: Any, **options: Any) -> Any:
                deadline, content = time.monotonic() + self.timeout, bytearray()
                response = send(*args, preload_content=False, **options)
                try:
                    read = getattr(response, "read1", response.read)  # what has come, without waiting for more
                    while part := read(2**16, decode_content=True):
                        content += part
                        if len(content) > _ANSWER_BYTES:
                            raise _TooLarge(f"it is larger than {_ANSWER_BYTES // 2**20} MiB")
                        if time.monotonic() > deadline:
                            raise TimeoutError(f"no whole answer within {self.timeout:g} s")
                except BaseException:
                    response.close()
                    raise
                response.release_conn()
                return SimpleNamespace(data=bytes(content), status=response.status, headers=response.headers)

            self.pool.urlopen = urlopen

    return Bounded


def _opensearchpy() -> Any:
    try:
        import opensearchpy
    except ImportError:
        raise ConfigError("Searching OpenSearch needs opensearch-py", install_hint("opensearch")) from None
    return opensearchpy
