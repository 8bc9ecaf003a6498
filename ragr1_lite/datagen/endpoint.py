"""A chat model behind an OpenAI-compatible endpoint: asked, counted, its failures told. The only importer of openai."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ragr1_lite.core.errors import ConfigError, ModelError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.retrieval.remote.client import is_here, one_line, split_url, whole

_CONNECT_SECONDS = 10.0
_TOO_LONG = re.compile(r"context.?(length|size|window)|maximum context|exceed_context", re.IGNORECASE)
_OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
_MOST_NAMED = 5

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Connection:
    """How an endpoint is asked.

    Attributes:
        model: Its name there; by default the only one that the endpoint lists.
        concurrency: Requests under way at a time, at most.
        timeout: Seconds until an answer must be there.
        retries: How often a request is sent again after a lost connection, a 429 or a 5xx. Pauses grow, unless the
            server says how long to wait.
        price_in: Price of a million tokens read.
        price_out: Price of a million tokens written.
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
        read, written = usage.prompt_tokens * (self.price_in or 0.0), usage.completion_tokens * (self.price_out or 0.0)
        return (read + written) / 1e6


@dataclass(frozen=True, slots=True)
class Usage:
    """Requests that were answered, and the tokens they cost as the server counts them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.requests - other.requests,
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
        )


class Endpoint:
    """A chat model at a URL.

    The key is OPENAI_API_KEY's; where that is not set a placeholder is sent, since local servers ask for none.

    Args:
        url: Where ``/chat/completions`` is, mostly ending in ``/v1``.
        connection: How it is asked.
        report: Receives notices.

    Attributes:
        url: Where it is.
        model: Its name there.
        usage: What its requests have cost so far.

    Raises:
        ConfigError: The URL is none, the key cannot be one, or it is not said which of several models is meant.
        ModelError: openai is not installed, or the endpoint cannot be asked for its models.
    """

    def __init__(self, url: str, connection: Connection, report: Report = ignore) -> None:
        self.url = _checked(url)
        self.connection = connection
        self.usage = Usage()
        self._report = report
        self._refused: set[str] = set()
        self._lock = threading.Lock()
        self._client = _client(self.url, connection)
        self.model = connection.model or ""
        try:
            self.model = self.model or self._only_model()
        except BaseException:
            self.close()
            raise

    def complete(
        self, messages: Sequence[Message], *, stop: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> tuple[str, str]:
        """What the model says next, and the server's reason why it ended, such as ``stop`` or ``length``.

        A conversation that does not fit the model's context gets no text and the reason ``length``.

        Raises:
            ModelError: The endpoint does not answer, refuses, or answers nonsense.
        """
        wanted = {"max_tokens": max_new_tokens, "stop": list(stop), "temperature": temperature, "seed": seed}
        options = self._without_refused(wanted)
        with self._telling():
            while True:
                try:
                    answer = self._client.chat.completions.create(model=self.model, messages=list(messages), **options)
                    break
                except _errors().APIStatusError as error:
                    if error.status_code in (400, 413) and _TOO_LONG.search(str(error)):
                        return "", "length"
                    if error.status_code not in (400, 422) or not self._leave_out(error, options):
                        raise
                    options = self._without_refused(wanted)
            text, reason, usage = _read(answer)
        with self._lock:
            self.usage += usage
        return text, reason

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _only_model(self) -> str:
        with self._telling():
            try:
                names = [str(model.id) for model in self._client.models.list().data]
            except (AttributeError, TypeError):
                raise ValueError("it has no list of models") from None
        if len(names) == 1:
            return names[0]
        listed = ", ".join(one_line(name) for name in names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
        raise ConfigError(
            f"{self.url} has {len(names)} models" if names else f"{self.url} names no model",
            f"Choose one with --teacher-model: {listed}." if names else "Name one with --teacher-model.",
        )

    def _without_refused(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """The options that the server takes, under the names it takes."""
        options = {
            _OTHER_NAMES[name] if name in self._refused and name in _OTHER_NAMES else name: value
            for name, value in wanted.items()
        }
        return {name: value for name, value in options.items() if name not in self._refused}

    def _leave_out(self, error: Any, options: dict[str, Any]) -> bool:
        """Whether the server refused one of the options, which is then sent no more."""
        text = str(error)
        for name in options:
            if error.param == name or f"'{name}'" in text or f'"{name}"' in text:
                with self._lock:
                    if name not in self._refused and name not in _OTHER_NAMES:
                        self._report(Notice(f"{self.model} takes no `{name}`: it is left out.", "warning"))
                    self._refused.add(name)
                return True
        return False

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turns what the client raises into one sentence and its mend.

        Raises:
            ModelError: Always where something was raised.
        """
        errors = _errors()
        try:
            yield
        except errors.APITimeoutError:
            raise ModelError(
                f"{self.url} gave no answer within {self.connection.timeout:g} seconds",
                "Lower --concurrency, or raise --timeout.",
            ) from None
        except errors.APIConnectionError as error:
            reason = one_line(str(error.__cause__ or error))
            raise ModelError(
                f"{self.url} cannot be reached ({reason})", "Check the URL, and that the server runs."
            ) from None
        except errors.APIStatusError as error:
            raise self._refusal(error.status_code, _reason(error)) from None
        except (errors.OpenAIError, ValueError) as error:
            raise ModelError(
                f"{self.url} gave an answer that cannot be used ({one_line(str(error))})",
                "Check that it is the URL of an OpenAI-compatible endpoint; most end in /v1.",
            ) from None

    def _refusal(self, status: int, reason: str) -> ModelError:
        told = f"(status {status}{': ' if reason else ''}{reason})"
        if status in (401, 403):
            return ModelError(f"{self.url} refuses the key {told}", "Set OPENAI_API_KEY to one that it takes.")
        if status == 404:
            what = f"no model {one_line(self.model)} at {self.url}" if self.model else f"nothing at {self.url}"
            return ModelError(
                f"There is {what} {told}",
                "Check --teacher-model, and that the URL ends where the API begins, as in /v1.",
            )
        if status == 429:
            return ModelError(
                f"{self.url} still has no room after {self.connection.retries} retries {told}",
                "Lower --concurrency, or wait until its limit is over.",
            )
        if status >= 500:
            return ModelError(f"{self.url} fails {told}", "See the server's log.")
        return ModelError(f"{self.url} refuses the request {told}", "See what it says, and the server's log.")


