"""What searchers in the network share: a client for JSON, retries, errors, and how passages are read.

What a server sends is not trusted: it is parsed as JSON and nothing else, its size is bounded, its shape is checked.
"""

from __future__ import annotations

import json
import random
import ssl
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from ragr1_lite.core.errors import ConfigError, RetrievalIndexError
from ragr1_lite.core.types import Passage
from ragr1_lite.core.urls import refuse_password
from ragr1_lite.files.json_lines import json_of
from ragr1_lite.retrieval.titles import split_contents

_ANSWER_BYTES = 256 * 2**20
_TEXT_CHARACTERS = 10**6
_LARGEST_SCORE = 1e30
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_ASKED_PAUSE = 0.25, 8.0, 30.0

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Temporary(Exception):
    """Why a request failed that may succeed when it is sent again.

    ``reason`` can stand in parentheses; ``after``: seconds the server asked to wait.
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Server:
    """A server to be asked: temporary failures are retried, lasting ones become errors that name it.

    Args:
        name: The server, as the beginning of a sentence.
        hint: How to fix that it is gone or refuses.
        retries: How often a request is sent again.
    """

    def __init__(self, name: str, hint: str, retries: int) -> None:
        self._name, self._hint, self._retries = name, hint, retries

    def retried(self, call: Callable[[], T], retries: int | None = None) -> T:
        """Calls until it does not raise :class:`Temporary`; pauses double, shortened at random by up to a half.

        Raises:
            RetrievalIndexError: It was the last of ``retries`` further calls, by default the server's.
        """
        retries = self._retries if retries is None else retries
        for attempt in range(retries + 1):
            try:
                return call()
            except Temporary as failure:
                if attempt == retries:
                    raise self.gone(str(failure)) from None
                pause = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)
                time.sleep(pause if failure.after is None else max(pause, min(failure.after, _LONGEST_ASKED_PAUSE)))
        raise AssertionError("unreachable")

    def gone(self, reason: str) -> RetrievalIndexError:
        """The error of a server that does not answer."""
        return RetrievalIndexError(f"{self._name} does not answer ({reason})", self._hint)

    def refused(self, reason: str) -> RetrievalIndexError:
        """The error of a request that the server does not take."""
        return RetrievalIndexError(f"{self._name} refuses the request ({reason})", self._hint)

    def unusable(self, reason: str) -> RetrievalIndexError:
        """The error of an answer that cannot be used."""
        return RetrievalIndexError(
            f"{self._name} gave an answer that cannot be used: {reason}",
            "Check that the URL is that of a search server.",
        )


class JsonClient(Server):
    """Exchanges JSON with one server: connections are kept, time and size are bounded.

    A server on this machine is reached without a proxy. ``timeout``: seconds until an answer must be there whole.
    """

    def __init__(
        self, name: str, url: str, hint: str, *, timeout: float, retries: int, headers: Mapping[str, str] | None = None
    ) -> None:
        import httpx

        super().__init__(name, hint, retries)
        self._url, self._timeout = url, timeout
        self._http = httpx.Client(
            verify=trusted(),
            trust_env=not is_here(split_url(url).hostname),
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            headers={"Accept": "application/json", **(headers or {})},
        )

    def ask(
        self,
        method: str,
        path: str = "",
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        lines: bytes | None = None,
    ) -> Any:
        """Sends ``body`` as JSON, or ``lines`` of it, and returns the answer's; ``path`` is added to the URL.

        Raises:
            RetrievalIndexError: No usable answer comes.
        """
        options: dict[str, Any] = {"params": params}
        if lines is not None:
            options |= {"content": lines, "headers": {"Content-Type": "application/x-ndjson"}}
        elif body is not None:
            options |= {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
        status, content = self.send(method, path, **options)
        if not 200 <= status < 300:
            raise self.refusal(status, content)
        try:
            return json_of(content)
        except ValueError:
            raise self.unusable("it is not JSON") from None

    def reach(self) -> None:
        """Makes sure that something answers, whatever its status; raises RetrievalIndexError where nothing does."""
        self.send("GET", retries=min(1, self._retries), any_status=True)

    def send(
        self, method: str, path: str = "", *, retries: int | None = None, any_status: bool = False, **options: Any
    ) -> tuple[int, bytes]:
        """Sends a request with httpx' ``options``; returns status and content.

        A status that may pass is tried again unless ``any_status`` is taken. Raises RetrievalIndexError where no whole
        answer comes.
        """
        return self.retried(lambda: self._send(method, self._url + path, options, any_status), retries)

    def refusal(self, status: int, content: bytes) -> RetrievalIndexError:
        """The error of an answer with a status that is not a success."""
        return self.refused(_reason(status, content))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _send(self, method: str, url: str, options: dict[str, Any], any_status: bool) -> tuple[int, bytes]:
        import httpx

        deadline = time.monotonic() + self._timeout
        content = bytearray()
        try:
            with self._http.stream(method, url, **options) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > _ANSWER_BYTES:
                        raise self.unusable(f"it is larger than {_ANSWER_BYTES // 2**20} MiB")
                    if time.monotonic() > deadline:
                        raise Temporary(f"no whole answer within {self._timeout:g} s")
        except httpx.TimeoutException:
            raise Temporary(f"no answer within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            reason = one_line(str(error)) or type(error).__name__
            raise (Temporary if isinstance(error, httpx.TransportError) else self.unusable)(reason) from None
        status = response.status_code
        if (status == 429 or status >= 500) and not any_status:
            raise Temporary(_reason(status, content), _seconds(response.headers.get("Retry-After")))
        return status, bytes(content)


class RemoteSearcher(ABC):
    """Searches over the network; a :class:`ragr1_lite.core.types.Searcher`."""

    _client: Any

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        """Answers all queries; equal ones are asked once, blank ones find nothing and are not asked.

        Raises:
            RetrievalIndexError: The server is gone or refuses, or its answer is of no known form.
        """
        distinct = [query for query in dict.fromkeys(queries) if query.strip()] if k > 0 else []
        step, found = self._most_queries(k), dict[str, tuple[Passage, ...]]()
        for start in range(0, len(distinct), step):
            part = distinct[start : start + step]
            found |= zip(part, self._ask(part, k), strict=True)
        return [found.get(query, ()) for query in queries]

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    @abstractmethod
    def _ask(self, queries: list[str], k: int) -> list[tuple[Passage, ...]]:
        """Asks different queries together; one tuple per query, in order."""

    def _most_queries(self, k: int) -> int:
        """How many queries are asked together."""
        return sys.maxsize


def side_by_side(
    call: Callable[[Item], Result], items: Sequence[Item], at_once: int, patience: float | None = None
) -> list[Result]:
    """Calls for each item, at most ``at_once`` at a time, and returns the results in order or raises a call's error.

    Raises TimeoutError, "2 of 3", where so many results were not there after ``patience`` seconds. The threads are
    daemons, unlike a pool's: an interrupted program need not wait for requests under way.
    """
    results: list[Future[Result]] = [Future() for _ in items]
    waiting = deque(zip(results, items, strict=True))

    def work() -> None:
        with suppress(IndexError):
            while True:
                result, item = waiting.popleft()
                try:
                    result.set_result(call(item))
                except Exception as error:
                    result.set_exception(error)

    for _ in range(min(at_once, len(items))):
        threading.Thread(target=work, daemon=True).start()
    try:
        done, late = wait(results, patience, FIRST_EXCEPTION)
        for result in done:
            result.result()  # raises the call's error, if there was one
        if late:
            raise TimeoutError(f"{len(late)} of {len(items)}")
        return [result.result() for result in results]
    finally:
        waiting.clear()


def split_url(url: str) -> SplitResult:
    """Splits a server's URL; raises ConfigError where it has no host, a wrong port, a password or odd characters."""
    refuse_password(url)
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{url!r} is not the URL of a server", "Write it like http://127.0.0.1:8000/retrieve.")
    return parts


