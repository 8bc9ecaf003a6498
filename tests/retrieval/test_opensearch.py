"""OpenSearch by its documented API: what is asked, and what is made of the answers, without a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ragr1_lite.core.errors import ConfigError, DataError, RetrievalIndexError
from ragr1_lite.core.events import Notice, PhaseAdvanced, PhaseFinished, PhaseStarted
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.remote import client, opensearch
from ragr1_lite.retrieval.remote.opensearch import OpenSearchSearcher, index_passages
from ragr1_lite.retrieval.searchers import open_searcher
from tests.support.recorded import Asked, Recorded, Reply, recorded

MISSING = {
    "error": {
        "root_cause": [{"type": "index_not_found_exception", "reason": "no such index [wiki]", "index": "wiki"}],
        "type": "index_not_found_exception",
        "reason": "no such index [wiki]",
        "index": "wiki",
    },
    "status": 404,
}


def hits(*found: dict[str, Any]) -> dict[str, Any]:
    """One response of ``_msearch``, as the API's reference has it."""
    return {
        "took": 2,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {
            "total": {"value": len(found), "relation": "eq"},
            "max_score": found[0]["_score"] if found else None,
            "hits": [{"_index": "wiki", **hit} for hit in found],
        },
        "status": 200,
    }


CHAD = {"_id": "7", "_score": 2.5, "_source": {"title": "Chad", "text": "A country in Africa."}}
NIGER = {"_id": "8", "_score": 1, "_source": {"contents": '"Niger"\nA country.'}}