def _read(answer: Any) -> tuple[str, str, Usage]:
    """Text, reason of its end and usage of an answer; what a model refuses to say is an empty text.

    A thought that the server keeps apart is put back before the rest.

    Raises:
        ValueError: The answer is not of the documented form.
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
    read, written = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens"))
    return text, str(reason), Usage(1, *(count if isinstance(count, int) else 0 for count in (read, written)))


def _reason(error: Any) -> str:
    """What the server said, in one line."""
    body = error.body
    told = body.get("message") or body.get("detail") or body.get("error") if isinstance(body, dict) else body
    text = told if isinstance(told, str) else "" if told is None else str(told)
    return "" if "<html" in text.lower() else one_line(text)


def _checked(url: str) -> str:
    """The endpoint's URL, without a slash at its end.

    Raises:
        ConfigError: It is no URL, or holds a password.
    """
    try:
        split_url(url)
    except ConfigError as error:
        hint = "Write it like http://127.0.0.1:8000/v1; a key belongs in OPENAI_API_KEY."
        raise ConfigError(error.message, hint) from None
    return url.rstrip("/").removesuffix("/chat/completions")


def _client(url: str, connection: Connection) -> Any:
    openai = _errors()
    key = os.environ.get("OPENAI_API_KEY", "").strip() or "none"
    if not key.isascii() or not key.isprintable():
        raise ConfigError("OPENAI_API_KEY holds characters that no key has", "Copy the key again.")
    timeout = openai.Timeout(connection.timeout, connect=min(connection.timeout, _CONNECT_SECONDS))
    return openai.OpenAI(
        base_url=url,
        api_key=key,
        timeout=timeout,
        max_retries=connection.retries,
        http_client=openai.DefaultHttpxClient(
            trust_env=not is_here(split_url(url).hostname), base_url=url, timeout=timeout
        ),
    )


def _errors() -> Any:
    """The openai package.

    Raises:
        ModelError: It is not installed.
    """
    try:
        import openai
    except ImportError:
        raise ModelError(
            "Teachers behind a URL need the openai package", "Install it: pip install 'ragr1-lite[teacher]'."
        ) from None
    return openai