def is_here(host: str | None) -> bool:
    """Whether a host's name is this machine's own."""
    return host in ("localhost", "127.0.0.1", "::1")


@cache
def trusted() -> ssl.SSLContext:
    """Verifies servers by certifi's certificates, or those of ``SSL_CERT_FILE``; made once, as that takes a while."""
    import httpx

    return httpx.create_ssl_context()


def read_document(document: Any, identifier: Any, score: Any) -> Passage:
    """Reads ``title`` and ``text``, or both from ``contents``; raises ValueError for a wrong kind or size.

    ``content`` is ``contents`` as well, and so is a document that is a text alone, as a reranking server of Search-R1
    sends it. Our own servers add the ``place`` and a row's ``file``; anything but a text there is none.
    """
    if isinstance(document, str):
        document = {"contents": document}
    if not isinstance(document, dict):
        raise ValueError("a document is neither an object nor a text")
    if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) < _LARGEST_SCORE:
        raise ValueError("a score is not a number")
    title, text = document.get("title") or "", document.get("text")
    if text is None:
        text = document.get("contents", document.get("content"))
        if isinstance(text, str) and isinstance(title, str):
            title, text = split_contents(text, title)
    if not isinstance(title, str) or not isinstance(text, str):
        raise ValueError("a document has neither `contents` nor `text`")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise ValueError("a document's id is neither text nor a whole number")
    if len(title) + len(text) > _TEXT_CHARACTERS:
        raise ValueError(f"a document has more than {_TEXT_CHARACTERS:,} characters")
    place, file = (
        whole(value) if isinstance(value := document.get(name), str) and len(value) <= _TEXT_CHARACTERS else ""
        for name in ("place", "file")
    )
    return Passage(whole(str(identifier)), whole(title), whole(text), float(score), place, file=file)


def whole(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can bring in and no tokenizer takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def one_line(text: str, most: int = 200) -> str:
    """The beginning of a foreign text, without anything that a terminal would act on."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[:most]}…"


def _reason(status: int, content: bytes | bytearray) -> str:
    """A status, with the reason that the server gave."""
    text = content[:4096].decode("utf-8", "replace")
    try:
        reason = json_of(bytes(content)) if len(content) <= 65_536 else text
    except ValueError:
        reason = "" if "<html" in text.lower() else text
    while isinstance(reason, dict):
        reason = next((reason[key] for key in ("detail", "error", "message", "reason") if reason.get(key)), "")
    reason = one_line(reason if isinstance(reason, str) else json.dumps(reason))
    return f"status {status}: {reason}" if reason else f"status {status}"


def _seconds(header: str | None) -> float | None:
    """The seconds of a Retry-After header; ``None`` for anything else."""
    return float(header) if header is not None and header.isdecimal() and len(header) < 6 else None
