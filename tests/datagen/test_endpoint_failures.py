"""Endpoints that fail: what passes is asked again, the rest is one sentence and its fix."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import closing
from typing import Any

import pytest

from ragr1_lite.core.errors import ConfigError, ModelError
from ragr1_lite.datagen.endpoint import Connection, Endpoint
from tests.datagen.test_endpoint import roll, say_once, serving, serving_raw
from tests.support.chatting import chat, refusal, said_so
from tests.support.hanging import Hanging
from tests.support.recorded import Reply, recorded

AT_ONCE: dict[str, str] = {"retry_after_ms": "1"}


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_a_rate_limit_and_a_failure_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [
        refusal(429, "slow down", retry_after="0.3"),
        refusal(500, "oops", **AT_ONCE),
        Reply(status=0),
        said_so("at last"),
    ]
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with serving(lambda body: replies.pop(0), retries=3) as (endpoint, server, _):
        assert say_once(endpoint).text == "at last"
        assert pauses[0] == 0.3 and len(pauses) == 3
        assert len(server.asked) == 4 and endpoint.usage.requests == 1


@pytest.mark.parametrize(
    ("reply", "message", "hint"),
    [
        (refusal(401, "Bad key sk-1"), "refuses the key (status 401: Bad key sk-1)", "OPENAI_API_KEY"),
        (refusal(403, "No"), "refuses the key (status 403: No)", "OPENAI_API_KEY"),
        (
            refusal(404, "The model `tiny` does not exist"),
            " has no model tiny (status 404: The model `tiny` does not exist)",
            "--teacher-model",
        ),
        (
            refusal(429, "Quota", **AT_ONCE),
            "still limits the rate after 2 retries (status 429: Quota)",
            "--concurrency",
        ),
        (refusal(503, "Busy", **AT_ONCE), "fails (status 503: Busy)", "log"),
        (refusal(400, "No\nroles"), "refuses the request (status 400: No roles)", "log"),
        (Reply(b"<html>gone</html>", 502, {"Retry-After-Ms": "1"}), "fails (status 502)", "log"),
        (Reply(b"<html>", 200, {"Content-Type": "text/html"}), "it has no `choices`", "/v1"),
        (Reply({"ok": True}), "it has no `choices`", "/v1"),
        (Reply({"choices": []}), "it has no `choices`", "/v1"),
        (Reply({"choices": "abc"}), "it has no `choices`", "/v1"),
        (Reply(b'{"choices": ['), "gave an answer that cannot be used (Expecting value", "/v1"),
        (Reply([1, 2]), "it has no `choices`", "/v1"),
        (Reply(b"\xff\xfe\xfa"), "gave an answer that cannot be used", "/v1"),
    ],
    ids=lambda value: None if isinstance(value, Reply) else str(value)[:20],
)
def test_failures_are_one_sentence_and_their_fix(reply: Reply, message: str, hint: str) -> None:
    with serving(lambda body: reply) as (endpoint, _, _), pytest.raises(ModelError) as caught:
        say_once(endpoint)
    assert message in caught.value.message and "\n" not in str(caught.value)
    assert endpoint.url in caught.value.message
    assert hint in caught.value.hint


def test_a_server_that_is_none() -> None:
    with recorded(lambda asked: Reply()) as server:
        pass
    with pytest.raises(ModelError, match=r"cannot be reached \(.*refused\)"):
        Endpoint(f"{server.url}/v1", Connection(retries=0))


def test_an_endpoint_that_lists_no_models() -> None:
    with (
        pytest.raises(ModelError, match=r"has no API \(status 404\)"),
        serving_raw(lambda _: Reply(status=404), model=None),
    ):
        pass
    with (
        pytest.raises(ModelError, match="it has no list of models"),
        serving_raw(lambda _: Reply(b"hello", headers={"Content-Type": "text/plain"}), model=None),
    ):
        pass


def test_a_server_that_is_silent() -> None:
    hanging = Hanging()

    def silent(body: dict[str, Any]) -> str:
        hanging()
        return "too late"

    silence = pytest.raises(ModelError, match=r"gave no answer within 0\.2 seconds")
    with serving(silent, timeout=0.2, retries=0) as (endpoint, _, _), hanging, silence:
        say_once(endpoint)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(b" " * 2_000, headers={"Content-Encoding": "gzip"}), "cannot be used .it is compressed"),
        (Reply(b" " * (2**20 + 1)), "cannot be used .it is larger than 1 MiB"),
        (Reply(b" " * 2_000, drips=True), r"no answer within 0\.3 seconds"),
    ],
)
def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch, reply: Reply, says: str) -> None:
    monkeypatch.setattr("ragr1_lite.datagen.endpoint._ANSWER_BYTES", 2**20)
    with serving(lambda _: reply, timeout=0.3, retries=0) as (endpoint, _, _), pytest.raises(ModelError, match=says):
        say_once(endpoint)


def test_a_failure_stops_the_turn() -> None:
    hanging, first = Hanging(), threading.Lock()

    def say(body: dict[str, Any]) -> Reply:
        if not first.acquire(blocking=False):
            hanging()
        return refusal(401, "no")

    with serving(say, concurrency=2) as (endpoint, server, _):
        with hanging, pytest.raises(ModelError, match="refuses the key"):
            roll(endpoint, *map(str, range(50)))
        time.sleep(0.05)
        assert len(server.asked) < 10


@pytest.mark.parametrize("url", ["http://", "http://user:secret@host/v1", "http://a b/v1", "http://host:99999/v1"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint(url, Connection("tiny"))
    assert "http://127.0.0.1:8000/v1" in caught.value.hint and "secret" not in str(caught.value)


@pytest.mark.parametrize("end", ["", "/", "/chat/completions"])
def test_the_url_may_be_that_of_the_completions(end: str) -> None:
    with (
        recorded(chat(lambda body: "x")) as server,
        closing(Endpoint(f"{server.url}/v1{end}", Connection())) as endpoint,
    ):
        assert say_once(endpoint).text == "x"


def test_without_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModelError, match=r'pip install "ragr1-lite\[teacher\]"'):
        Endpoint("http://127.0.0.1:9/v1", Connection())
