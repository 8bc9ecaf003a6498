"""A chat model behind an OpenAI-compatible endpoint. The only importer of openai."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from operator import add, sub
from typing import Any

from ragr1_lite.core.errors import ConfigError, ModelError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.retrieval.remote.client import is_here, one_line, split_url, whole
from ragr1_lite.versions import install_hint

_CONNECT_SECONDS = 10.0
_ANSWER_BYTES = 64 * 2**20
_TOO_LONG = re.compile(r"context.?(length|size|window)|maximum context|exceed_context", re.IGNORECASE)
_OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
_LISTED_MODELS = 5
_IS_IT = "Check that it is the URL of an OpenAI-compatible endpoint; most end in /v1."

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Connection:
    """How an endpoint is asked.

    Attributes:
        model: Its name there; by default the only one that the endpoint lists.
        concurrency: Requests under way at a time, at most.
        timeout: Seconds until an answer must be there.
        retries: How often the client sends a request again after a lost connection, a 429 or a 5xx.
        price_in: Price of a million prompt tokens.
        price_out: Price of a million completion tokens.
    """

    model: str | None = None
    concurrency: int = 8
    timeout: float = 300.0
    retries: int = 5
    price_in: float | None = None
    price_out: float | None = None

    def cost(self, usage: Usage) -> float | None:
        """What the tokens cost; None without prices."""
        if self.price_in is None and self.price_out is None:
            return None
        prompt, completion = usage.prompt_tokens * (self.price_in or 0), usage.completion_tokens * (self.price_out or 0)
        return (prompt + completion) / 1e6

    def describe(self, usage: Usage) -> str:
        """The usage in words, with its cost where prices are known."""
        tokens = f"{usage.prompt_tokens:,} tokens read and {usage.completion_tokens:,} written"
        cost = self.cost(usage)
        return f"{tokens} in {usage.requests:,} requests" + ("" if cost is None else f", which cost {cost:.4g}")


@dataclass(frozen=True, slots=True)
class Usage:
    """Requests that were answered, and their tokens as the server counts them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(add, astuple(self), astuple(other)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*map(sub, astuple(self), astuple(other)))


