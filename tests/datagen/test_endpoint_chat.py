"""Rollouts in token ids, chat models in messages: what lies between, without a server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.core.protocol import STOP, Protocol, render_turn
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import SampleRequest
from ragr1_lite.datagen.endpoint import Connection, Endpoint
from ragr1_lite.datagen.teachers import ChatSampler, as_written
from ragr1_lite.retrieval.remote.client import side_by_side
from tests.support.chatting import stopped
from tests.support.hanging import Hanging
from tests.support.scripted import ScriptedSearcher, example

TEXT = st.text("ab é<>/\n", max_size=20).map(lambda text: text.replace("</", ""))


class ScriptedEndpoint:
    """Says each row's lines, cut as servers cut them, and keeps the conversations."""

    def __init__(self, *lines: str) -> None:
        self.connection = Connection(concurrency=2)
        self.asked: list[list[dict[str, str]]] = []
        self._lines = lines

    def complete(self, messages: list[dict[str, str]], *, stop: Sequence[str], **_: Any) -> tuple[str, str]:
        self.asked.append(messages)
        line = self._lines[sum(message["role"] == "assistant" for message in messages)]
        return stopped(line, stop, "cut"), "stop"


def sampling(endpoint: ScriptedEndpoint) -> ChatSampler:
    return ChatSampler(cast("Endpoint", endpoint), seed=0, temperature=0.0)


@given(TEXT, TEXT, st.booleans())
def test_what_a_server_cuts_off_is_put_back(think: str, content: str, search: bool) -> None:
    text = render_turn(think, queries=[content]) if search else render_turn(think, answer=content)
    assert as_written(stopped(text, STOP, "cut"), "stop", STOP) == (text, "stop")
    assert as_written(text + " and more</answer>", "length", STOP) == (text, "stop")
    assert as_written(stopped(text, STOP, "cut"), "length", STOP) == (stopped(text, STOP, "cut"), "length")


def test_only_what_was_opened_is_closed() -> None:
    assert as_written("<think>to <search> or not", "stop", ()) == ("<think>to <search> or not", "eos")
    assert as_written("<think>a <search> would do</think><answer>b", "stop", STOP)[0].endswith("<answer>b</answer>")
    assert as_written("plain", "stop", STOP) == ("plain", "eos")


def test_turn_by_turn_the_conversation_grows() -> None:
    lines = [render_turn("t", queries=["é"]), render_turn("t", queries=["b"]), render_turn("t", answer="Chad")]
    endpoint = ScriptedEndpoint(*lines)
    limits = Limits(max_length=10**6)
    [trajectory] = run_rollouts([example()], sampling(endpoint), ScriptedSearcher(), protocol=Protocol(), limits=limits)
    assert trajectory.answer == "Chad" and trajectory.rounds == 2
    roles = [[message["role"] for message in messages] for messages in endpoint.asked]
    assert roles == [["user"], ["user", "assistant", "user"], ["user", "assistant", "user", "assistant", "user"]]
    assert endpoint.asked[2][:3] == endpoint.asked[1]
    assert [message["content"] for message in endpoint.asked[2][1::2]] == lines[:2]


def test_rows_do_not_mix() -> None:
    lines = [render_turn("t", queries=["a"]), render_turn("t", answer="Chad")]
    endpoint = ScriptedEndpoint(*lines)
    examples = [example(f"Question {number}?") for number in range(5)]
    run_rollouts(examples, sampling(endpoint), ScriptedSearcher(), protocol=Protocol(), limits=Limits(max_length=10**6))
    second = [messages for messages in endpoint.asked if len(messages) == 3]
    assert sorted(messages[0]["content"][-11:] for messages in second) == [f"Question {number}?" for number in range(5)]


def test_an_empty_completion_leaves_the_conversation_whole() -> None:
    sampler, ids = sampling(ScriptedEndpoint("")), [65]
    [completion] = sampler.sample([SampleRequest(0, ids)], stop=STOP, max_new_tokens=5)
    assert (completion.token_ids, completion.text, completion.finish) == ((256,), "", "eos")


@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_calls_side_by_side_keep_their_order(at_once: int) -> None:
    def slow(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert side_by_side(slow, list(range(10)), at_once) == [number * number for number in range(10)]
    assert side_by_side(slow, [], at_once) == []


def test_the_first_error_ends_all_and_nothing_waits_for_what_is_under_way() -> None:
    begun: list[int] = []
    hanging = Hanging()

    def call(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("one")
        hanging()
        return number

    with hanging:
        with pytest.raises(ValueError, match="one"):
            side_by_side(call, list(range(100)), 3)
        assert len(begun) < 10
