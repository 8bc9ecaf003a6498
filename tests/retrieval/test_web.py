"""Web searches by the providers' documented APIs: what is asked, and what is made of the answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ragr1_lite.core.errors import ConfigError, RetrievalIndexError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.remote import client, web
from ragr1_lite.retrieval.remote.web import PROVIDERS, WebSearcher
from ragr1_lite.retrieval.searchers import open_searcher
from tests.support.hanging import Hanging
from tests.support.recorded import Asked, Recorded, Reply, recorded

KEYS = {"BRAVE_API_KEY": "b-geheim", "SERPER_API_KEY": "s-geheim"}
BRAVE = {
    "type": "search",
    "query": {"original": "q", "more_results_available": True},
    "web": {
        "type": "search",
        "results": [
            {
                "title": "Chad &amp; its lake",
                "url": "https://example.org/chad?a=1&b=2",
                "description": "<strong>Chad</strong> is a\ncountry; 2 < 3 &#x27;so&#x27;",
                "language": "en",
            },
            {"title": "Niger", "url": "https://example.org/niger"},
        ],
    },
}
SERPER = {
    "searchParameters": {"q": "q", "num": 2, "type": "search", "engine": "google"},
    "knowledgeGraph": {"title": "Chad", "type": "Country"},
    "organic": [
        {
            "title": "Chad & its lake",
            "link": "https://example.org/chad?a=1&b=2",
            "snippet": "Chad is a country; 2 < 3 'so'",
        },
        {"title": "Niger", "link": "https://example.org/niger", "position": 2},
    ],
}
SEARXNG = {
    "query": "q",
    "number_of_results": 2,
    "results": [
        {
            "title": "Chad & its lake",
            "url": "https://example.org/chad?a=1&b=2",
            "content": "Chad is a country; 2 < 3 'so'",
            "engines": ["a", "b"],
            "score": 4.0,
        },
        {"title": "Niger", "url": "https://example.org/niger", "content": None},
    ],
    "answers": [],
    "unresponsive_engines": [],
}
ANSWERS = {"brave": BRAVE, "serper": SERPER, "searxng": SEARXNG}
FOUND = (
    Passage("https://example.org/chad?a=1&b=2", "Chad & its lake", "Chad is a country; 2 < 3 'so'", 1.0),
    Passage("https://example.org/niger", "Niger", "", 0.5),
)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Keys are set; pauses are noted instead of waited for."""
    for variable, key in KEYS.items():
        monkeypatch.setenv(variable, key)
    noted: list[float] = []
    monkeypatch.setattr(client.time, "sleep", noted.append)
    return noted


def search(
    name: str, answer: Callable[[Asked], Reply], *queries: str, k: int = 3, **options: Any
) -> tuple[Any, Recorded]:
    with recorded(answer) as far, closing(WebSearcher(PROVIDERS[name], endpoint=f"{far.url}/search", **options)) as web:
        return web.search(queries, k), far


def asked(request: Asked) -> dict[str, Any]:
    """What was asked, by parameters or by a body."""
    if request.body:
        assert request.method == "POST"
        return dict(request.json)
    assert request.method == "GET"
    return {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}


@pytest.mark.parametrize("name", PROVIDERS)
def test_what_a_provider_finds(name: str) -> None:
    found, far = search(name, lambda _: Reply(ANSWERS[name]), "lake  Chad & ü")
    assert found == [FOUND]
    (request,) = far.asked
    assert urlsplit(request.path).path == "/search"
    wanted = {
        "brave": {"q": "lake Chad & ü", "count": "3"},
        "serper": {"q": "lake Chad & ü", "num": 3},
        "searxng": {"q": "lake Chad & ü", "format": "json"},
    }
    assert asked(request) == wanted[name]
    keys = {"brave": ("x-subscription-token", "b-geheim"), "serper": ("x-api-key", "s-geheim")}
    if name in keys:
        header, key = keys[name]
        assert request.headers[header] == key
    assert all(key not in request.path for key in KEYS.values())


@pytest.mark.parametrize("name", PROVIDERS)
def test_k_bounds_what_is_asked_and_what_is_kept(name: str) -> None:
    found, far = search(name, lambda _: Reply(ANSWERS[name]), "a", k=1)
    assert found == [FOUND[:1]]
    _, far = search(name, lambda _: Reply(ANSWERS[name]), "a", k=1000)
    assert str(asked(far.asked[0]).get(PROVIDERS[name].count, 20)) in ("20", "100")


def test_a_turn_is_asked_side_by_side_and_in_order() -> None:
    together = threading.Barrier(4, timeout=60)

    def answer(request: Asked) -> Reply:
        together.wait()
        title = asked(request)["q"]
        return Reply({"results": [{"title": title, "url": f"https://{title}", "content": "…"}]})

    queries = ["d", "a", "", "b", "a", "c", " "]
    found, far = search("searxng", answer, *queries)
    assert [row[0].title if row else "" for row in found] == ["d", "a", "", "b", "a", "c", ""]
    assert len(far.asked) == 4


