"""Trajectories as the page's script takes them: by question, each passage once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ragr1_lite.evaluation.report.reading import Evaluated

_KEPT = ("answer", "stop_reason", "cause", "seconds", "em", "f1", "rounds", "queries", "segments")
_SCORE_DIGITS = 2


def pack(evaluations: Sequence[Evaluated]) -> dict[str, Any]:
    """The questions of all evaluations, with what became of them in each.

    Returns:
        ``evaluations``, their names; ``passages``, ``[title, text]`` each; ``questions``, each with its ``tries``: one
        for each evaluation, null where that one was not asked it. What a query found is ``[passage's number, score]``.
    """
    table = _Passages()
    questions: dict[tuple[str, str], dict[str, Any]] = {}
    for number, evaluation in enumerate(evaluations):
        for row in evaluation.rows:
            question = questions.setdefault((row["id"], row["question"]), _question(row, len(evaluations)))
            question["tries"][number] = _try(row, table)
    return {
        "evaluations": [one.name for one in evaluations],
        "passages": table.passages,
        "questions": list(questions.values()),
    }


def _question(row: Mapping[str, Any], tries: int) -> dict[str, Any]:
    known = {"id": row["id"], "question": row["question"], "answers": row["answers"], "kind": row.get("kind") or ""}
    return {**known, "titles": row.get("gold_titles") or [], "tries": [None] * tries}


class _Passages:
    """Every passage once, as far as the model saw it, by its number."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}

    @property
    def passages(self) -> list[tuple[str, str]]:
        """Titles and texts, in the order of their numbers."""
        return list(self._numbers)

    def found(self, passage: Mapping[str, Any]) -> list[float]:
        """Its number, a new one where it was not seen before, and its score."""
        text = passage.get("shown", passage["text"])
        number = self._numbers.setdefault((passage["title"], text), len(self._numbers))
        return [number, _rounded(passage.get("score"))]


def _rounded(score: float | None) -> float:
    return round(score, _SCORE_DIGITS) if score is not None and math.isfinite(score) else 0.0


def _try(row: Mapping[str, Any], table: _Passages) -> dict[str, Any]:
    known = {name: row[name] for name in _KEPT if row[name] is not None}
    return {**known, "turns": [_turn(turn, table) for turn in row["turns"]]}


def _turn(turn: Mapping[str, Any], table: _Passages) -> dict[str, Any]:
    parts = {
        "think": turn["think"],
        "queries": turn.get("queries"),
        "found": [[table.found(passage) for passage in found] for found in turn.get("passages") or ()],
    }
    return {"kind": turn["kind"]} | {name: value for name, value in parts.items() if value}
