"""Trajectories as the page's script takes them: by question, each passage once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ragr1_lite.evaluation.report.reading import Evaluated

_KEPT = ("answer", "read_by", "stop_reason", "cause", "seconds", "em", "f1", "rounds", "queries", "segments")
_SCORE_DIGITS = 2
_Numbers = dict[tuple[str, str], int]
"""Of each passage, by its title and what the model saw of its text."""


def pack(evaluations: Sequence[Evaluated]) -> dict[str, Any]:
    """The questions of all evaluations, with the answer of each.

    Returns:
        ``evaluations``, their names; ``passages``, ``[title, text]`` each; ``questions``, each with its ``tries``: one
        for each evaluation, null where that one was not asked it. What a query found is ``[passage's number, score]``.
    """
    numbers: _Numbers = {}
    questions: dict[tuple[str, str], dict[str, Any]] = {}
    for number, evaluation in enumerate(evaluations):
        for row in evaluation.rows:
            question = questions.setdefault((row["id"], row["question"]), _question(row, len(evaluations)))
            question["tries"][number] = _try(row, numbers)
    return {
        "evaluations": [one.name for one in evaluations],
        "passages": list(numbers),
        "questions": list(questions.values()),
    }


def _question(row: Mapping[str, Any], tries: int) -> dict[str, Any]:
    known = {"id": row["id"], "question": row["question"], "answers": row["answers"], "kind": row.get("kind") or ""}
    return {**known, "titles": row.get("gold_titles") or [], "tries": [None] * tries}


def _try(row: Mapping[str, Any], numbers: _Numbers) -> dict[str, Any]:
    known = {name: row[name] for name in _KEPT if row.get(name) is not None}
    return {**known, "turns": [_turn(turn, numbers) for turn in row["turns"]]}


def _turn(turn: Mapping[str, Any], numbers: _Numbers) -> dict[str, Any]:
    parts = {
        "think": turn["think"],
        "queries": turn.get("queries"),
        "found": [[_found(passage, numbers) for passage in found] for found in turn.get("passages") or ()],
    }
    return {"kind": turn["kind"]} | {name: value for name, value in parts.items() if value}


def _found(passage: Mapping[str, Any], numbers: _Numbers) -> list[float]:
    """The passage's number, a new one where it was not seen before, and its score."""
    key, score = (passage["title"], passage.get("shown", passage["text"])), passage.get("score")
    shown = round(score, _SCORE_DIGITS) if score is not None and math.isfinite(score) else 0.0
    return [numbers.setdefault(key, len(numbers)), shown]
