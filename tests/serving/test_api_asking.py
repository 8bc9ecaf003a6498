"""Requests of the API: what is asked, what is refused and how, and that no JSON is more than refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.serving.api.asking import MAX_QUESTION_CHARACTERS, Asking, Wrong, read_request
from ragr1_lite.serving.engine import Engine
from tests.support.looking_up import LookingUp, assistant

USER = {"role": "user", "content": "Which?"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "ragr1-lite", "messages": [USER]} | fields).encode()


def test_what_is_asked() -> None:
    assert read_request(body()) == Asking("Which?")
    asked = read_request(body(stream=True, stream_options={"include_usage": True}, n=1, tool_choice="auto", audio=None))
    assert asked == Asking("Which?", stream=True, usage=True)
    parts = [{"type": "text", "text": "Which"}, {"type": "text", "text": "one?\ud800"}]
    assert read_request(body(messages=[{"role": "user", "content": parts}])).question == "Which\none??"


def test_a_follow_up_is_made_whole_by_what_was_said_before() -> None:
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the capital of Chad?"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": [{"type": "image_url"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "N'Djamena\ud800"}]},
        {"role": "user", "content": "And of Niger?"},
    ]
    assert read_request(body(messages=said)) == Asking("What is the capital of Niger?", follow_up=True)
    assert read_request(body(messages=said[-1:])) == Asking("And of Niger?")


@pytest.mark.parametrize(
    ("status", "param", "code", "sent"),
    [
        (400, None, None, b"{"),
        (400, None, None, b"[" * 100_000),
        (400, None, None, b"[]"),
        (400, "model", None, body(model=None)),
        (404, "model", "model_not_found", body(model="gpt-4o")),
        (400, "messages", None, body(messages=None)),
        (400, "messages", None, body(messages=["Which?"])),
        (400, "messages", None, body(messages=[])),
        (400, "messages", None, body(messages=[{"role": "assistant", "content": "x"}])),
        (400, "messages", None, body(messages=[USER, {"role": "owner", "content": "x"}])),
        (400, "messages", None, body(messages=[USER, {"role": "user", "content": " "}])),
        (400, "messages", None, body(messages=[{"role": "user", "content": 3}])),
        (400, "messages", "unsupported_value", body(messages=[{"role": "user", "content": [{"type": "image_url"}]}])),
        (400, "messages", "unsupported_value", body(messages=[{"role": "user", "content": [{"type": "text"}]}])),
        (
            400,
            "messages",
            "context_length_exceeded",
            body(messages=[{"role": "user", "content": "x" * (MAX_QUESTION_CHARACTERS + 1)}]),
        ),
        (400, "stream", None, body(stream="yes")),
        (400, "stream_options", None, body(stream_options=[])),
        (400, "include_usage", None, body(stream=True, stream_options={"include_usage": 1})),
        (400, "n", "unsupported_value", body(n=2)),
        (400, "n", "unsupported_value", body(n=True)),
        (400, "logprobs", "unsupported_value", body(logprobs=0)),
        (400, "response_format", "unsupported_value", body(response_format={"type": "json_object"})),
        (400, "tool_choice", "unsupported_value", body(tool_choice="required")),
        (400, "logprobs", "unsupported_value", body(logprobs=True)),
        (400, "modalities", "unsupported_value", body(modalities=["text", "audio"])),
        (400, "audio", "unsupported_value", body(audio={"voice": "x"})),
    ],
)
def test_what_is_wrong_gets_openais_form(status: int, param: str | None, code: str | None, sent: bytes) -> None:
    sampler = LookingUp()
    response = reply("POST", "/v1/chat/completions", sampler, content=sent)
    error = response.json()["error"]
    assert response.status_code == status and set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert error["message"].endswith(".") and not sampler.batches


@pytest.mark.parametrize(
    ("status", "method", "path", "options"),
    [
        (404, "POST", "/v1/completions", {}),
        (405, "GET", "/v1/chat/completions", {}),
        (413, "POST", "/v1/chat/completions", {"content": b"x" * (4 * 2**20 + 1)}),
    ],
)
def test_so_do_wrong_addresses_and_sizes(status: int, method: str, path: str, options: dict[str, Any]) -> None:
    response = reply(method, path, **options)
    assert response.status_code == status and response.json()["error"]["message"].endswith(".")
    assert response.headers.get("allow") == ("POST" if status == 405 else None)


def reply(method: str, path: str, sampler: LookingUp | None = None, **options: Any) -> httpx.Response:
    pytest.importorskip("fastapi")
    from ragr1_lite.serving.api import make_app

    async def send() -> httpx.Response:
        app = make_app(Engine(assistant(sampler), rows=1, most=1))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8124") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["stream", "stream_options", "n", "tool_choice", "tools", "response_format", "temperature", "logprobs"]
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "user "]) | anything},
    optional={"content": anything | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": anything}))},
)


@given(
    st.fixed_dictionaries(
        {"model": st.just("ragr1-lite") | anything},
        optional={"messages": st.lists(message, max_size=3) | anything, **dict.fromkeys(NAMES, anything)},
    )
)
def test_any_json_is_asked_or_refused(fields: dict[str, Any]) -> None:
    try:
        asked = read_request(json.dumps(fields).encode())
    except Wrong as wrong:
        assert wrong.status in (400, 404) and str(wrong).endswith(".")
    else:
        assert asked.question.strip() and asked.question.encode()