def test_long_queries_are_cut_to_what_providers_take() -> None:
    _, far = search("brave", lambda _: Reply(BRAVE), "word " * 60, "x" * 900)
    assert sorted(len(asked(request)["q"]) for request in far.asked) == [249, 400]


@pytest.mark.parametrize("answer", [{}, {"web": {}}, {"web": {"results": []}}])
def test_nothing_found(answer: Any) -> None:
    found, _ = search("brave", lambda _: Reply(answer), "a")
    assert found == [()]


@pytest.mark.parametrize(
    "answer",
    [[], {"web": []}, {"web": {"results": {"a": 1}}}, {"web": {"results": [[]]}}, {"web": {"results": [{"url": 3}]}}],
)
def test_nonsense(answer: Any) -> None:
    with pytest.raises(RetrievalIndexError, match="Brave Search .* not of the documented form"):
        search("brave", lambda _: Reply(answer), "a")


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("brave", 422, "BRAVE_API_KEY"),
        ("serper", 403, "SERPER_API_KEY"),
        ("searxng", 403, "Allow the format json"),
    ],
)
def test_what_is_refused(pauses: list[float], name: str, status: int, says: str) -> None:
    with pytest.raises(RetrievalIndexError, match=rf"refuses the request \(status {status}: no\)") as caught:
        search(name, lambda _: Reply({"message": "no"}, status), "a")
    assert says in caught.value.hint and "geheim" not in str(caught.value)
    assert pauses == []


def test_a_rate_limit_is_waited_for(pauses: list[float]) -> None:
    with (
        recorded(lambda _: Reply(b"", 429, {"Retry-After": "1"}) if len(far.asked) < 3 else Reply(BRAVE)) as far,
        closing(WebSearcher(PROVIDERS["brave"], endpoint=far.url)) as web,
    ):
        assert web.search(["a"], 3) == [FOUND]
    assert (len(far.asked), pauses) == (3, [1.0, 1.0])


def test_one_failure_ends_the_call_at_once() -> None:
    hanging = Hanging()

    def answer(request: Asked) -> Reply:
        if asked(request)["q"] == "bad":
            return Reply({"detail": "no"}, 400)
        hanging()
        return Reply(SEARXNG)

    with (
        recorded(answer) as far,
        closing(WebSearcher(PROVIDERS["searxng"], endpoint=far.url)) as web,
        hanging,
        pytest.raises(RetrievalIndexError, match="status 400: no"),
    ):
        web.search(["a", "b", "bad"], 1)


def test_a_call_ends_in_time() -> None:
    hanging = Hanging()

    def answer(request: Asked) -> Reply:
        if asked(request)["q"] != "quick":
            hanging()
        return Reply(SEARXNG)

    with (
        recorded(answer) as far,
        closing(WebSearcher(PROVIDERS["searxng"], endpoint=far.url, patience=0.5)) as web,
        hanging,
        pytest.raises(RetrievalIndexError, match="[23] of 3 searches by SearXNG had no answer after 0.5 seconds"),
    ):
        web.search(["a", "quick", "b"], 1)


class TestOpening:
    def test_it_is_said_that_searches_leave(self) -> None:
        for url, name, endpoint in [
            ("web+brave://", "Brave Search", "https://api.search.brave.com/res/v1/web/search"),
            ("WEB+serper://", "Serper", "https://google.serper.dev/search"),
            ("web+searxng://search.example.org/x/", "SearXNG", "https://search.example.org/x/search"),
            ("web+searxng+http://localhost:8080", "SearXNG", "http://localhost:8080/search"),
        ]:
            events: list[object] = []
            searcher = open_searcher(url, events.append)
            assert isinstance(searcher, WebSearcher)
            searcher.close()
            assert (searcher.provider.name, searcher.endpoint) == (name, endpoint)
            (notice,) = events
            assert isinstance(notice, Notice)
            assert (
                notice.text
                == f"Searches go to {name} ({urlsplit(endpoint).netloc}): what is asked leaves this machine."
            )

    @pytest.mark.parametrize(
        "url",
        ["web+brave://host", "web+searxng://", "web+bing://", "web+://", "web+searxng+ftp://host"],
    )
    def test_what_is_no_web_search(self, url: str) -> None:
        with pytest.raises(ConfigError, match=re.escape("Write web+brave://, web+serper:// or web+searxng://HOST.")):
            open_searcher(url)

    @pytest.mark.parametrize("name", ["brave", "serper"])
    def test_without_a_key(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        variable = PROVIDERS[name].variable
        for value, says in (
            (None, "is not set"),
            ("  ", "is not set"),
            ("gehe\nim", "no key has"),
            ("é", "no key has"),
        ):
            if value is None:
                monkeypatch.delenv(variable)
            else:
                monkeypatch.setenv(variable, value)
            with pytest.raises(ConfigError, match=f"{variable}.*{says}") as caught:
                open_searcher(f"web+{name}://")
            assert "gehe" not in str(caught.value)

    def test_every_provider_is_asked_over_tls(self) -> None:
        assert all(provider.endpoint.startswith("https://") for provider in PROVIDERS.values() if provider.endpoint)
        assert web.WORKERS <= 8
