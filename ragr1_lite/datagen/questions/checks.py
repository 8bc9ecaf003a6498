"""What every question must pass: its passages are found again, and it is not answered without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ragr1_lite.core.types import Passage, Searcher
from ragr1_lite.data.questions import to_row
from ragr1_lite.datagen.questions.facts import holds
from ragr1_lite.datagen.questions.rules import Made, Sought
from ragr1_lite.datagen.questions.teacher import Asker
from ragr1_lite.files.journal import Rows


def judge(made: Sequence[Made | str], searcher: Searcher, k: int, asker: Asker | None) -> Rows:
    """A row per question, in order: ``{"question": …}`` as question files have it, or ``{"rejected": reason}``.

    The searcher has to find each question's passages among ``k`` per query. A teacher, if there is one, must not know
    the answers, and must find them in the passages.
    """
    questions = [one for one in made if isinstance(one, Made)]
    results = iter(searcher.search([sought.query for one in questions for sought in one.sought], k))
    found = [[next(results) for _ in one.sought] for one in questions]
    reasons = [
        "" if all(map(_is_among, one.sought, passages)) else "passage not found again"
        for one, passages in zip(questions, found, strict=True)
    ]
    if asker is not None:
        left = [number for number, reason in enumerate(reasons) if not reason]
        for number, reply in zip(left, asker.answer_unread([_text(questions[one]) for one in left]), strict=True):
            reasons[number] = "known without reading" if _answers(questions[number], reply) else ""
        left = [number for number in left if not reasons[number]]
        documents = [[*dict.fromkeys(passage for each in found[one] for passage in each)] for one in left]
        replies = asker.answer_read([_text(questions[one]) for one in left], documents)
        for number, reply in zip(left, replies, strict=True):
            reasons[number] = "" if _answers(questions[number], reply) else "not answered from what is found"
    rows = iter(
        {"rejected": reason} if reason else {"question": to_row(one.question)}
        for one, reason in zip(questions, reasons, strict=True)
    )
    return [{"rejected": one} if isinstance(one, str) else next(rows) for one in made]


def _is_among(sought: Sought, found: Sequence[Passage]) -> bool:
    titled = [passage for passage in found if passage.title == sought.title]
    return any(not sought.forms or holds(passage.text, sought.forms) for passage in titled)


def _text(made: Made) -> str:
    return made.question.example.question


def _answers(made: Made, reply: str) -> bool:
    return holds(reply, made.question.example.answers)


@dataclass(slots=True)
class Tally:
    """What became of passages, facts and questions; no more than ``limit`` questions are kept."""

    limit: int | None = None
    passages: int = 0
    facts: int = 0
    questions: int = 0
    kept: list[dict[str, Any]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    _ids: set[str] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether there are enough questions."""
        return self.limit is not None and len(self.kept) >= self.limit

    def take(self, rows: Rows) -> None:
        """Counts rows of :func:`judge` until there are enough; a question that was kept already is a duplicate."""
        for row in rows:
            if self.full:
                return
            self.questions += 1
            question = row.get("question")
            if question is None or question["id"] in self._ids:
                self.rejected[row.get("rejected", "duplicate")] += 1
                continue
            self._ids.add(question["id"])
            self.kept.append(question)

    def to_json(self) -> dict[str, Any]:
        """The counts."""
        return {
            "passages": self.passages,
            "facts": self.facts,
            "questions": self.questions,
            "kept": len(self.kept),
            "rejected": dict(self.rejected.most_common()),
            "by_kind": dict(Counter(row["kind"] for row in self.kept)),
        }
