"""Questions one after the other, each told as server-sent events while it is answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from ragr1_lite.assistant import Answer, Assistant
from ragr1_lite.core.errors import RagR1Error
from ragr1_lite.core.events import Notice, Report, RolloutFinished, Searched, TextSampled
from ragr1_lite.core.types import Mode, Passage
from ragr1_lite.ui.text import clean, one_line, title_of, to_json
from ragr1_lite.ui.turns import NO_ANSWER, costs, last_thought, read_partial

LONGEST = 8
"""Questions that may wait, the one that is being answered included."""

Say = Callable[[str, Any], None]
"""``say(name, data)`` tells an event to who asked."""


class Stopped(Exception):
    """Nobody waits for the answer any more."""


class Line:
    """Answers one question at a time, in the order in which they came.

    Args:
        assistant: Answers.
        report: Receives what is not of a question, such as warnings.
    """

    def __init__(self, assistant: Assistant, report: Report) -> None:
        self._assistant, self._report = assistant, report
        self._free = asyncio.Lock()
        self._asking = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        """Whether another question would wait too long."""
        return self._asking >= LONGEST

    async def events(self, question: str, mode: Mode) -> AsyncIterator[bytes]:
        """Answers a question; closing the iterator stops it at the next token.

        Yields:
            Server-sent events, their data as JSON: ``waiting`` where another question comes first; ``text`` with
            ``{"think", "action", "content"}``, the whole turn so far; ``search`` with ``{"think", "queries",
            "passages": [[{"title", "score", "text"}]]}``; at the end ``answer``, :meth:`Answer.to_json` with the last
            ``think``, the ``reason`` where there is no answer, and ``figures``; or ``error`` with ``{"detail"}``.
        """
        told: asyncio.Queue[bytes] = asyncio.Queue()
        loop, stopped = asyncio.get_running_loop(), threading.Event()

        def say(name: str, data: Any) -> None:
            loop.call_soon_threadsafe(told.put_nowait, f"event: {name}\ndata: {to_json(data)}\n\n".encode())

        if self._tasks:
            say("waiting", {})
        task = asyncio.create_task(self._answer(question, mode, say, stopped))
        task.add_done_callback(lambda _: told.put_nowait(b""))
        task.add_done_callback(self._tasks.discard)
        self._tasks.add(task)
        self._asking += 1
        try:
            while piece := await told.get():
                yield piece
        finally:
            self._asking -= 1
            stopped.set()

    async def _answer(self, question: str, mode: Mode, say: Say, stopped: threading.Event) -> None:
        """Answers when the line is free, and keeps it until the model is at rest, whoever has gone meanwhile."""
        async with self._free:
            if stopped.is_set():
                return
            try:
                assistant = self._assistant.with_mode(mode)
                teller = _Teller(say, stopped, self._report)
                say("answer", _answered(await asyncio.to_thread(assistant.ask, question, teller)))
            except Stopped:
                return
            except RagR1Error as error:
                say("error", {"detail": str(error)})
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                self._report(Notice(f"An answer failed: {reason}", "warning"))
                say("error", {"detail": f"The answer failed: {one_line(reason)}"})


class _Teller:
    """The report of one question: tells its events, until nobody listens."""

    def __init__(self, say: Say, stopped: threading.Event, report: Report) -> None:
        self._say, self._stopped, self._report = say, stopped, report
        self._text = ""

    def __call__(self, event: object) -> None:
        """Tells an event.

        Raises:
            Stopped: Nobody listens.
        """
        if self._stopped.is_set():
            raise Stopped
        match event:
            case TextSampled(text=text):
                self._text += text
                self._say("text", read_partial(self._text)._asdict())
            case Searched(queries=queries, passages=passages):
                found = [[_shown(passage) for passage in one] for one in passages]
                queries = tuple(one_line(query) for query in queries)
                self._say("search", {"think": read_partial(self._text).think, "queries": queries, "passages": found})
                self._text = ""
            case RolloutFinished():
                pass
            case _:
                self._report(event)


def _shown(passage: Passage) -> dict[str, Any]:
    return {"title": title_of(passage), "score": round(passage.score, 2), "text": clean(passage.text)}


def _answered(answer: Answer) -> dict[str, Any]:
    trajectory = answer.trajectory
    return answer.to_json() | {
        "think": last_thought(trajectory),
        "reason": NO_ANSWER[trajectory.stop_reason],
        "figures": costs(answer),
    }
