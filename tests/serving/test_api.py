"""The API over a socket: OpenAI's own client, many at once, those that hang up, and who is let in."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from ragr1_lite.core.errors import ConfigError, ModelError
from ragr1_lite.core.types import SampleRequest
from ragr1_lite.retrieval.remote.hosting import in_background
from ragr1_lite.serving.engine import Engine
from tests.support.looking_up import LookingUp, answer, assistant, question, until_dropped

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from ragr1_lite.serving import api

CLIENTS = 32


@contextmanager
def served(sampler: Any = None, *, rows: int = 8, most: int = 40, **options: Any) -> Iterator[openai.OpenAI]:
    """A client of a server in this process."""
    engine = Engine(assistant(sampler), rows=rows, most=most, timeout=options.pop("timeout", 60))
    with (
        in_background(api.make_app(engine, **options), "The API") as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client,
    ):
        yield client
    engine.close()


def ask(client: openai.OpenAI, number: int, **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": question(number)}]
    return client.chat.completions.create(model="ragr1-lite", messages=messages, **options)


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with served() as client:
        yield client


REASONING = "I look up room {0}.\n\nSearched: code of room {0}\nFound: Room {0}\n\nI have read of room {0}."


def test_a_whole_answer(client: openai.OpenAI) -> None:
    done = ask(client, 2)
    (choice,) = done.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", answer(2), "stop")
    assert choice.message.reasoning_content == REASONING.format(2)
    assert choice.message.ragr1_lite == {
        "searches": [{"queries": ["code of room 2"], "passages": [[{"title": "Room 2", "score": 1.25}]]}]
    }
    (source,) = choice.message.annotations
    place = {"title": "Room 2", "id": "rooms.pdf#2", "file": "rooms.pdf", "place": "page 3"}
    assert source.to_dict() == {"type": "file_citation", "file_citation": place, "holds": True}
    usage = done.usage
    assert usage.completion_tokens > 40 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert (done.object, done.model) == ("chat.completion", "ragr1-lite")


def test_a_source_with_a_url_has_openais_form(client: openai.OpenAI) -> None:
    (source,) = ask(client, 3).choices[0].message.annotations
    citation = source.url_citation
    assert (source.type, citation.url, citation.title) == ("url_citation", "https://rooms.example/3", "Room 3")
    assert (citation.start_index, citation.end_index) == (0, len(answer(3)))


def test_a_streamed_answer_adds_up_to_the_whole_one(client: openai.OpenAI) -> None:
    chunks = list(ask(client, 2, stream=True, stream_options={"include_usage": True}))
    *middle, last, counted = chunks
    deltas = [chunk.choices[0].delta for chunk in middle]
    assert deltas[0].role == "assistant" and {chunk.id for chunk in chunks} == {chunks[0].id}
    whole = ask(client, 2)
    message = whole.choices[0].message
    contents = [delta.content for delta in deltas if delta.content]
    thoughts = [getattr(delta, "reasoning_content", "") for delta in deltas]
    assert "".join(contents) == message.content and "".join(thoughts) == message.reasoning_content
    assert sum(map(bool, thoughts)) > 4
    (search,) = (delta for delta in deltas if hasattr(delta, "ragr1_lite"))
    assert search.content is None and [search.ragr1_lite["search"]] == message.ragr1_lite["searches"]
    (sources,) = (delta.annotations for delta in deltas if hasattr(delta, "annotations"))
    assert sources == [one.to_dict() for one in message.annotations]
    assert (last.choices[0].finish_reason, last.choices[0].delta.content) == ("stop", None)
    assert (counted.choices, counted.usage) == ([], whole.usage)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_usage_is_counted_on_request_alone(client: openai.OpenAI) -> None:
    chunks = list(ask(client, 2, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_the_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["ragr1-lite"]


def test_the_question_is_the_last_of_the_user(client: openai.OpenAI) -> None:
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": question(7)},
        {"role": "assistant", "content": answer(7)},
        {"role": "user", "content": [{"type": "text", "text": question(8)}]},
    ]
    done = client.chat.completions.create(model="ragr1-lite", messages=messages)
    assert done.choices[0].message.content == answer(8)


def test_a_follow_up_is_shown_as_it_was_understood(client: openai.OpenAI) -> None:
    messages: Any = [
        {"role": "user", "content": question(7)},
        {"role": "assistant", "content": answer(7)},
        {"role": "user", "content": "And of room 8?"},
    ]
    asked: Any = {"model": "ragr1-lite", "messages": messages}
    message = client.chat.completions.create(**asked).choices[0].message
    thoughts = [
        getattr(chunk.choices[0].delta, "reasoning_content", "")
        for chunk in client.chat.completions.create(**asked, stream=True)
    ]
    assert message.content == answer(8) and message.reasoning_content == "".join(thoughts)
    assert message.reasoning_content == f"Question: {question(8)}\n\n{REASONING.format(8)}"


def test_what_only_tunes_is_ignored(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "look", "parameters": {}}}
    done = ask(client, 5, temperature=1.5, top_p=0.5, max_tokens=1, seed=3, stop=["code"], tools=[tool], n=1)
    assert done.choices[0].message.content == answer(5)


def test_thirty_two_at_once_are_all_answered_each_its_own() -> None:
    sampler = LookingUp()
    with served(sampler) as client, ThreadPoolExecutor(CLIENTS) as pool:

        def one(number: int) -> str:
            if number % 2:
                return str(ask(client, number).choices[0].message.content)
            chunks = ask(client, number, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

        assert list(pool.map(one, range(CLIENTS))) == [answer(number) for number in range(CLIENTS)]
    assert max(map(len, sampler.batches)) <= 8 and sum(map(len, sampler.batches)) == 2 * CLIENTS


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_is_gone_frees_its_row(stream: bool) -> None:
    sampler = LookingUp(lambda requests: until_dropped(requests) if not sampler.batches[1:] else None)
    with served(sampler, rows=1, most=1) as client:
        body = {"model": "ragr1-lite", "stream": stream, "messages": [{"role": "user", "content": question(0)}]}
        connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        while not sampler.batches:
            time.sleep(0.01)
        connection.close()
        while True:  # until the server has noticed
            try:
                assert ask(client, 1).choices[0].message.content == answer(1)
                break
            except openai.InternalServerError as error:
                assert error.status_code == 503
                time.sleep(0.01)
    assert sampler.batches == [[0], [0], [0]]


def test_a_full_queue_refuses() -> None:
    class Full(LookingUp):
        """Holds its first question until one was refused."""

        refused = False

        def hold(self, requests: Sequence[SampleRequest]) -> None:
            while not self.refused:
                time.sleep(0.01)

    sampler = Full()
    sampler.before = sampler.hold
    with served(sampler, rows=1, most=1) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, client, 0)
        while not sampler.batches:
            time.sleep(0.01)
        with pytest.raises(openai.InternalServerError) as refused:
            ask(client, 1)
        sampler.refused = True
        assert first.result().choices[0].message.content == answer(0)
    response = refused.value.response
    assert (response.status_code, int(response.headers["retry-after"])) == (503, 5)
    assert refused.value.body == {
        "message": "Too many questions are waiting. Ask again when one is answered.",
        "type": "server_error",
        "param": None,
        "code": "overloaded",
    }


def test_no_answer_says_why() -> None:
    class Silent(LookingUp):
        def _turn(self, text: str) -> str:
            return "<think>I do not know.</think>"

    with served(Silent()) as client:
        choice = ask(client, 0).choices[0]
        streamed = [chunk.choices[0] for chunk in ask(client, 0, stream=True)]
    assert (choice.finish_reason, choice.message.annotations) == ("length", [])
    assert choice.message.content == "The model wrote neither a search nor an answer."
    assert streamed[-1].finish_reason == "length"
    assert "".join(one.delta.content or "" for one in streamed) == choice.message.content


def test_a_late_answer_is_an_error() -> None:
    with served(LookingUp(until_dropped), timeout=0.05) as client:
        with pytest.raises(openai.InternalServerError) as late:
            ask(client, 0)
        assert (late.value.status_code, late.value.code) == (504, "timeout")
        with pytest.raises(openai.APIError, match="took too long"):
            list(ask(client, 0, stream=True))


def test_why_an_answer_failed_stays_here() -> None:
    def fail(requests: object) -> None:
        raise ModelError("There is no file /secret/place", "Make it.")

    notices: list[Any] = []
    with served(LookingUp(fail), report=notices.append) as client:
        with pytest.raises(openai.InternalServerError, match="own messages") as failed:
            ask(client, 0)
        with pytest.raises(openai.APIError, match="own messages"):
            list(ask(client, 0, stream=True))
    assert "secret" not in failed.value.response.text
    assert [notice.level for notice in notices] == ["warning"] * 2 and "/secret/place" in notices[0].text


def test_only_who_has_the_token_is_answered() -> None:
    with served(token="pass") as client:
        for key in ("none", "passe", "pas"):
            with pytest.raises(openai.AuthenticationError) as refused:
                client.with_options(api_key=key).models.list()
            assert refused.value.code == "invalid_api_key"
            assert refused.value.response.headers["www-authenticate"] == "Bearer"
        assert httpx.get(f"{client.base_url}models", headers={"Authorization": "Basic pass"}).status_code == 401
        assert httpx.get(f"{client.base_url}models").status_code == 401
        assert ask(client.with_options(api_key="pass"), 0).choices[0].message.content == answer(0)


def run(monkeypatch: pytest.MonkeyPatch, *address: Any, **options: Any) -> tuple[Any, str]:
    """What ``serve`` would run, and its notice."""
    ran: list[Any] = []
    notices: list[Any] = []
    monkeypatch.setattr(api.app, "run", lambda app, listener, grace, stopping: ran.append(app))
    api.serve(assistant, *address, report=notices.append, **options)
    return ran[0], notices[-1].text


def statuses(app: Any, *headers: dict[str, str]) -> list[int]:
    """What the models are answered with; each refusal has OpenAI's form."""

    async def get() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8124") as client:
            return [await client.get("/v1/models", headers=header) for header in headers]

    found = asyncio.run(get())
    for one in found:
        if one.status_code != 200:
            assert one.json()["error"].keys() == {"message", "type", "param", "code"}
    return [one.status_code for one in found]


