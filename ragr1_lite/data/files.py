"""Question and trajectory files: JSON lines, plain or gzip'd.

A question line: ``{"question": "…", "answers": ["…"]}``, with ``id`` and ``kind`` where the set has them (``answer``,
``golden_answers`` and ``type`` are read too). A trajectory line (a *record*) is the same and the turns with their
passages; it holds text and no ids, so that it fits every tokenizer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.core import Example, Passage, Trajectory
from ragr1_lite.errors import DataError
from ragr1_lite.events import Report, ignore
from ragr1_lite.jsonlines import BadLine, read_rows
from ragr1_lite.plans import GoldPlan, Step
from ragr1_lite.runs import write_atomic

QUESTION_FORM = 'A line of a question file looks like {"question": "…", "answers": ["…"]}.'
RECORD_FORM = "Trajectory files are written by `ragr1-lite data generate` and `ragr1-lite eval --out`."


@dataclass(frozen=True, slots=True)
class Record:
    """A trajectory as text.

    Attributes:
        example: The question.
        plan: What the model said, as a plan that can be replayed.
        passages: What each search of the plan found, one tuple per query.
    """

    example: Example
    plan: GoldPlan
    passages: tuple[tuple[tuple[Passage, ...], ...], ...]


def read_questions(
    path: Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    kinds: Collection[str] | None = None,
    report: Report = ignore,
) -> list[Example]:
    """Reads a question file, or only its questions of some kinds; with ``limit`` a random draw of them.

    Raises:
        DataError: The file is missing, of another form, or has no question.
    """
    rows = read_rows(path, parse_question, QUESTION_FORM, report)
    examples = [example for example in rows if kinds is None or example.kind in kinds]
    return examples if limit is None else random.Random(seed).sample(examples, min(limit, len(examples)))


def parse_question(row: dict[str, Any], number: int) -> Example:
    """The example of a row.

    Raises:
        BadLine: The row has no question or no answer.
    """
    question = row.get("question")
    answers = next((row[key] for key in ("answers", "golden_answers", "answer") if row.get(key) is not None), None)
    if isinstance(answers, str):
        answers = [answers]
    if not isinstance(question, str) or not question.strip():
        raise BadLine("has no `question`")
    if not isinstance(answers, list) or not answers or not all(isinstance(a, str) and a.strip() for a in answers):
        raise BadLine("has no `answers`, a list of strings")
    kind = row.get("kind") or row.get("type") or ""
    id = row.get("id")
    return Example(str(number if id is None else id), question.strip(), tuple(answers), str(kind))


def write_records(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """Writes trajectories as records, one a line, atomically."""
    write_atomic(path, "".join(json.dumps(to_record(one), ensure_ascii=False) + "\n" for one in trajectories))


def to_record(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory as text: the question, each turn's thought, queries and passages, the answer, why it ended."""
    example = trajectory.example
    return {
        "id": example.id,
        "question": example.question,
        "answers": list(example.answers),
        "kind": example.kind,
        "answer": trajectory.answer,
        "stop_reason": trajectory.stop_reason,
        "turns": [
            {
                "kind": turn.kind,
                "think": turn.think,
                "queries": list(turn.queries),
                "passages": [[asdict(passage) for passage in found] for found in turn.passages],
            }
            for turn in trajectory.turns
        ],
    }


def read_records(path: Path, *, limit: int | None = None, report: Report = ignore) -> list[Record]:
    """Reads the answered trajectories of a file, at most ``limit``; the others taught nothing.

    Raises:
        DataError: The file is missing, of another form, or has no answered trajectory.
    """
    records = [record for record in read_rows(path, _parse_record, RECORD_FORM, report) if record is not None]
    if not records:
        raise DataError(f"No trajectory in {path} ends in an answer", "Generate others, or use another file.")
    return records[:limit]


def _parse_record(row: dict[str, Any], number: int) -> Record | None:
    example = parse_question({**row, "answer": None}, number)
    try:
        turns = row["turns"]
        searches = [turn for turn in turns if turn["kind"] == "search"]
        if row["answer"] is None or [turn["kind"] for turn in turns[len(searches) :]] != ["answer"]:
            return None
        steps = tuple(Step(turn["think"], tuple(turn["queries"])) for turn in searches)
        passages = tuple(
            tuple(tuple(Passage(**passage) for passage in found) for found in turn["passages"]) for turn in searches
        )
        return Record(example, GoldPlan(steps, turns[-1]["think"], row["answer"]), passages)
    except (KeyError, TypeError) as error:
        raise BadLine(f"is no trajectory ({error})") from None
