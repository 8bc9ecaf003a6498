"""Sampling from a chat model, which takes messages, where rollouts hold token ids.

Ids are bytes here, and the sampler remembers which of them the model wrote: what lies between is the user's.
"""

from __future__ import annotations

import random
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import suppress
from typing import TypeVar

from ragr1_lite.core.events import ignore
from ragr1_lite.core.types import Completion, Finish, SampleRequest
from ragr1_lite.data.gold import ByteTokenizer
from ragr1_lite.datagen.endpoint import Endpoint, Message

_OPENING = re.compile(r"<(search|answer)>")

Item = TypeVar("Item")
Result = TypeVar("Result")


class ChatSampler:
    """A Sampler that asks an endpoint for all rows of a turn at once, each with a seed from ``seed``, row and turn."""

    def __init__(self, endpoint: Endpoint, seed: int, temperature: float) -> None:
        self.tokenizer = ByteTokenizer()
        self._endpoint, self._seed, self._temperature = endpoint, seed, temperature
        self._written: dict[int, list[tuple[int, int]]] = {}

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        report: Callable[[object], None] = ignore,
    ) -> list[Completion]:
        """Continues each row by one message of the assistant; raises ModelError where one cannot be continued."""

        def ask(request: SampleRequest) -> tuple[str, Finish]:
            turn = len(self._written.get(request.row, ()))
            text, reason = self._endpoint.complete(
                self._messages(request),
                stop=stop,
                max_new_tokens=max_new_tokens,
                temperature=self._temperature,
                seed=random.Random(f"{self._seed}:{request.row}:{turn}").getrandbits(31),
            )
            return as_written(text, reason, stop)

        written = side_by_side(ask, requests, self._endpoint.connection.concurrency)
        return [self._take(request, *one) for request, one in zip(requests, written, strict=True)]

    def _take(self, request: SampleRequest, text: str, finish: Finish) -> Completion:
        token_ids = (*self.tokenizer.encode(text), *(self.tokenizer.eos_ids if finish == "eos" else ()))
        start = len(request.token_ids)
        self._written.setdefault(request.row, []).append((start, start + len(token_ids)))
        return Completion(token_ids, text, finish)

    def _messages(self, request: SampleRequest) -> list[Message]:
        """The conversation so far: what the model wrote is the assistant's, all else the user's."""
        messages, at = [], 0
        for start, end in self._written.get(request.row, ()):
            messages.append(self._message("user", request.token_ids[at:start]))
            messages.append(self._message("assistant", request.token_ids[start:end]))
            at = end
        return [*messages, self._message("user", request.token_ids[at:])]

    def _message(self, role: str, token_ids: Sequence[int]) -> Message:
        return {"role": role, "content": self.tokenizer.decode(token_ids).strip("\n")}


def side_by_side(call: Callable[[Item], Result], items: Sequence[Item], at_once: int) -> list[Result]:
    """Calls for each item, at most ``at_once`` at a time, and returns the results in order or raises a call's error.

    The threads are daemons, unlike a pool's: an interrupted program need not wait for requests under way.
    """
    results: list[Future[Result]] = [Future() for _ in items]
    waiting = deque(zip(results, items, strict=True))

    def work() -> None:
        with suppress(IndexError):
            while True:
                _fulfil(call, *waiting.popleft())

    for _ in range(min(at_once, len(items))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for result in wait(results, return_when=FIRST_EXCEPTION).done:
            result.result()  # raises the call's error, if there was one
        return [result.result() for result in results]
    finally:
        waiting.clear()


def _fulfil(call: Callable[[Item], Result], result: Future[Result], item: Item) -> None:
    try:
        result.set_result(call(item))
    except Exception as error:
        result.set_exception(error)


def as_written(text: str, reason: str, stop: Iterable[str]) -> tuple[str, Finish]:
    """The completion as the model wrote it: up to its first stop string, which most servers cut off.

    >>> as_written("<think>Two.</think><search>Chad", "stop", ("</search>", "</answer>"))
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
