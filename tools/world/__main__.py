"""Writes the files of ``ragr1_lite/world``: ``python -m tools.world [FOLDER]``."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ragr1_lite.world
from ragr1_lite.core.types import Step
from ragr1_lite.world import SPLITS, WorldQuestion
from tools.world.passages import passages
from tools.world.questions import every_question


def main(folder: Path) -> None:
    """Writes every file into a folder that exists."""
    rows = ({"id": one.id, "title": one.title, "text": one.text} for one in passages())
    _write(folder / "passages.jsonl.gz", rows)
    for split in SPLITS:
        _write(folder / f"{split}.jsonl.gz", map(_row, every_question(split)))


def _row(question: WorldQuestion) -> dict[str, Any]:
    """A question as its line holds it; ``single`` is left out where it is ``multi``."""
    example = question.example
    row = {
        "id": example.id,
        "kind": example.kind,
        "hops": example.hops,
        "question": example.question,
        "answers": example.answers,
        "titles": example.titles,
        "searches": [{"query": search.query, "passages": search.passages} for search in question.searches],
        "think": question.multi.think,
        "multi": _steps(question.multi.steps),
    }
    return row if question.single == question.multi else row | {"single": _steps(question.single.steps)}


def _steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [{"think": step.think, "queries": step.queries} for step in steps]


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ragr1_lite.world.__path__[0]))
