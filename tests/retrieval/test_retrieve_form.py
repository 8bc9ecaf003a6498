"""The ``/retrieve`` form, from both ends: our application without a socket, and our client against prepared answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest

from ragr1_lite import __version__
from ragr1_lite.core.errors import ConfigError, RetrievalIndexError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.remote import client as shared
from ragr1_lite.retrieval.remote import server
from ragr1_lite.retrieval.remote.client import read_document
from ragr1_lite.retrieval.remote.http import HttpSearcher
from ragr1_lite.retrieval.remote.web import WebSearcher
from ragr1_lite.retrieval.searchers import open_searcher
from tests.support.hanging import Hanging
from tests.support.recorded import Asked, Recorded, Reply, recorded

CHAD = Passage("7", "Chad", "Chad is a country in Africa.\nIts capital is N'Djamena.", 1.5)
ODD = Passage("é", 'The "Tome"\nof it', "½ \ud800", 0.25)


class Scripted:
    """A searcher that finds the same for every query, and counts its calls."""

    def __init__(self, *found: Passage, fails: Exception | None = None) -> None:
        self.found, self.fails = found, fails
        self.calls: list[tuple[list[str], int]] = []

    def __len__(self) -> int:
        return 4

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        self.calls.append((list(queries), k))
        if self.fails:
            raise self.fails
        return [() if query == "nothing" else self.found[:k] for query in queries]


def post(app: Any, *bodies: Any, path: str = "/retrieve") -> list[httpx.Response]:
    """Sends all bodies at once."""

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            contents = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
            return await asyncio.gather(*(client.post(path, content=content) for content in contents))

    return asyncio.run(send())


def ask(app: Any, body: Any) -> tuple[int, Any]:
    (response,) = post(app, body)
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()


class TestServer:
    def test_with_scores_byte_for_byte(self) -> None:
        app = server.make_app(Scripted(CHAD, Passage("x", "", "Größe", 0.1)))
        (response,) = post(app, {"queries": ["q1", "nothing"], "topk": 3, "return_scores": True})
        assert response.content.decode() == (
            '{"result":[[{"document":{"id":"7","contents":"\\"Chad\\"\\nChad is a country in Africa.\\nIts capital is '
            'N\'Djamena."},"score":1.5},{"document":{"id":"x","contents":"\\"\\"\\nGröße"},"score":0.1}],[]]}'
        )

    def test_without_scores_documents_come_bare(self) -> None:
        (response,) = post(server.make_app(Scripted(CHAD)), {"queries": ["q"], "topk": 1})
        assert json.loads(response.content) == {"result": [[{"id": "7", "contents": f'"Chad"\n{CHAD.text}'}]]}

    def test_what_no_utf8_can_hold_is_escaped(self) -> None:
        (response,) = post(server.make_app(Scripted(ODD)), {"queries": ["q"]})
        assert json.loads(response.content) == {"result": [[{"id": "é", "contents": '"The "Tome" of it"\n½ \ud800'}]]}

    def test_a_place_goes_with_its_document(self) -> None:
        paged = Passage("a.pdf#2", "A", "text", 1.0, "page 3")
        app = server.make_app(Scripted(paged))
        answers = [ask(app, {"queries": ["q"], "return_scores": scores})[1] for scores in (True, False)]
        document = {"id": "a.pdf#2", "contents": '"A"\ntext', "place": "page 3"}
        assert answers == [{"result": [[{"document": document, "score": 1.0}]]}, {"result": [[document]]}]
        assert read_document(document, "a.pdf#2", 1.0) == paged
        row = Passage("7", "A", "text", 1.0, file="rows.jsonl")
        [document] = ask(server.make_app(Scripted(row)), {"queries": ["q"]})[1]["result"][0]
        assert read_document(document, "7", 1.0) == row

    @pytest.mark.parametrize("place", [{}, *({"place": one} for one in (None, 3, {"page": 3}, "x" * 1_000_001))])
    def test_a_server_without_places_or_with_others_is_understood(self, place: dict[str, Any]) -> None:
        assert read_document({"contents": "text", **place}, 1, 0.5) == Passage("1", "", "text", 0.5)

    @pytest.mark.parametrize("fields", [{}, {"topk": None}, {"topk": 0}, {"topk": 0.0}])
    def test_without_topk_the_servers_own(self, fields: dict[str, Any]) -> None:
        searcher = Scripted(*[CHAD] * 9)
        status, answer = ask(server.make_app(searcher, server.Limits(k=5)), {"queries": ["q"], **fields, "unknown": 1})
        assert (status, len(answer["result"][0]), searcher.calls) == (200, 5, [(["q"], 5)])

    def test_no_queries_no_search(self) -> None:
        searcher = Scripted(CHAD)
        assert ask(server.make_app(searcher), {"queries": [], "topk": 3}) == (200, {"result": []})
        assert searcher.calls == []

    @pytest.mark.parametrize(
        ("body", "status", "reason"),
        [
            (b"", 400, "not JSON"),
            (b"\xff\xfe\x00", 400, "not JSON"),
            (b'{"queries": [', 400, "not JSON"),
            (b"[" * 30_000, 400, "not JSON"),
            (["q"], 422, "must be a JSON object"),
            ({}, 422, "`queries` must be a list of strings"),
            ({"queries": "q"}, 422, "`queries` must be a list"),
            ({"queries": ["q", 3]}, 422, "`queries` must be a list"),
            ({"queries": ["q"] * 6}, 422, "6 entries; at most 5"),
            ({"queries": ["q" * 20_001]}, 422, "longer than 20000 characters"),
            ({"queries": ["q"], "topk": 11}, 422, "up to 10"),
            ({"queries": ["q"], "topk": -1}, 422, "up to 10"),
            ({"queries": ["q"], "topk": "3"}, 422, "whole number"),
            ({"queries": ["q"], "topk": True}, 422, "whole number"),
            ({"queries": ["q"], "topk": 2.5}, 422, "whole number"),
            ({"queries": ["q"], "return_scores": "yes"}, 422, "true or false"),
            (b'{"queries": ["' + b"q" * 50_000 + b'"]}', 413, "larger than 40000 bytes"),
        ],
    )
    def test_what_it_refuses(self, body: Any, status: int, reason: str) -> None:
        searcher = Scripted(CHAD)
        app = server.make_app(searcher, server.Limits(max_k=10, max_queries=5, max_body_bytes=40_000))
        got, answer = ask(app, body)
        assert (got, list(answer)) == (status, ["detail"])
        assert reason in answer["detail"]
        assert ask(app, {"queries": ["q"] * 5, "topk": 10})[0] == 200
        assert len(searcher.calls) == 1

    def test_passages_of_a_request_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "MAX_PASSAGES", 20)
        app = server.make_app(Scripted(CHAD))
        assert ask(app, {"queries": ["q"] * 7, "topk": 3})[0] == 422
        assert ask(app, {"queries": ["q"] * 6, "topk": 3})[0] == 200

    @pytest.mark.parametrize("fails", [RetrievalIndexError("It is broken", "Fix it."), MemoryError("no room")])
    def test_a_search_that_fails(self, fails: Exception) -> None:
        events: list[object] = []
        searcher = Scripted(CHAD, fails=fails)
        app = server.make_app(searcher, report=events.append)
        status, answer = ask(app, {"queries": ["q"]})
        assert status == 500 and str(fails) not in answer["detail"], "it may name files"
        assert [event.level for event in events if isinstance(event, Notice)] == ["warning"]
        searcher.fails = None
        assert ask(app, {"queries": ["q"]})[0] == 200

    def test_health_and_what_is_not_there(self) -> None:
        async def get() -> tuple[Any, ...]:
            transport = httpx.ASGITransport(server.make_app(Scripted()))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.get("/health"), await client.get("/retrieve"), await client.get("/docs")

        health, wrong, missing = asyncio.run(get())
        assert health.json() == {"status": "ok", "passages": 4, "version": __version__}
        assert (wrong.status_code, missing.status_code) == (405, 404)

    def test_what_arrives_together_is_one_search(self) -> None:
        searcher = Scripted(*[CHAD] * 9)
        bodies = [{"queries": [f"{n}", "nothing"], "topk": 1 + n % 4} for n in range(12)]
        responses = post(server.make_app(searcher, server.Limits(window_ms=20)), *bodies)
        assert [len(response.json()["result"][0]) for response in responses] == [1 + n % 4 for n in range(12)]
        assert all(response.json()["result"][1] == [] for response in responses)
        assert [(len(queries), k) for queries, k in searcher.calls] == [(24, 4)]

    def test_a_search_does_not_grow_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "MAX_PASSAGES", 20)
        searcher = Scripted(CHAD)
        responses = post(
            server.make_app(searcher, server.Limits(window_ms=20)), *[{"queries": ["a", "b"], "topk": 3}] * 10
        )
        assert {response.status_code for response in responses} == {200}
        assert [len(queries) for queries, _ in searcher.calls] == [6, 6, 6, 2]

    @pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
    def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
        monkeypatch.setitem(__import__("sys").modules, missing, None)
        for start in (server.make_app, server.serve):
            with pytest.raises(ConfigError, match=r'pip install "ragr1-lite\[serve\]"'):
                start(Scripted())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are noted instead of waited for."""
    pauses: list[float] = []
    monkeypatch.setattr(shared.time, "sleep", pauses.append)
    return pauses


