"""Searching the web through a provider's JSON API: off unless an index is named by one of these URLs.

    web+brave://                      Brave Search; BRAVE_API_KEY
    web+serper://                     Google, by Serper; SERPER_API_KEY
    web+searxng://search.example.org  a SearXNG instance, by HTTPS; web+searxng+http://localhost:8080 without

What the model asks leaves this machine, and a notice says so. A passage is a result's snippet; its id is the address.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from ragr1_lite.core.errors import ConfigError, RetrievalIndexError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.types import Passage
from ragr1_lite.core.urls import redacted
from ragr1_lite.retrieval.remote.client import JsonClient, RemoteSearcher, side_by_side, split_url, whole

WORKERS = 8
"""Requests in flight at a time."""
_QUERY_WORDS, _QUERY_CHARACTERS = 50, 400
_SNIPPET_CHARACTERS = 10_000
_MARKS = re.compile(r"</?(?:strong|em|b)>")


@dataclass(frozen=True, slots=True)
class Provider:
    """How a search API is asked and where its answer holds what.

    Attributes:
        name: In messages.
        endpoint: Its URL; empty where the index's URL names the host.
        method: GET with parameters, or POST with a JSON body; ``q`` is the query.
        count: The parameter of the number of results; empty where there is none.
        most: The most results it gives at once.
        results: The keys that lead to the list of results.
        address: The key of a result's address.
        snippet: The key of a result's text.
        variable: The environment variable of its key; empty where it needs none.
        header: The header that carries the key.
        fixed: Further parameters.
    """

    name: str
    endpoint: str
    method: Literal["GET", "POST"]
    count: str
    most: int
    results: tuple[str, ...]
    address: str
    snippet: str
    variable: str = ""
    header: str = ""
    fixed: tuple[tuple[str, str], ...] = ()


PROVIDERS = {
    "brave": Provider(
        "Brave Search",
        "https://api.search.brave.com/res/v1/web/search",
        "GET",
        count="count",
        most=20,
        results=("web", "results"),
        address="url",
        snippet="description",
        variable="BRAVE_API_KEY",
        header="X-Subscription-Token",
    ),
    "serper": Provider(
        "Serper",
        "https://google.serper.dev/search",
        "POST",
        count="num",
        most=100,
        results=("organic",),
        address="link",
        snippet="snippet",
        variable="SERPER_API_KEY",
        header="X-API-KEY",
    ),
    "searxng": Provider(
        "SearXNG",
        "",
        "GET",
        count="",
        most=20,
        results=("results",),
        address="url",
        snippet="content",
        fixed=(("format", "json"),),
    ),
}


class WebSearcher(RemoteSearcher):
    """Searches the web; a turn's queries are sent in parallel.

    A passage's score is one over its place: providers rank, but do not score.

    ``timeout``: seconds until one answer must be there; ``patience``: seconds until all answers of a call must be
    there.

    Raises:
        ConfigError: The environment holds no key for the provider.
    """

    def __init__(
        self, provider: Provider, *, endpoint: str = "", timeout: float = 10.0, patience: float = 60.0, retries: int = 2
    ) -> None:
        self.provider, self._patience = provider, patience
        self.endpoint = endpoint or provider.endpoint
        key = provider.variable
        hint = f"Check {key} and your plan." if key else "Allow the format json in its settings."
        self._client = JsonClient(
            f"{provider.name} ({split_url(self.endpoint).netloc})",
            self.endpoint,
            hint,
            timeout=timeout,
            retries=retries,
            headers={provider.header: _key(provider)} if key else {},
        )

    @classmethod
    def open(cls, url: str, report: Report = ignore) -> WebSearcher:
        """Chooses the provider by the URL and says that searches leave this machine.

        Raises:
            ConfigError: There is no such provider, or no key for it in the environment.
        """
        scheme, _, host = url.rstrip("/").partition("://")
        name, _, plain = scheme.lower().rstrip(":").removeprefix("web+").partition("+")
        provider = PROVIDERS.get(name)
        if provider is None or plain not in ("", "http") or bool(provider.endpoint) == bool(host):
            raise ConfigError(
                f"{redacted(url)!r} names no web search", "Write web+brave://, web+serper:// or web+searxng://HOST."
            )
        endpoint = provider.endpoint or f"{plain or 'https'}://{host}/search"
        searcher, place = cls(provider, endpoint=endpoint), split_url(endpoint).netloc
        report(Notice(f"Searches go to {provider.name} ({place}): what is asked leaves this machine."))
        return searcher

    def _ask(self, queries: list[str], k: int) -> list[tuple[Passage, ...]]:
        try:
            return side_by_side(partial(self._ask_one, k=k), queries, WORKERS, self._patience)
        except TimeoutError as error:
            raise RetrievalIndexError(
                f"{error} searches by {self.provider.name} had no answer after {self._patience:g} seconds",
                "Ask fewer questions at a time, or raise your plan's rate.",
            ) from None

    def _ask_one(self, query: str, k: int) -> tuple[Passage, ...]:
        provider = self.provider
        short = " ".join(whole(query).split()[:_QUERY_WORDS])[:_QUERY_CHARACTERS]
        asked: dict[str, Any] = {"q": short, **dict(provider.fixed)}
        if provider.count:
            asked[provider.count] = min(k, provider.most)
        if provider.method == "GET":
            answer = self._client.ask("GET", params={key: str(value) for key, value in asked.items()})
        else:
            answer = self._client.ask("POST", body=asked)
        try:
            return tuple(_read_results(answer, provider))[:k]
        except (ValueError, TypeError, AttributeError):
            raise self._client.unusable("its results are not of the documented form") from None


def _key(provider: Provider) -> str:
    key = os.environ.get(provider.variable, "").strip()
    if not key:
        raise ConfigError(
            f"Searching with {provider.name} needs a key, and {provider.variable} is not set",
            f"Get a key from the provider and set {provider.variable} in the environment.",
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"{provider.variable} holds characters that no key has", "Copy the key again.")
    return key


def _read_results(answer: Any, provider: Provider) -> Iterator[Passage]:
    """An answer's passages, none where it has no list; ValueError, TypeError, AttributeError: it is of another form."""
    for key in provider.results:
        answer = answer.get(key, {})
    for place, row in enumerate(answer, start=1):
        address, title, text = (row.get(key) or "" for key in (provider.address, "title", provider.snippet))
        yield Passage(_plain(address), _plain(title), _plain(text), 1.0 / place)


def _plain(text: str) -> str:
    """A snippet without marks and entities, on one line; raises TypeError where it is no text."""
    return whole(" ".join(html.unescape(_MARKS.sub("", text)).split())[:_SNIPPET_CHARACTERS])