def answers(*responses: Any) -> Reply:
    return Reply({"took": 3, "responses": list(responses)})


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are noted instead of waited for; no user comes in from outside."""
    for name in ("OPENSEARCH_USERNAME", "OPENSEARCH_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    noted: list[float] = []
    monkeypatch.setattr(client.time, "sleep", noted.append)
    return noted


Cluster = Callable[[Callable[[Asked], Reply]], tuple[Recorded, str]]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(answer: Callable[[Asked], Reply]) -> tuple[Recorded, str]:
            far = stack.enter_context(recorded(answer))
            return far, far.url.replace("http", "opensearch") + "/wiki"

        yield start


def found_by(cluster: Cluster, reply: Reply, *queries: str) -> list[tuple[Passage, ...]]:
    _, url = cluster(lambda _: reply)
    searcher = OpenSearchSearcher(url, retries=2)
    try:
        return searcher.search(queries or ["q"], 3)
    finally:
        searcher.close()


class TestSearch:
    def test_a_turn_is_one_msearch(self, cluster: Cluster) -> None:
        far, url = cluster(lambda _: answers(hits(NIGER), hits(CHAD, NIGER), hits()))
        searcher = OpenSearchSearcher(url)
        found = searcher.search(["niger", "chad", "", "niger", "x" + " y" * 400], 2)
        assert searcher.search([], 2) == [] and searcher.search(["a"], 0) == [()]
        searcher.close()
        niger = Passage("8", "Niger", "A country.", 1.0)
        assert found == [(niger,), (Passage("7", "Chad", "A country in Africa.", 2.5), niger), (), (niger,), ()]
        (request,) = far.asked
        assert (request.method, request.path) == ("POST", "/wiki/_msearch")
        assert request.headers["content-type"].startswith("application/") and request.body.endswith(b"\n")
        fields = ["title", "text", "contents"]
        assert request.lines[:2] == [
            {},
            {
                "query": {"multi_match": {"query": "niger", "fields": fields, "type": "cross_fields"}},
                "size": 2,
                "_source": [*fields, "place"],
            },
        ]
        assert len(request.lines) == 6
        assert request.lines[5]["query"]["multi_match"]["query"].count("y") == 199, "clauses are limited"

    def test_connections_are_kept_and_parts_are_bounded(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(opensearch, "QUERIES", 4)
        far, url = cluster(lambda request: answers(*[hits(CHAD)] * (len(request.lines) // 2)))
        searcher = OpenSearchSearcher(url)
        assert len(searcher.search([f"{n}" for n in range(10)], 1)) == 10
        searcher.close()
        assert ([len(request.lines) for request in far.asked], len(far.connections)) == ([8, 8, 4], 1)

    @pytest.mark.parametrize(
        ("reply", "says"),
        [
            (answers(MISSING), "There is no index wiki in the cluster of"),
            (Reply(MISSING, 404), "There is no index wiki"),
            (answers({"error": {"type": "x", "reason": "too many\n clauses"}, "status": 400}), "(too many clauses)"),
            (Reply({"error": {"reason": "bad \u001b[1m"}, "status": 400}, 400), "refuses the request (status 400: bad"),
            (Reply(b"Unauthorized", 401), "does not let us in (status 401)"),
            (Reply(b"", 403), "does not let us in (status 403)"),
            (Reply(b"<html>"), "cannot be used"),
            (Reply([1]), "not one response for each query"),
            (answers(), "not one response for each query"),
            (answers({"took": 1}), "not of its form"),
            (answers(hits({**CHAD, "_score": None})), "a score is not a number"),
            (answers(hits({**CHAD, "_source": {"body": "x"}})), "neither `contents` nor `text`"),
            (answers(hits({"_id": "1", "_score": 1})), "not of its form"),
            (answers(3), "not of its form"),
        ],
    )
    def test_answers_that_cannot_be_used(self, cluster: Cluster, pauses: list[float], reply: Reply, says: str) -> None:
        with pytest.raises(RetrievalIndexError) as caught:
            found_by(cluster, reply)
        assert says in str(caught.value) and str(caught.value).isprintable()
        assert pauses == []

    def test_an_answer_without_end(self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "_ANSWER_BYTES", 2**20)
        with pytest.raises(RetrievalIndexError, match="cannot be used: it is larger than 1 MiB"):
            found_by(cluster, Reply(b" " * (2**20 + 1)))
        _, url = cluster(lambda _: Reply(b" " * 2_000, drips=True))
        searcher = OpenSearchSearcher(url, timeout=0.2, retries=0)
        with pytest.raises(RetrievalIndexError, match=r"does not answer \(no whole answer within 0\.2 s"):
            searcher.search(["q"], 1)
        searcher.close()

    @pytest.mark.parametrize("bad", [Reply(status=0), Reply(b"busy", 503), Reply({"error": "slow down"}, 429)])
    def test_what_passes_is_tried_again(self, cluster: Cluster, pauses: list[float], bad: Reply) -> None:
        far, url = cluster(lambda _: bad if len(far.asked) < 3 else answers(hits(CHAD)))
        searcher = OpenSearchSearcher(url, retries=2)
        assert searcher.search(["a"], 1)[0][0].title == "Chad"
        searcher.close()
        assert (len(far.asked), len(pauses)) == (3, 2)
        with pytest.raises(RetrievalIndexError, match="The cluster of .* does not answer"):
            found_by(cluster, bad)

    def test_a_cluster_that_is_gone(self, pauses: list[float]) -> None:
        with recorded(lambda _: Reply()) as far:
            pass
        with pytest.raises(RetrievalIndexError, match=r"does not answer .*opensearch\+https"):
            open_searcher(far.url.replace("http", "opensearch") + "/wiki")
        assert len(pauses) == 1

    def test_user_and_password_come_from_the_environment(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENSEARCH_USERNAME", "me")
        monkeypatch.setenv("OPENSEARCH_PASSWORD", "geheim")
        far, url = cluster(lambda _: answers(hits()))
        searcher = OpenSearchSearcher(url)
        searcher.search(["a"], 1)
        searcher.close()
        assert far.asked[0].headers["authorization"] == "Basic bWU6Z2VoZWlt"

    def test_opening_looks_for_the_index(self, cluster: Cluster) -> None:
        far, url = cluster(lambda _: Reply(b"", 200))
        searcher = open_searcher(url)
        assert isinstance(searcher, OpenSearchSearcher)
        searcher.close()
        assert [(request.method, request.path) for request in far.asked] == [("HEAD", "/wiki")]
        _, url = cluster(lambda _: Reply(b"", 404))
        with pytest.raises(RetrievalIndexError, match="There is no index wiki"):
            open_searcher(url)

    @pytest.mark.parametrize(
        "path", ["", "/", "/Wiki", "/a,b", "/_all", "/*", "/a/b", "/wiki?x=1", "/..", "/" + "a" * 300]
    )
    def test_urls_without_an_index(self, path: str) -> None:
        with pytest.raises(ConfigError, match="names no index"):
            OpenSearchSearcher(f"opensearch://localhost:9200{path}")

    def test_tls_is_verified(self, cluster: Cluster) -> None:
        import ssl

        searcher = OpenSearchSearcher("opensearch+https://search.example.org/wiki")
        assert searcher._client._url == "https://search.example.org:443/wiki"
        context = searcher._client._http._transport._pool._ssl_context  # type: ignore[attr-defined]
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        searcher.close()


class FakeCluster:
    """Just enough of a cluster to put passages into."""

    def __init__(self, exists: bool = False) -> None:
        self.exists = exists
        self.documents: dict[str, Any] = {}
        self.refuse: dict[str, tuple[int, str]] = {}

    def __call__(self, request: Asked) -> Reply:
        match request.method, request.path:
            case "HEAD", "/wiki":
                return Reply(b"", 200 if self.exists else 404)
            case "DELETE", "/wiki":
                self.exists, self.documents = False, {}
                return Reply({"acknowledged": True})
            case "PUT", "/wiki":
                self.exists, self.mapping = True, request.json
                return Reply({"acknowledged": True, "shards_acknowledged": True, "index": "wiki"})
            case "POST", "/wiki/_refresh":
                return Reply({"_shards": {"total": 2, "successful": 1, "failed": 0}})
            case "POST", "/wiki/_bulk":
                items = [self._put(*pair) for pair in zip(request.lines[::2], request.lines[1::2], strict=True)]
                return Reply({"took": 30, "errors": any("error" in item["index"] for item in items), "items": items})
        return Reply(b"", 400)

    def _put(self, action: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        identifier = action["index"]["_id"]
        if identifier in self.refuse:
            status, reason = self.refuse[identifier]
            if status == 429:
                del self.refuse[identifier]
            error = {"type": "mapper_parsing_exception", "reason": reason}
            return {"index": {"_index": "wiki", "_id": identifier, "status": status, "error": error}}
        self.documents[identifier] = document
        return {"index": {"_index": "wiki", "_id": identifier, "_version": 1, "result": "created", "status": 201}}


PASSAGES = [Passage(str(n), f"t{n}", f"text {n}") for n in range(25)]


class TestIndexing:
    def test_bulk_in_chunks(self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opensearch, "_BULK_PASSAGES", 10)
        fake, events = FakeCluster(), []
        far, url = cluster(fake)
        assert index_passages(url, PASSAGES, report=events.append) == 25
        assert fake.documents == {str(n): {"title": f"t{n}", "text": f"text {n}"} for n in range(25)}
        assert [request.path for request in far.asked].count("/wiki/_bulk") == 3
        assert far.asked[-1].path == "/wiki/_refresh"
        assert fake.mapping["mappings"]["properties"]["text"] == {"type": "text", "analyzer": "english"}
        assert events[:-1] == [
            PhaseStarted("Indexing passages", 25, "passages"),
            *(PhaseAdvanced("Indexing passages", done) for done in (10, 20, 25)),
        ]
        assert isinstance(events[-1], PhaseFinished)

    def test_places_are_kept(self, cluster: Cluster) -> None:
        fake = FakeCluster()
        _, url = cluster(fake)
        passage = Passage("mill.pdf#3", "Mill", "Built in 1784.", 1.5, "page 3")
        assert index_passages(url, [passage]) == 1
        ((id, stored),) = fake.documents.items()
        found = found_by(cluster, answers(hits({"_id": id, "_score": 1.5, "_source": stored})))
        assert found == [(passage,)]

    def test_chunks_are_bounded_in_bytes_too(self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opensearch, "_BULK_BYTES", 1_400)
        far, url = cluster(FakeCluster())
        assert index_passages(url, (Passage(str(n), "", "x" * 600) for n in range(4))) == 4
        sizes = [len(request.body) for request in far.asked if request.path == "/wiki/_bulk"]
        assert len(sizes) == 2 and max(sizes) <= 1_400

    def test_overwriting_is_asked_for(self, cluster: Cluster) -> None:
        fake = FakeCluster(exists=True)
        far, url = cluster(fake)
        with pytest.raises(RetrievalIndexError, match="exists already"):
            index_passages(url, PASSAGES)
        assert [request.method for request in far.asked] == ["HEAD"]
        assert index_passages(url, PASSAGES[:2], overwrite=True) == 2
        assert [request.method for request in far.asked[1:4]] == ["HEAD", "DELETE", "PUT"]

    def test_a_cluster_that_cannot_keep_up(self, cluster: Cluster, pauses: list[float]) -> None:
        fake = FakeCluster()
        fake.refuse = {"3": (429, "rejected execution"), "4": (429, "rejected execution")}
        _, url = cluster(fake)
        assert index_passages(url, PASSAGES) == 25
        assert (len(fake.documents), len(pauses)) == (25, 1)

    def test_a_cluster_that_never_keeps_up(self, cluster: Cluster, pauses: list[float]) -> None:
        """What it has no time for is sent again, alone, and never counted as put in."""
        fake = FakeCluster()
        far, url = cluster(lambda request: busy(request) if request.path.endswith("_bulk") else fake(request))

        def busy(request: Asked) -> Reply:
            fake.refuse["3"] = (429, "rejected execution")
            return fake(request)

        with pytest.raises(RetrievalIndexError, match="does not answer .*429: the cluster cannot keep up"):
            index_passages(url, PASSAGES, retries=2)
        sizes = [len(request.lines) // 2 for request in far.asked if request.path.endswith("_bulk")]
        assert (sizes, len(pauses)) == ([25, 1, 1], 2)

    def test_passages_that_are_refused(self, cluster: Cluster) -> None:
        fake, events = FakeCluster(), []
        fake.refuse = {"3": (400, "no\nway")}
        _, url = cluster(fake)
        assert index_passages(url, PASSAGES, report=events.append) == 24
        (notice,) = (event for event in events if isinstance(event, Notice))
        assert notice.level == "warning" and "refused 1 of 25 passages; the first: 3: " in notice.text
        fake.refuse = {str(n): (400, "no way") for n in range(11)}
        with pytest.raises(DataError, match="refused 11 of 25 passages; the first: 0: "):
            index_passages(url, PASSAGES, overwrite=True)

    @pytest.mark.parametrize(
        "answer", [{}, {"errors": True, "items": [{"create": {}}]}, {"errors": True}, {"errors": False, "items": []}]
    )
    def test_nonsense(self, cluster: Cluster, answer: Any) -> None:
        fake = FakeCluster()
        _, url = cluster(lambda request: Reply(answer) if request.path.endswith("_bulk") else fake(request))
        with pytest.raises(RetrievalIndexError, match="no answer to _bulk"):
            index_passages(url, PASSAGES)

    def test_halves_of_pairs_are_left_out(self, cluster: Cluster) -> None:
        fake = FakeCluster()
        _, url = cluster(fake)
        assert index_passages(url, [Passage("a\ud800", "\udfff", "é")]) == 1
        assert json.dumps(fake.documents) == json.dumps({"a?": {"title": "?", "text": "é"}})
