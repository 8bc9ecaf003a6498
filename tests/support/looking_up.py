"""A model that looks up codes, every row by what stands in it: what many questions at once are tested with."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from ragr1_lite.assistant import Assistant
from ragr1_lite.core.events import TextSampled
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, Passage, SampleRequest
from tests.support.scripted import ByteTokenizer, ScriptedSampler

PIECE = 16


def question(number: int) -> str:
    return f"What is the code of room {number}?"


def answer(number: int) -> str:
    return f"code {number * 7919 % 10_007}"


class LookingUp:
    """Searches for the room of a row's question, then answers what it has read; writes a few characters at a time.

    Attributes:
        before: Called with the requests of a turn before each piece of their text.
        batches: The rows of each turn.
    """

    def __init__(self, before: Callable[[Sequence[SampleRequest]], object] = lambda requests: None) -> None:
        self.tokenizer = ByteTokenizer()
        self.before = before
        self.batches: list[list[int]] = []

    def sample(
        self, requests: Sequence[SampleRequest], *, report: Callable[[object], None], **_: Any
    ) -> list[Completion]:
        self.batches.append([request.row for request in requests])
        texts = {request.row: self._turn(self.tokenizer.decode(request.token_ids)) for request in requests}
        for start in range(0, max(map(len, texts.values())), PIECE):
            self.before(requests)
            for request in requests:
                if request.wanted and not request.wanted():
                    texts[request.row] = texts[request.row][:start]
                if piece := texts[request.row][start : start + PIECE]:
                    report(TextSampled(request.row, piece))
        return [ScriptedSampler([""], self.tokenizer).complete(texts[request.row]) for request in requests]

    def _turn(self, text: str) -> str:
        room = re.findall(r"code of room (\d+)", text)[0]
        read = re.findall(rf"Room {room} has (code \d+)", text.partition("<information>")[2])
        if read:
            return f"<think>I have read of room {room}.</think><answer>{read[0]}</answer>"
        return f"<think>I look up room {room}.</think><search>code of room {room}</search>"


class Rooms:
    """Knows the code of every room; of odd ones from a page of the web.

    Attributes:
        calls: The queries of each call.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        self.calls.append(tuple(queries))
        return [(self._room(int(re.findall(r"\d+", query)[0])),) for query in queries]

    def _room(self, number: int) -> Passage:
        id = f"https://rooms.example/{number}" if number % 2 else f"rooms.pdf#{number}"
        return Passage(
            id, f"Room {number}", f"Room {number} has {answer(number)}.", 1.25, "" if number % 2 else "page 3"
        )


def assistant(sampler: Any = None, searcher: Any = None, **protocol: Any) -> Assistant:
    return Assistant(sampler or LookingUp(), searcher or Rooms(), Protocol(**protocol), Limits(), "a-model", "rooms")


def until_dropped(requests: Sequence[SampleRequest]) -> None:
    """Waits until nobody wants one of the rows any more, a minute at most."""
    for _ in range(6_000):
        if not all(request.wanted and request.wanted() for request in requests):
            return
        time.sleep(0.01)
    raise AssertionError("every row is still wanted")
