"""Questions one after the other, each streamed as server-sent events while it is answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from ragr1_lite.assistant import Answer, Assistant
from ragr1_lite.core.errors import RagR1Error
from ragr1_lite.core.events import Notice, Report, RolloutFinished, Searched, TextSampled
from ragr1_lite.core.safe_text import clean
from ragr1_lite.core.types import Mode, Passage
from ragr1_lite.ui.text import one_line, title_of, to_json
from ragr1_lite.ui.turns import NO_ANSWER, cited, costs, last_thought, read_partial

LONGEST = 8
"""Questions that may wait, the one that is being answered included."""

_Send = Callable[[str, Any], None]
"""``send(name, data)`` sends an event to the browser."""


class _Stopped(Exception):
    """Nobody waits for the answer any more."""


class AnswerQueue:
    """Answers one question at a time, in the order in which they came."""

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
            ``think``, the ``reason`` where there is no answer, ``figures``, ``cited``, ``[{"text", "url"}]``, and
            ``held``, whether these hold the answer; or ``error`` with ``{"detail"}``.
        """
        events: asyncio.Queue[bytes] = asyncio.Queue()
        loop, stopped = asyncio.get_running_loop(), threading.Event()

        def send(name: str, data: Any) -> None:
            loop.call_soon_threadsafe(events.put_nowait, f"event: {name}\ndata: {to_json(data)}\n\n".encode())

        if self._tasks:
            send("waiting", {})
        task = asyncio.create_task(self._answer(question, mode, send, stopped))
        task.add_done_callback(lambda _: events.put_nowait(b""))
        task.add_done_callback(self._tasks.discard)
        self._tasks.add(task)
        self._asking += 1
        try:
            while event := await events.get():
                yield event
        finally:
            self._asking -= 1
            stopped.set()

    async def _answer(self, question: str, mode: Mode, send: _Send, stopped: threading.Event) -> None:
        """Answers in turn; the next one begins when the model has stopped, even if nobody reads this answer."""
        async with self._free:
            if stopped.is_set():
                return
            try:
                report = _reporter(send, stopped, self._report)
                send("answer", _shown(await asyncio.to_thread(self._assistant.with_mode(mode).ask, question, report)))
            except _Stopped:
                return
            except RagR1Error as error:
                send("error", {"detail": str(error)})
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                self._report(Notice(f"An answer failed: {reason}", "warning"))
                send("error", {"detail": f"The answer failed: {one_line(reason)}"})


def _reporter(send: _Send, stopped: threading.Event, others: Report) -> Report:
    """Sends the events of one question; raises :class:`_Stopped` when nobody reads them."""
    text = ""

    def report(event: object) -> None:
        nonlocal text
        if stopped.is_set():
            raise _Stopped
        match event:
            case TextSampled(text=more):
                text += more
                send("text", read_partial(text)._asdict())
            case Searched(queries=queries, passages=passages):
                found = [[_passage(passage) for passage in one] for one in passages]
                queries = tuple(one_line(query) for query in queries)
                send("search", {"think": read_partial(text).think, "queries": queries, "passages": found})
                text = ""
            case RolloutFinished():
                pass
            case _:
                others(event)

    return report


def _passage(passage: Passage) -> dict[str, Any]:
    return {"title": title_of(passage), "score": round(passage.score, 2), "text": clean(passage.text)}


def _shown(answer: Answer) -> dict[str, Any]:
    return answer.to_json() | {
        "think": last_thought(answer.trajectory),
        "reason": NO_ANSWER[answer.trajectory.stop_reason],
        "figures": costs(answer),
        "cited": cited(answer),
        "held": answer.held,
    }