Open = Callable[..., HttpSearcher]


@pytest.fixture
def client() -> Iterator[Open]:
    opened: list[HttpSearcher] = []

    def make(url: str, **options: Any) -> HttpSearcher:
        opened.append(HttpSearcher(url, **options))
        return opened[-1]

    yield make
    for searcher in opened:
        searcher.close()


def echo(request: Asked) -> Reply:
    """Finds each query itself, ``topk`` times and once more."""
    rows = [
        [{"document": {"id": place, "contents": f'"{query}"\n{place}'}, "score": 9 - place} for place in range(k + 1)]
        for query in request.json["queries"]
        for k in [request.json["topk"]]
    ]
    return Reply({"result": rows})


def failure(make: Open, reply: Reply | Callable[[Asked], Reply], **options: Any) -> str:
    """The one sentence that an answer leads to."""
    with recorded(reply if callable(reply) else lambda _: reply) as far, pytest.raises(RetrievalIndexError) as caught:
        make(far.url, **options).search(["a", "b"], 2)
    assert f"The search server {far.url}/retrieve " in caught.value.message
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    return caught.value.message


class TestClient:
    def test_one_request_in_order_each_query_once(self, client: Open) -> None:
        with recorded(echo) as far:
            searcher = client(far.url)
            found = searcher.search(["b", "a", "", "b", " ", "ü\ud800"], 2)
            assert searcher.search([], 3) == [] and searcher.search(["a"], 0) == [()]
        assert [[(one.id, one.title, one.text, one.score) for one in row] for row in found[:2]] == [
            [("0", "b", "0", 9.0), ("1", "b", "1", 8.0)],
            [("0", "a", "0", 9.0), ("1", "a", "1", 8.0)],
        ]
        assert (found[2], found[3], found[4], found[5][0].title) == ((), found[0], (), "ü?")
        (request,) = far.asked
        assert (request.method, request.path) == ("POST", "/retrieve")
        assert request.json == {"queries": ["b", "a", "ü\ud800"], "topk": 2, "return_scores": True}

    def test_connections_are_kept(self, client: Open) -> None:
        with recorded(echo) as far:
            searcher = client(f"{far.url}/other/path")
            for _ in range(5):
                searcher.search(["a"], 1)
            searcher.close()
        assert (len(far.asked), len(far.connections), far.asked[0].path) == (5, 1, "/other/path")

    def test_this_machine_is_reached_without_a_proxy(self, client: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        with recorded(echo) as far:
            assert len(client(far.url, retries=0).search(["a"], 1)[0]) == 1

    def test_thousands_of_queries_are_cut_up(self, client: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ragr1_lite.retrieval.remote.http.QUERIES", 4)
        monkeypatch.setattr("ragr1_lite.retrieval.remote.http.PASSAGES", 30)
        with recorded(echo) as far:
            found = client(far.url).search([str(n) for n in range(10)], 3)
            client(far.url).search(["a", "b"], 100)
        assert [row[0].title for row in found] == [str(n) for n in range(10)]
        assert [len(request.json["queries"]) for request in far.asked] == [4, 4, 2, 1, 1]

    @pytest.mark.parametrize(
        "document",
        [
            {"id": 7, "contents": "Chad   Is a country."},
            {"_id": "7", "title": "Chad", "text": "Is a country.", "contents": "else"},
            {"title": "Chad", "contents": "Is a country."},
            {"id": "7", "content": '"Chad"\nIs a country.'},
            '"Chad"\nIs a country.',
        ],
    )
    @pytest.mark.parametrize("bare", [True, False])
    def test_what_other_servers_answer(self, client: Open, document: Any, bare: bool) -> None:
        reply = Reply({"result": [[document if bare else {"document": document, "score": 1}]]})
        with recorded(lambda _: reply) as far:
            [[found]] = client(far.url).search(["q"], 3)
        identifier = "" if isinstance(document, str) else str(document.get("id", ""))
        assert (found.id, found.title, found.text) == (identifier, "Chad", "Is a country.")
        assert found.score == (0.0 if bare else 1.0)

    def test_null_is_nothing_found(self, client: Open) -> None:
        with recorded(lambda _: Reply({"result": [None]})) as far:
            assert client(far.url).search(["q"], 3) == [()]

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (Reply(b"<html>hello</html>"), "not JSON"),
            (Reply(b"[" * 100_000), "not JSON"),
            (Reply([]), "0 results for 2 queries"),
            (Reply({"result": {}}), "no list `result`"),
            (Reply({"result": [[]]}), "1 results for 2 queries"),
            (Reply({"result": [[], 3]}), "not a list"),
            (Reply({"result": [[], [3]]}), "neither an object nor a text"),
            (Reply({"result": [[], [{"document": 3, "score": 1}]]}), "neither an object nor a text"),
            (Reply({"result": [[], [{"document": {"id": 1}, "score": 1}]]}), "neither `contents` nor `text`"),
            (Reply({"result": [[], [{"document": {"contents": 3}, "score": 1}]]}), "neither `contents` nor `text`"),
            (Reply({"result": [[], [{"document": {"id": [], "contents": ""}, "score": 1}]]}), "id is neither"),
            (Reply(b'{"result": [[], [{"document": {"contents": ""}, "score": NaN}]]}'), "not a number"),
            (Reply(b'{"result": [[], [{"document": {"contents": ""}, "score": 1%s}]]}' % (b"0" * 400)), "not a number"),
            (Reply({"result": [[], [{"contents": "a" * 1_000_001}]]}), "1,000,000 characters"),
            (Reply(b"x", headers={"Content-Encoding": "gzip"}), "cannot be used"),
            (Reply({"detail": "too\n\u001b[31mmany"}, 422), "refuses the request (status 422: too [31mmany)"),
            (Reply(b"", 301, {"Location": "http://elsewhere/"}), "refuses the request (status 301)"),
        ],
    )
    def test_answers_that_cannot_be_used(self, client: Open, quick: list[float], reply: Reply, reason: str) -> None:
        assert reason in failure(client, reply)
        assert quick == []

    def test_an_answer_without_end(self, client: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared, "_ANSWER_BYTES", 2**20)
        assert "larger than 1 MiB" in failure(client, Reply(b" " * (2**20 + 1)))
        assert "answer within 0.2 s" in failure(client, Reply(b" " * 2_000, drips=True), timeout=0.2, retries=0)

    def test_texts_are_made_whole(self, client: Open) -> None:
        reply = Reply(b'{"result": [[{"document": {"id": "\\ud800", "contents": "t\\ud800\\nx\\udfff"}, "score": 1}]]}')
        with recorded(lambda _: reply) as far:
            assert client(far.url).search(["q"], 1) == [(Passage("?", "t?", "x?", 1.0),)]

    @pytest.mark.parametrize("bad", [Reply(status=0), Reply({"detail": "busy"}, 503), Reply(b"", 429)])
    def test_what_passes_is_tried_again(self, client: Open, quick: list[float], bad: Reply) -> None:
        with recorded(lambda request: bad if len(far.asked) < 4 else echo(request)) as far:
            [[found]] = client(far.url, retries=3).search(["a"], 1)
        assert (found.title, len(far.asked), len(quick)) == ("a", 4, 3)
        for place, pause in enumerate(quick):
            assert 0.5 <= pause / (0.25 * 2**place) <= 1.0

    def test_a_server_may_say_how_long_to_wait(self, client: Open, quick: list[float]) -> None:
        waits = iter(["3", "9999", "Wed, 21 Oct 2026 07:28:00 GMT"])
        assert "does not answer (status 429)" in failure(
            client, lambda _: Reply(b"", 429, {"Retry-After": next(waits)}), retries=2
        )
        assert quick == [3.0, 30.0]

    def test_a_server_that_is_gone(self, client: Open, quick: list[float]) -> None:
        with recorded(echo) as far:
            searcher = client(far.url, retries=2)
            searcher.search(["a"], 1)
        with pytest.raises(RetrievalIndexError, match=r"does not answer \(.+\)\. .*ragr1-lite index serve"):
            searcher.search(["b"], 1)
        assert len(quick) == 2
        with pytest.raises(RetrievalIndexError, match="does not answer"):
            open_searcher(far.url)
        assert len(quick) == 3, "opening does not wait long"

    def test_a_server_that_is_slow(self, client: Open) -> None:
        with Hanging() as hanging:

            def slow(_: Asked) -> Reply:
                hanging()
                return Reply()

            assert "no answer within 0.2 s" in failure(client, slow, timeout=0.2, retries=0)
        began = time.monotonic()
        dripping = Reply(b" " * 2_000, drips=True)
        assert "answer within 0.2 s" in failure(client, dripping, timeout=0.2, retries=0)
        assert time.monotonic() - began < 60, "all of it takes 100 s"

    @pytest.mark.parametrize(
        "url", ["http://", "http:///retrieve", "http://host:port", "http://host:99999", "http://a b/", "http://hösť/"]
    )
    def test_what_is_no_url(self, url: str) -> None:
        with pytest.raises(ConfigError, match="is not the URL of a server"):
            open_searcher(url)

    @pytest.mark.parametrize(
        "url",
        [
            "http://me:geheim@host/retrieve",
            "opensearch://me:geheim@host/wiki",
            "https://geheim@ho st:x",
            "web+searxng://me:geheim@host",
            "web+brave://me:geheim@host",
            "ftp://me:geheim@host/wiki",
        ],
    )
    def test_passwords_are_kept_out_of_recipes_and_errors(self, url: str) -> None:
        for opened in (open_searcher, WebSearcher.open, HttpSearcher.open):
            with pytest.raises(ConfigError) as caught:
                opened(url)
            assert "geheim" not in str(caught.value)
        with pytest.raises(ConfigError, match="holds a user name or password"):
            open_searcher(url)


def test_opening_reaches_out_and_takes_any_answer() -> None:
    with recorded(lambda _: Reply(b"", 405)) as far:
        searcher = open_searcher(far.url.upper())
        assert isinstance(searcher, HttpSearcher)
        searcher.close()
    assert [(request.method, request.path) for request in far.asked] == [("GET", "/retrieve")]


@pytest.mark.parametrize("index", ["ftp://host/index", "opensearchs://host/wiki", "://", "s3://bucket"])
def test_unknown_kinds_of_url(index: str) -> None:
    with pytest.raises(ConfigError, match="No index is reached by"):
        open_searcher(index)


def test_both_ends_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client makes of the server's answers is what the searcher found."""
    passages = (
        CHAD,
        Passage("2", "", "no title", 1.25),
        Passage("3", 'q"', '"text"\n\n', 0.1 + 0.2),
        Passage("", "t", ""),
    )
    app = server.make_app(Scripted(*passages))

    def answer(request: Asked) -> Reply:
        (response,) = post(app, request.body)
        return Reply(response.content, response.status_code)

    with recorded(answer) as far:
        searcher = HttpSearcher(far.url)
        assert searcher.search(["a", "nothing"], 9) == [passages, ()]
        searcher.close()
    assert isinstance(far, Recorded)
