"""Questions one after the other, each streamed as server-sent events while it is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ragr1_lite.assistant import Answer, Assistant
from ragr1_lite.core.errors import RagR1Error
from ragr1_lite.core.events import Notice, Report, Searched, TextSampled
from ragr1_lite.core.safe_text import clean
from ragr1_lite.core.types import Mode, Passage
from ragr1_lite.serving.engine import Engine
from ragr1_lite.ui.text import one_line, title_of, to_json
from ragr1_lite.ui.turns import NO_ANSWER, REFUSED, cited, costs, last_thought, read_partial

LONGEST = 8
"""Questions that may wait, the one that is being answered included."""


class AnswerQueue:
    """Answers one question at a time, in the order in which they came."""

    def __init__(self, assistant: Assistant, report: Report) -> None:
        self._engine, self._report = Engine(assistant, rows=1, most=LONGEST, report=report), report

    @property
    def full(self) -> bool:
        """Whether another question would wait too long."""
        return self._engine.full

    async def events(self, question: str, mode: Mode) -> AsyncIterator[bytes]:
        """Answers a question; closing the iterator stops it at the next token.

        Yields:
            Server-sent events, their data as JSON: ``waiting`` where another question comes first; ``text`` with
            ``{"think", "action", "content"}``, the whole turn so far; ``search`` with ``{"think", "queries",
            "passages": [[{"title", "score", "text"}]]}``; at the end ``answer``, :meth:`Answer.to_json` with the last
            ``think``, the ``reason`` where there is no answer, ``figures``, ``cited``, ``[{"text", "url"}]``, and
            ``held``, whether these hold the answer; or ``error`` with ``{"detail"}``. A refusal is no answer here.
        """
        text = ""
        try:
            with self._engine.ask(question, mode) as asked:
                if asked.waits:
                    yield _event("waiting", {})
                async for event in asked:
                    match event:
                        case TextSampled(text=more):
                            text += more
                            yield _event("text", read_partial(text)._asdict())
                        case Searched():
                            yield _event("search", {"think": read_partial(text).think} | _found(event))
                            text = ""
                        case Answer():
                            yield _event("answer", _shown(event))
        except RagR1Error as error:
            yield _event("error", {"detail": str(error)})
        except Exception as error:
            self._report(Notice(f"An answer failed: {type(error).__name__}: {error}", "warning"))
            yield _event("error", {"detail": "The answer failed; the command's own messages say why."})


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {to_json(data)}\n\n".encode()


def _found(event: Searched) -> dict[str, Any]:
    found = [[_passage(passage) for passage in one] for one in event.passages]
    return {"queries": [one_line(query) for query in event.queries], "passages": found}


def _passage(passage: Passage) -> dict[str, Any]:
    return {"title": title_of(passage), "score": round(passage.score, 2), "text": clean(passage.text)}


def _shown(answer: Answer) -> dict[str, Any]:
    return answer.to_json() | {
        **({"answer": None} if answer.refused else {}),
        "think": last_thought(answer.trajectory),
        "reason": REFUSED if answer.refused else NO_ANSWER[answer.trajectory.stop_reason],
        "figures": costs(answer),
        "cited": cited(answer),
        "held": answer.held,
    }
