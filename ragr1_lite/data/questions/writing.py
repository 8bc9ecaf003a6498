"""Writes questions, as rows that are read back equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from ragr1_lite.data.questions.question import Question


def to_row(question: Question) -> dict[str, Any]:
    """The question as a row of JSON.

    Returns:
        ``{"id", "question", "answers", "kind", "hops", "pass_rate"}``, and where known ``gold_titles``,
        ``question_decomposition`` and ``evidences``, in the forms of HotpotQA, MuSiQue and 2WikiMultiHopQA.
    """
    row = asdict(question.example) | {"answers": list(question.example.answers)}
    known = {
        "gold_titles": list(row.pop("titles")),
        "question_decomposition": [asdict(hop) for hop in question.hops],
        "evidences": [list(triple) for triple in question.triples],
    }
    return row | {key: value for key, value in known.items() if value}


def digest(questions: Iterable[Question]) -> str:
    """A name for these questions in this order, wherever they were read from."""
    lines = "\n".join(json.dumps(to_row(question)) for question in questions)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]
