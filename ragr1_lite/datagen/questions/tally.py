"""What became of the questions that were made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ragr1_lite.files.journal import Rows


@dataclass(slots=True)
class Tally:
    """What was kept, and what became of the rest.

    Attributes:
        limit: So many are enough.
        passages: Read.
        facts: Read.
        questions: Made, those turned down among them.
        kept: The rows of the questions.
        rejected: How many fell, by reason.
    """

    limit: int | None = None
    passages: int = 0
    facts: int = 0
    questions: int = 0
    kept: list[dict[str, Any]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    _ids: set[str] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether there are enough."""
        return self.limit is not None and len(self.kept) >= self.limit

    def take(self, rows: Rows) -> None:
        """Counts the rows of a piece, until there are enough; a question that was kept already is a duplicate."""
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
