"""The page of `ask --web`, clicked through: what is streamed, shown and stopped, and what is foreign stays text."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ragr1_lite.assistant import Assistant
from ragr1_lite.core.events import TextSampled
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, Passage
from tests.support.scripted import ScriptedSampler, ScriptedSearcher

pytestmark = pytest.mark.browser
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><b>Chad</b> is larger than Mali."
FOUND = {
    "area of Chad": [
        Passage("1", "<i>Chad</i>", HOSTILE, 12.34),
        Passage("https://example.org/lake", "Lake Chad", "A lake.", 3.0),
    ],
    "area of Mali": [Passage("3", "Mali", "Mali is a country.", 11.0)],
}
SEARCH = "<think>I need <b>two</b> areas.</think><search>area of Chad, area of Mali</search>"
ANSWER = "<think>Chad is larger.</think><answer>Chad</answer>"


class Held(ScriptedSampler):
    """Writes its lines in parts, and waits in the middle of each until it may go on."""

    def __init__(self) -> None:
        super().__init__([SEARCH, ANSWER])
        self.on = threading.Event()
        self.on.set()

    def sample(self, requests: Any, *, report: Callable[[object], None], **options: Any) -> list[Completion]:
        (said,) = super().sample(requests, report=report, **options)
        report(TextSampled(0, said.text[:14]))
        while not self.on.wait(0.02):
            report(TextSampled(0, ""))
        report(TextSampled(0, said.text[14:]))
        return [said]


@pytest.fixture(scope="module")
def sampler() -> Held:
    return Held()


@pytest.fixture(scope="module")
def address(sampler: Held) -> Iterator[str]:
    import uvicorn

    from ragr1_lite.serving.page import make_app

    app = make_app(Assistant(sampler, ScriptedSearcher(FOUND, ()), Protocol(), Limits(), "script", "world"))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=60)
    assert not thread.is_alive()


@pytest.fixture
def page(browser: Any, address: str, sampler: Held) -> Iterator[Any]:
    """The page; it must neither complain nor be taken over."""
    sampler.said.clear()
    sampler.on.set()
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.set_default_timeout(60_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#examples button")
    yield page
    assert complaints == [] and page.title() == "ragr1-lite"
    page.close()


def test_a_question_is_answered_under_its_columns(page: Any) -> None:
    page.keyboard.type("Which is larger, Chad or Mali?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer")
    assert page.inner_text("h2") == "Which is larger, Chad or Mali?"
    assert page.locator(".thought").all_inner_texts() == ["I need <b>two</b> areas.", "Chad is larger."]
    assert page.inner_text(".answer .said") == "Chad"
    assert re.fullmatch(r"1 round · 2 queries · \d\.\d s: thinking .+ m?s, searching .+ m?s", page.inner_text(".cost"))
    sources = page.locator(".sources li")
    assert sources.all_inner_texts() == ["Sources:", "<i>Chad</i>", "Lake Chad (https://example.org/lake)"]
    link = sources.locator("a")
    assert (link.get_attribute("href"), link.get_attribute("rel")) == ("https://example.org/lake", "noreferrer")
    left, right = page.locator(".query").all()
    assert [one.locator("h3").inner_text() for one in (left, right)] == ["area of Chad", "area of Mali"]
    assert (
        left.bounding_box()["y"] == right.bounding_box()["y"] and left.bounding_box()["x"] < right.bounding_box()["x"]
    )
    assert left.locator(".title").all_inner_texts() == ["<i>Chad</i>", "Lake Chad"]
    assert left.locator(".score").all_inner_texts() == ["12.3", "3.0"]
    assert page.inner_text("#go") == "Ask"


def test_foreign_text_is_text(page: Any) -> None:
    page.click("#examples button")
    page.wait_for_selector(".answer")
    assert page.locator(".text").first.text_content() == HOSTILE
    assert page.locator("img, i, b").count() == 0
    assert page.locator("mark").all_inner_texts() == ["Chad", "Chad", "Chad"]


def test_a_document_opens_by_the_keyboard(page: Any) -> None:
    page.click("#examples button")
    page.wait_for_selector(".answer")
    page.locator(".document").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".document").first.get_attribute("aria-expanded") == "true"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "question"


@pytest.mark.parametrize("how", ["button", "escape"])
def test_an_answer_is_watched_and_stopped(page: Any, sampler: Held, how: str) -> None:
    sampler.on.clear()
    page.click("#examples button")
    page.locator(".growing", has_text=re.compile("^I need$")).wait_for()
    assert page.inner_text("#go") == "Stop"
    page.click("#go") if how == "button" else page.keyboard.press("Escape")
    page.wait_for_selector(".note")
    assert page.inner_text(".note") == "Stopped." and page.inner_text("#go") == "Ask"
    sampler.said.clear()
    sampler.on.set()
    page.click("#examples button")
    page.wait_for_selector(".answer")
    assert page.locator("article").count() == 2


def test_the_mode_is_the_one_chosen(page: Any) -> None:
    page.select_option("#mode", "rag")
    page.fill("#question", "area of Mali")
    page.click("#go")
    page.wait_for_selector(".note")
    assert page.locator("h3").all_inner_texts() == ["area of Mali"]
    assert "neither a search nor an answer" in page.inner_text(".note")


def test_two_tabs_wait_for_each_other(browser: Any, page: Any, address: str, sampler: Held) -> None:
    sampler.on.clear()
    page.click("#examples button")
    page.wait_for_selector(".growing")
    other = browser.new_page()
    other.goto(address)
    other.click("#examples button")
    other.locator(".thought", has_text="Another question comes first.").wait_for()
    sampler.on.set()
    page.wait_for_selector(".answer")
    other.wait_for_selector(".answer")
    other.close()
