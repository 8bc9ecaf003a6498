"""Questions answered side by side, in one batch that each joins and leaves between two turns."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from types import TracebackType

from ragr1_lite.assistant import Answer, Assistant, TimedSearcher
from ragr1_lite.core.errors import RagR1Error
from ragr1_lite.core.events import Report, RolloutFinished, Searched, TextSampled, ignore
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Rollouts, Row, session_of
from ragr1_lite.core.types import Example, Mode

_WINDOW = 0.01
"""Seconds in which the first question waits for others that come with it: they begin together."""


class Full(RagR1Error):
    """As many questions wait as may."""


class TooLate(RagR1Error):
    """An answer took longer than it may."""


class Stopping(RagR1Error):
    """The server ends before the answer."""


@dataclass(eq=False)
class Asked:
    """A question in the engine. Its events are read in a block, and when that is left its row is free.

    ::

        with engine.ask("Which is larger?") as asked:
            async for event in asked:
                ...  # TextSampled and Searched, at last an Answer

    Iterating raises TooLate, Stopping, and whatever went wrong while the question was answered.

    Attributes:
        question: What is asked.
        protocol: By which rules.
        waits: Whether others come first.
        end: When it is too late, by the clock of the event loop.
        stopped: Nobody waits for the answer any more.
        began: When its first turn began.
        searched: How long the engine had searched until then.
    """

    question: str
    protocol: Protocol
    waits: bool
    end: float | None
    stopped: bool = False
    began: float = 0.0
    searched: float = 0.0
    _events: asyncio.Queue[object] = field(default_factory=asyncio.Queue)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __enter__(self) -> Asked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopped = True

    async def __aiter__(self) -> AsyncIterator[object]:
        while True:
            try:
                async with asyncio.timeout_at(self.end):
                    event = await self._events.get()
            except TimeoutError:
                raise TooLate("The answer took too long", "Ask again when the server has less to do.") from None
            if isinstance(event, Exception):
                raise event
            yield event
            if isinstance(event, Answer):
                return

    def wanted(self) -> bool:
        """Whether somebody waits for the answer."""
        return not self.stopped

    def send(self, event: object) -> None:
        """Hands an event from the engine's thread to whoever waits."""
        if self.wanted():
            with suppress(RuntimeError):  # their event loop has ended
                self._loop.call_soon_threadsafe(self._events.put_nowait, event)


class Engine:
    """An assistant that answers several questions at a time.

    A thread works while there are questions. Before each turn it drops those that nobody waits for any more and takes
    in those that wait; then all are sampled in one call and their queries searched in another.

    Args:
        assistant: What answers.
        rows: Questions answered side by side, at most; all of one mode: those of another wait for the last to end.
        most: Questions in the engine, those that wait included.
        timeout: Seconds that an answer may take, from when it is asked.
        report: Receives what concerns no single question.
    """

    def __init__(
        self,
        assistant: Assistant,
        *,
        rows: int,
        most: int,
        timeout: float | None = None,
        report: Report = ignore,
    ) -> None:
        self._assistant, self._searcher = assistant, TimedSearcher(assistant.searcher)
        self._rows, self._most, self._timeout, self._report = rows, most, timeout, report
        self._lock = threading.Lock()
        self._waiting: deque[Asked] = deque()
        self._live: dict[int, Asked] = {}
        self._protocol = assistant.protocol
        self._thread: threading.Thread | None = None

    @property
    def asked(self) -> int:
        """Questions that somebody waits for."""
        with self._lock:
            return self._count()

    @property
    def full(self) -> bool:
        """Whether another question would be refused."""
        return self.asked >= self._most

    def ask(self, question: str, mode: Mode | None = None) -> Asked:
        """Puts a question in, from an event loop; without a mode it has the assistant's.

        Raises:
            Full: Too many wait.
            ConfigError: The assistant cannot be asked in this mode.
        """
        assistant = self._assistant.with_mode(mode) if mode else self._assistant
        protocol = replace(assistant.protocol, free_text=True)
        with self._lock:
            before = self._count()
            if before >= self._most:
                raise Full("Too many questions are waiting", "Ask again when one is answered.")
            end = asyncio.get_running_loop().time() + self._timeout if self._timeout else None
            asked = Asked(question, protocol, before >= self._rows, end)
            self._waiting.append(asked)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="engine")
                self._thread.start()
        return asked

    def stop(self) -> None:
        """Drops every question; whoever waits for an answer learns why there is none."""
        with self._lock:
            for asked in (*self._waiting, *self._live.values()):
                asked.send(Stopping("The server was stopped", "Ask again when it is back."))
                asked.stopped = True

    def close(self) -> None:
        """Drops every question and waits until the thread has noticed."""
        self.stop()
        with self._lock:
            thread = self._thread
        if thread:
            thread.join()

    def _count(self) -> int:
        return sum(1 for asked in (*self._waiting, *self._live.values()) if asked.wanted())

    def _work(self) -> None:
        """Answers until nobody waits. The sampler's session ends with the last question, so its memory is free then."""
        time.sleep(_WINDOW)
        while True:
            try:
                with session_of(self._assistant.sampler):
                    self._answer()
            except Exception as error:
                for asked in self._live.values():
                    asked.send(error)
            with self._lock:
                self._live = {}
                if not self._waiting:
                    self._thread = None
                    return

    def _answer(self) -> None:
        """Turn by turn, until no question is left."""
        rows: list[Row] = []
        while True:
            rows = [row for row in rows if self._live[row.index].wanted()]
            joining = self._join(rows)
            if not rows and not joining:
                return
            protocol, limits = self._protocol, self._assistant.limits
            rollouts = Rollouts(self._assistant.sampler, self._searcher, protocol, limits, self._pass_on)
            rows += rollouts.open(joining)
            if rows:
                rows = rollouts.turn(rows)

    def _join(self, rows: Sequence[Row]) -> list[Row]:
        """Takes in as many questions as there is room for, next to the rows under way."""
        joining: list[Row] = []
        with self._lock:
            self._live = {row.index: self._live[row.index] for row in rows}
            while self._waiting and len(self._live) < self._rows:
                asked = self._waiting[0]
                if asked.wanted() and self._live and asked.protocol != self._protocol:
                    break
                self._waiting.popleft()
                if asked.wanted():
                    # The lowest free number: what the sampler still holds of its last row may begin alike.
                    index = next(number for number in count() if number not in self._live)
                    self._live[index], self._protocol = asked, asked.protocol
                    asked.began, asked.searched = time.perf_counter(), self._searcher.seconds
                    tokens = self._assistant.limits.total_document_tokens
                    joining.append(Row(index, Example("question", asked.question, ()), tokens, asked.wanted))
        return joining

    def _pass_on(self, event: object) -> None:
        """Hands an event to the question it is about."""
        match event:
            case TextSampled(row=row) | Searched(row=row):
                self._live[row].send(event)
            case RolloutFinished(row=row, trajectory=trajectory):
                asked = self._live[row]
                seconds, searching = time.perf_counter() - asked.began, self._searcher.seconds - asked.searched
                assistant = self._assistant.with_mode(asked.protocol.mode)
                asked.send(assistant.answered(trajectory, seconds, searching, self._report))
            case _:
                self._report(event)