def test_other_sites_pages_and_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    app, said = run(monkeypatch, "127.0.0.1", 0)
    assert said.startswith("The API is at http://127.0.0.1:") and said.endswith("/v1. Ctrl-C ends.")
    asked = {"host": "localhost:8124"}, {"host": "evil.example"}, {"origin": "https://evil.example"}, {"host": ""}
    assert statuses(app, *asked) == [200, 400, 403, 400]


def test_other_machines_need_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no token. Set RAGR1_LITE_TOKEN"):
        api.serve(lambda: pytest.fail("nothing should be loaded"), "0.0.0.0", 0)
    app, _ = run(monkeypatch, "0.0.0.0", 0, token="pass")
    name = {"host": "box.example"}
    assert statuses(app, name, name | {"authorization": "Bearer pass"}) == [401, 200]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"The API needs FastAPI and uvicorn"):
        api.serve(assistant)


START = """
import sys
from ragr1_lite.assistant import Assistant
from ragr1_lite.cli.main import main
from tests.support.looking_up import LookingUp, assistant, until_dropped
Assistant.open = lambda setup, report: assistant(LookingUp(until_dropped))
sys.argv[1:] = ["serve", "--port", "0"]
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_while_it_answers_and_the_client_hears_of_it(sent: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", START],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stderr is not None
        (url,) = re.findall(r"http:\S+\d/v1", process.stderr.readline())
        body = {"model": "ragr1-lite", "stream": True, "messages": [{"role": "user", "content": question(0)}]}
        with httpx.stream("POST", f"{url}/chat/completions", json=body, timeout=60) as response:
            pieces = response.iter_raw()
            assert b"assistant" in next(pieces)
            process.send_signal(sent)
            *_, last = b"".join(pieces).decode().strip().split("\n\n")
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "stopping"
            complaints = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.communicate()
    assert (complaints.split(), process.returncode) == (["Stopped."], code)