class Endpoint:
    """A chat model at a URL, mostly one ending in ``/v1``.

    The key is OPENAI_API_KEY's; where that is not set a placeholder is sent, since local servers need none. ``usage``
    counts all requests so far.

    Raises:
        ConfigError: The URL or the key cannot be one, or it is not clear which of several models is meant.
        ModelError: openai is not installed, or the endpoint cannot be asked for its models.
    """

    def __init__(self, url: str, connection: Connection, report: Report = ignore) -> None:
        self.url = _checked(url)
        self.connection = connection
        self.usage = Usage()
        self._report = report
        self._names = {name: name for name in ("max_tokens", "stop", "temperature", "seed")}
        self._lock = threading.Lock()
        self._client = _client(self.url, connection, report)
        self.model = connection.model or ""
        try:
            self.model = self.model or self._only_model()
        except BaseException:
            self.close()
            raise

    def complete(
        self, messages: Sequence[Message], *, stop: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> tuple[str, str]:
        """The model's next message, and the server's reason why it ended, such as ``stop`` or ``length``.

        A conversation that does not fit the model's context gets no text and the reason ``length``.

        Raises:
            ModelError: The endpoint does not answer, refuses, or its answer cannot be used.
        """
        values = {"max_tokens": max_new_tokens, "stop": list(stop), "temperature": temperature, "seed": seed}
        with self._errors_explained():
            while True:
                names = self._names
                options = {name: values[option] for option, name in names.items()}
                try:
                    answer = self._client.chat.completions.create(model=self.model, messages=list(messages), **options)
                    break
                except _openai().APIStatusError as error:
                    if error.status_code in (400, 413) and _TOO_LONG.search(str(error)):
                        return "", "length"
                    if error.status_code not in (400, 422) or not self._adapt(error, names):
                        raise
            text, reason, usage = _read(answer)
        with self._lock:
            self.usage += usage
        return text, reason

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _only_model(self) -> str:
        with self._errors_explained():
            try:
                names = [str(model.id) for model in self._client.models.list().data]
            except (AttributeError, TypeError):
                raise ValueError("it has no list of models") from None
        if len(names) == 1:
            return names[0]
        if not names:
            raise ConfigError(f"{self.url} names no model", "Name one with --teacher-model.")
        listed = [one_line(name) for name in names[:_LISTED_MODELS]] + ["…"] * (len(names) > _LISTED_MODELS)
        raise ConfigError(
            f"{self.url} has {len(names)} models", f"Choose one with --teacher-model: {', '.join(listed)}."
        )

    def _adapt(self, error: Any, names: Mapping[str, str]) -> bool:
        """Sends the option that the server refused by its other name from now on, or no more; False if it was none."""
        text = str(error)
        for option, name in names.items():
            if error.param == name or f"'{name}'" in text or f'"{name}"' in text:
                with self._lock:
                    if self._names.get(option) == name:  # no other thread was first
                        other = {option: _OTHER_NAMES[name]} if name in _OTHER_NAMES else {}
                        self._names = {key: value for key, value in self._names.items() if key != option} | other
                        if not other:
                            self._report(Notice(f"{self.model} takes no `{name}`: it is left out.", "warning"))
                return True
        return False

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        """Turns the client's errors into a ModelError: one sentence and its fix."""
        openai = _openai()
        try:
            yield
        except openai.APITimeoutError:
            problem = f"gave no answer within {self.connection.timeout:g} seconds"
            hint = "Lower --concurrency, or raise --timeout."
        except openai.APIConnectionError as error:
            problem = f"cannot be reached ({one_line(str(error.__cause__ or error))})"
            hint = "Check the URL, and that the server runs."
        except openai.APIStatusError as error:
            problem, hint = self._refusal(error.status_code, _reason(error))
        except (openai.OpenAIError, ValueError, _Unusable) as error:
            problem = f"gave an answer that cannot be used ({one_line(str(error))})"
            hint = _IS_IT
        else:
            return
        raise ModelError(f"{self.url} {problem}", hint)

    def _refusal(self, status: int, reason: str) -> tuple[str, str]:
        key = ("refuses the key", "Set OPENAI_API_KEY to a key for this endpoint.")
        missing = f"has no model {one_line(self.model)}" if self.model else "has no API"
        limited = f"still limits the rate after {self.connection.retries} retries"
        known = {
            401: key,
            403: key,
            404: (missing, "Check --teacher-model, and that the URL ends where the API begins, as in /v1."),
            429: (limited, "Lower --concurrency, or wait until its limit is over."),
        }
        other = "fails" if status >= 500 else "refuses the request"
        problem, hint = known.get(status, (other, "Follow its reason, or see the server's log."))
        return f"{problem} (status {status}{': ' if reason else ''}{reason})", hint


def _read(answer: Any) -> tuple[str, str, Usage]:
    """Text, reason of its end and usage of an answer; raises ValueError where it is not of the documented form.

    A refusal of the model's is an empty text. A thought that the server keeps apart is put back before the rest.
    """
    try:
        choice = answer.choices[0]
        message, usage = choice.message, answer.usage
        text, reason = message.content, choice.finish_reason
    except (AttributeError, IndexError, TypeError):
        raise ValueError("it has no `choices` with a `message`") from None
    text = whole(text) if isinstance(text, str) else ""
    thoughts = (getattr(message, name, None) for name in ("reasoning_content", "reasoning"))
    thought = next((one for one in thoughts if isinstance(one, str) and one.strip()), "")
    if thought and "<think>" not in text:
        text = f"<think>{whole(thought).strip()}</think>{text.lstrip()}"
    counts = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens"))
    return text, str(reason), Usage(1, *(count if isinstance(count, int) else 0 for count in counts))


def _reason(error: Any) -> str:
    """The server's reason, in one line."""
    body = error.body
    reason = body.get("message") or body.get("detail") or body.get("error") if isinstance(body, dict) else body
    text = reason if isinstance(reason, str) else "" if reason is None else str(reason)
    return "" if "<html" in text.lower() else one_line(text)


def _checked(url: str) -> str:
    try:
        split_url(url)
    except ConfigError as error:
        hint = "Write it like http://127.0.0.1:8000/v1; a key belongs in OPENAI_API_KEY."
        raise ConfigError(error.message, hint) from None
    return url.rstrip("/").removesuffix("/chat/completions")


def _client(url: str, connection: Connection, report: Report) -> Any:
    openai = _openai()
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigError("OPENAI_API_KEY holds characters that no key has", "Copy the key again.")
    address = split_url(url)
    here = is_here(address.hostname)
    if key and address.scheme == "http" and not here:
        text = f"OPENAI_API_KEY goes to {address.netloc} unencrypted, and anyone on the way can read it: use https://."
        report(Notice(text, "warning"))
    timeout = openai.Timeout(connection.timeout, connect=min(connection.timeout, _CONNECT_SECONDS))
    http = openai.DefaultHttpxClient(
        trust_env=not here,
        base_url=url,
        timeout=timeout,
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [_bounding(connection.timeout)]},
    )
    return openai.OpenAI(
        base_url=url, api_key=key or "none", timeout=timeout, max_retries=connection.retries, http_client=http
    )


class _Unusable(Exception):
    """Why an answer is not read to its end."""


def _bounding(timeout: float) -> Callable[[Any], None]:
    """What bounds an answer's size, and the time until it is there whole."""
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream, self._deadline = stream, time.monotonic() + timeout

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for part in self._stream:
                size += len(part)
                if size > _ANSWER_BYTES:
                    raise _Unusable(f"it is larger than {_ANSWER_BYTES // 2**20} MiB")
                if time.monotonic() > self._deadline:
                    raise httpx2.ReadTimeout("the answer comes in drips")
                yield part

        def close(self) -> None:
            self._stream.close()

    def bound(response: Any) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _Unusable("it is compressed, though that was not allowed")
        response.stream = Bounded(response.stream)

    return bound


def _openai() -> Any:
    try:
        import openai
    except ImportError:
        raise ModelError("Teachers behind a URL need the openai package", install_hint("teacher")) from None
    return openai
