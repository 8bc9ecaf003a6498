"""The page's application without a socket or a browser: what it lets in, what it sends, and when it stops."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import Callable
from typing import Any, get_args

import httpx
import pytest

from ragr1_lite.assistant import Assistant
from ragr1_lite.core.errors import ConfigError, ModelError
from ragr1_lite.core.events import Notice, TextSampled
from ragr1_lite.core.protocol import NOT_FOUND, Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, Mode, Passage
from tests.support.scripted import ScriptedSampler, ScriptedSearcher

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from ragr1_lite.serving import page
from ragr1_lite.serving.page.app import MAX_QUESTION_CHARACTERS
from ragr1_lite.serving.page.queue import LONGEST, AnswerQueue
from ragr1_lite.ui.turns import REFUSED

HOSTILE = "<img src=x onerror=alert(1)> \u202eChad"
SEARCH = "<think>Two facts.</think><search>area of Chad, area of Mali</search>"
ANSWER = "<think>Chad is larger.</think><answer>Chad</answer>"
FOUND = {"area of Chad": [Passage("1", HOSTILE, HOSTILE, 1.234)]}


class Talking(ScriptedSampler):
    """Writes its lines a few characters at a time; ``between`` is called before each piece."""

    between: Callable[[], object] = staticmethod(lambda: None)

    def sample(self, requests: Any, *, report: Callable[[object], None], **options: Any) -> list[Completion]:
        said = super().sample(requests, report=report, **options)
        for start in range(0, len(said[0].text), 8):
            self.between()
            report(TextSampled(0, said[0].text[start : start + 8]))
        return said


class Failing(Talking):
    def __init__(self, error: Exception) -> None:
        super().__init__([ANSWER])
        self.error = error

    def sample(self, *_: Any, **__: Any) -> list[Completion]:
        raise self.error


def assistant(sampler: ScriptedSampler | None = None, index: str = "world") -> Assistant:
    sampler = sampler or Talking([SEARCH, ANSWER])
    return Assistant(sampler, ScriptedSearcher(FOUND, ()), Protocol(), Limits(), "a-model", index)


def sent(app: Any, method: str, path: str, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8123") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def sent_events(response: httpx.Response) -> list[tuple[str, Any]]:
    """The events of an answer, as a browser reads them."""
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", response.text)
    assert response.text == "".join(f"event: {name}\ndata: {data}\n\n" for name, data in found)
    return [(name, json.loads(data)) for name, data in found]


def asked(of: Assistant, question: str = "Which is larger?", **fields: Any) -> list[tuple[str, Any]]:
    response = sent(page.make_app(of), "POST", "/ask", json={"question": question, **fields})
    assert response.headers["content-type"].startswith("text/event-stream")
    return sent_events(response)


def test_an_answer_is_sent_as_it_grows() -> None:
    events = asked(assistant(), " Which is larger? ")
    names = [name for name, _ in events]
    (search,) = (data for name, data in events if name == "search")
    turns = " ".join(names).replace("text ", "t").split()
    assert re.fullmatch("t{5,}search", turns[0]) and re.fullmatch("t{3,}answer", turns[1])
    growing = [data["think"] for name, data in events[: names.index("search")]]
    assert all(later.startswith(earlier) for earlier, later in zip(growing, growing[1:], strict=False))
    assert growing[0] != growing[-1] == "Two facts."
    assert search["queries"] == ["area of Chad", "area of Mali"] and search["think"] == "Two facts."
    assert search["passages"] == [
        [{"title": HOSTILE.replace("\u202e", ""), "score": 1.23, "text": HOSTILE.replace("\u202e", "")}],
        [],
    ]
    answer = events[-1][1]
    assert (answer["question"], answer["answer"], answer["think"]) == ("Which is larger?", "Chad", "Chad is larger.")
    assert set(answer["phases"]) == {"generate", "search"} and len(answer["figures"]) == 3
    assert answer["cited"] == [{"text": HOSTILE.replace("\u202e", "")}] and answer["held"]


def test_a_source_on_the_web_has_its_address() -> None:
    found = {"area of Chad": [Passage("https://example.org/chad", "Chad", "Chad.")]}
    answer = asked(Assistant(Talking([SEARCH, ANSWER]), ScriptedSearcher(found, ()), Protocol(), Limits()))[-1][1]
    address = "https://example.org/chad"
    assert answer["cited"] == [{"text": f"Chad ({address})", "url": address}] and answer["held"]


def test_modes_are_those_of_the_question() -> None:
    ((name, data),) = (event for event in asked(assistant(), "Which?", mode="rag")[:1])
    assert (name, data["queries"]) == ("search", ["Which?"])
    assert "search" not in [name for name, _ in asked(assistant(Talking([ANSWER])), mode="direct")]


def test_no_answer_has_its_reason_and_errors_are_sentences() -> None:
    name, data = asked(assistant(Talking(["<think>hm</think>"])))[-1]
    assert (name, data["answer"]) == ("answer", None) and "neither" in data["reason"]
    assert asked(assistant(Failing(ModelError("It broke", "Fix it.")))) == [("error", {"detail": "It broke. Fix it."})]
    notices: list[object] = []
    app = page.make_app(assistant(Failing(ValueError("odd\nthing"))), report=notices.append)
    ((name, data),) = sent_events(sent(app, "POST", "/ask", json={"question": "Which?"}))
    assert (name, data["detail"]) == ("error", "The answer failed; the command's own messages say why.")
    assert [(notice.level, notice.text) for notice in notices if isinstance(notice, Notice)] == [
        ("warning", "An answer failed: ValueError: odd\nthing")
    ]


def test_a_refusal_is_a_sentence_without_sources() -> None:
    refusal = f"<think>Nothing.</think><answer>{NOT_FOUND}</answer>"
    name, data = asked(assistant(Talking([SEARCH, refusal])))[-1]
    assert (name, data["answer"], data["reason"], data["cited"]) == ("answer", None, REFUSED, [])


@pytest.mark.parametrize(
    ("status", "options"),
    [
        (415, {"content": b'{"question": "x"}', "headers": {"content-type": "text/plain"}}),
        (415, {"data": {"question": "x"}}),
        (400, {"content": b"{", "headers": {"content-type": "application/json"}}),
        (413, {"json": {"question": "x" * 100_001}}),
        (422, {"json": {"question": "x" * (MAX_QUESTION_CHARACTERS + 1)}}),
        (422, {"json": ["question"]}),
        (422, {"json": {"question": " "}}),
        (422, {"json": {"question": "x", "mode": "every"}}),
    ],
)
def test_what_is_not_taken_gets_a_sentence(status: int, options: dict[str, Any]) -> None:
    sampler = Talking([ANSWER])
    response = sent(page.make_app(assistant(sampler)), "POST", "/ask", **options)
    assert response.status_code == status and response.json()["detail"].endswith(".")
    assert sampler.calls == []


def test_only_this_machines_names_are_answered() -> None:
    app = page.make_app(assistant())
    for path in ("/", "/about"):
        assert sent(app, "GET", path, headers={"host": "evil.example:8123"}).status_code == 400
        assert sent(app, "GET", path, headers={"host": "localhost:8123"}).status_code == 200
    response = sent(app, "POST", "/ask", json={"question": "x"}, headers={"host": "127.0.0.1.evil.example"})
    assert response.status_code == 400


def test_the_page_needs_nothing_from_elsewhere_and_may_have_nothing() -> None:
    app = page.make_app(assistant())
    for path in ("/", "/page.css", "/page.js", "/about"):
        response = sent(app, "GET", path)
        assert response.status_code == 200 and not re.search(r"https?:|//\w+\.\w", response.text)
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';") and "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search("innerHTML|outerHTML|insertAdjacent|document.write", sent(app, "GET", "/page.js").text)
    assert re.findall(r'<option value="([-\w]+)"', sent(app, "GET", "/").text) == list(get_args(Mode))


def test_the_page_names_what_answers() -> None:
    about = sent(page.make_app(assistant()), "GET", "/about").json()
    assert (about["model"], about["index"], about["mode"], about["passages"]) == ("a-model", "world", "multi", None)
    assert about["examples"] and sent(page.make_app(assistant(index="books")), "GET", "/about").json()["examples"] == []


def test_questions_wait_for_each_other() -> None:
    async def both() -> list[list[str]]:
        queue = AnswerQueue(assistant(Talking([SEARCH, ANSWER] * 2)), lambda event: None)

        async def names() -> list[str]:
            return [piece.decode().split()[1] async for piece in queue.events("Which?", "multi")]

        return list(await asyncio.gather(names(), names()))

    first, second = asyncio.run(both())
    assert first[0] == "text" and second[0] == "waiting" and first == second[1:]


def test_hanging_up_stops_the_answer_and_frees_the_queue() -> None:
    sampler = Talking([SEARCH] * 3 + [ANSWER])
    begun, closed = threading.Event(), threading.Event()

    def between() -> None:
        if begun.is_set():
            closed.wait(60)
        begun.set()

    sampler.between = between

    async def hang_up() -> tuple[bool, list[bytes]]:
        queue = AnswerQueue(assistant(sampler), lambda event: None)
        streams = [queue.events("Which?", "multi") for _ in range(LONGEST)]
        first = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await first[0]
        full = queue.full
        for future, stream in zip(reversed(first), reversed(streams), strict=True):
            await future
            await stream.aclose()
        closed.set()
        assert not queue.full
        return full, [piece async for piece in queue.events("Which?", "multi")]

    full, pieces = asyncio.run(hang_up())
    assert full and pieces[-1].startswith(b"event: answer")
    # The abandoned one was left in its first turn, those behind it were never begun.
    assert len(sampler.calls) == 1 + 3


def test_a_full_queue_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnswerQueue, "full", True)
    response = sent(page.make_app(assistant()), "POST", "/ask", json={"question": "x"})
    assert response.status_code == 409 and "ask again" in response.json()["detail"]


def test_serving_opens_the_model_when_the_port_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr(page.app, "run", lambda app, listener, grace: served.append(listener.getsockname()))
    notices: list[Any] = []
    page.serve(assistant, 0, report=notices.append)
    ((host, port),) = served
    assert host == "127.0.0.1" and notices[-1].text == f"The page is at http://127.0.0.1:{port}. Ctrl-C ends."


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"The page needs FastAPI and uvicorn.*ragr1-lite\[serve\]"):
        page.serve(assistant)
