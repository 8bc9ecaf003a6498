"""Sampling from a chat model that speaks in messages, where rollouts speak in token ids.

Ids are bytes here, and the sampler remembers which of them the model said: what lies between is the user's, and the
environment's.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ragr1_lite.core.events import ignore
from ragr1_lite.core.types import Completion, Finish, SampleRequest
from ragr1_lite.data.gold import ByteTokenizer
from ragr1_lite.datagen.endpoint import Endpoint, Message

_OPENING = re.compile(r"<(search|answer)>")

Item = TypeVar("Item")
Result = TypeVar("Result")


class ChatSampler:
    """Fulfils :class:`ragr1_lite.core.types.Sampler`: a turn's rows are asked side by side.

    Args:
        endpoint: Who is asked.
        seed: Each request's own seed follows from it, the row and the turn.
        temperature: Of the sampling.
    """

    def __init__(self, endpoint: Endpoint, *, seed: int, temperature: float) -> None:
        self.tokenizer = ByteTokenizer()
        self._endpoint, self._seed, self._temperature = endpoint, seed, temperature
        self._said: dict[int, list[tuple[int, int]]] = {}

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        report: Callable[[object], None] = ignore,
    ) -> list[Completion]:
        """Continues each row by one message of the assistant.

        Raises:
            ModelError: One of the rows cannot be continued.
        """

        def ask(request: SampleRequest) -> tuple[str, Finish]:
            turn = len(self._said.get(request.row, ()))
            text, reason = self._endpoint.complete(
                self._messages(request),
                stop=stop,
                max_new_tokens=max_new_tokens,
                temperature=self._temperature,
                seed=random.Random(f"{self._seed}:{request.row}:{turn}").getrandbits(31),
            )
            return as_said(text, reason, stop)

        said = side_by_side(ask, requests, self._endpoint.connection.concurrency)
        return [self._take(request, *one) for request, one in zip(requests, said, strict=True)]

    def _take(self, request: SampleRequest, text: str, finish: Finish) -> Completion:
        token_ids = (*self.tokenizer.encode(text), *(self.tokenizer.eos_ids if finish == "eos" else ()))
        start = len(request.token_ids)
        self._said.setdefault(request.row, []).append((start, start + len(token_ids)))
        return Completion(token_ids, text, finish)

    def _messages(self, request: SampleRequest) -> list[Message]:
        """The conversation so far: what the model said is the assistant's, all else the user's."""
        messages, at = [], 0
        for start, end in self._said.get(request.row, ()):
            messages.append(self._message("user", request.token_ids[at:start]))
            messages.append(self._message("assistant", request.token_ids[start:end]))
            at = end
        return [*messages, self._message("user", request.token_ids[at:])]

    def _message(self, role: str, token_ids: Sequence[int]) -> Message:
        return {"role": role, "content": self.tokenizer.decode(token_ids).strip("\n")}


def side_by_side(call: Callable[[Item], Result], items: Sequence[Item], at_once: int) -> list[Result]:
    """Calls for each item, at most ``at_once`` at a time, and returns the results in order.

    The threads are daemons: an interrupt need not wait for requests under way.

    Raises:
        Exception: The first that a call raised; what has not begun then is left.
    """
    waiting: SimpleQueue[tuple[int, Item]] = SimpleQueue()
    done: SimpleQueue[tuple[int, Any, Exception | None]] = SimpleQueue()
    for pair in enumerate(items):
        waiting.put(pair)

    def work() -> None:
        with suppress(Empty):
            while True:
                place, item = waiting.get_nowait()
                try:
                    done.put((place, call(item), None))
                except Exception as error:
                    done.put((place, None, error))

    for _ in range(min(at_once, len(items))):
        threading.Thread(target=work, daemon=True).start()
    results: dict[int, Result] = {}
    try:
        while len(results) < len(items):
            place, result, error = done.get()
            if error is not None:
                raise error
            results[place] = result
    finally:
        with suppress(Empty):
            while True:
                waiting.get_nowait()
    return [results[place] for place in range(len(items))]


def as_said(text: str, reason: str, stop: Iterable[str]) -> tuple[str, Finish]:
    """The completion as the model wrote it: up to its first stop string, which most servers cut off.

    >>> as_said("<think>Two.</think><search>Chad", "stop", ("</search>", "</answer>"))
    ('<think>Two.</think><search>Chad</search>', 'stop')
    """
    ends = [text.index(tag) + len(tag) for tag in stop if tag in text]
    if ends:
        return text[: min(ends)], "stop"
    if reason == "length":
        return text, "length"
    opened = [f"</{tag}>" for tag in _OPENING.findall(text)]
    if opened and opened[-1] in stop and reason != "content_filter":
        return text + opened[-1], "stop"
    return text, "eos"
