"""A question of a set, with what the set says about how it is answered, and the row it is written as."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ragr1_lite.core.types import Example


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a decomposed question, as MuSiQue has them; ``title`` names the passage with the answer, if known.

    In the question ``#1`` stands for the answer of the first hop, ``#2`` for the second's.
    """

    question: str
    answer: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """An example, and what its set says about a perfect run; empty where it says nothing.

    ``hops`` are the decomposition, in order; ``triples`` subject, relation and object, as 2WikiMultiHopQA has them.
    """

    example: Example
    hops: tuple[Hop, ...] = ()
    triples: tuple[tuple[str, str, str], ...] = ()


def to_row(question: Question) -> dict[str, Any]:
    """The question as a row of JSON, which is read back equal.

    Returns:
        ``{"id", "question", "answers", "kind", "hops", "pass_rate"}``, and where known ``gold_titles``,
        ``question_decomposition`` and ``evidences``, in the forms of HotpotQA, MuSiQue and 2WikiMultiHopQA.
    """
    row = asdict(question.example) | {"answers": list(question.example.answers)}
    del row["hidden"]  # a training's or an evaluation's own doing
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
