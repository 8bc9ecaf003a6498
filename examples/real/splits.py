"""The questions of the tables in docs/results.md, by lists of their ids, and what is kept apart from those that test.

    python examples/real/splits.py questions DATA QUESTIONS     a question file for each list in splits/
    python examples/real/splits.py mix QUESTIONS OUT FILE...    the rows of the files, shuffled, without those that leak
    python examples/real/splits.py corpus OUT FILE...           the passages of several corpora as one

A row leaks where it asks a test question, or where its gold passages are those of a test question: all of one side's,
if they are two or more.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

SPLITS = Path(__file__).parent / "splits"
FILES = {
    "hotpotqa-train": "hotpotqa_train",
    "hotpotqa-test": "hotpotqa_dev",
    "hotpotqa-test-200": "hotpotqa_dev",
    "2wiki-train": "2wiki_train",
    "2wiki-test": "2wiki_train",
    "musique-train": "musique_train",
    "musique-test": "musique_train",
}
"""The file in DATA that each list draws from; a list's name is its own file's."""

Row = dict[str, Any]


def read(path: Path) -> Iterator[Row]:
    """The rows of a JSON-lines file, plain or gzip'd."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def write(path: Path, rows: Iterable[Row]) -> int:
    """Writes rows, all or none; says how many."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}")
    half.write_text("".join(lines), encoding="utf-8")
    half.replace(path)
    return len(lines)


def ids(split: str) -> list[str]:
    """The ids of a list."""
    return (SPLITS / f"{split}.txt").read_text(encoding="utf-8").split()


def split_rows(data: Path) -> dict[str, list[Row]]:
    """The questions of each list."""
    known = {name: {str(row["id"]): row for row in read(data / f"{name}.jsonl.gz")} for name in set(FILES.values())}
    return {split: [known[name][id] for id in ids(split)] for split, name in FILES.items()}


class HeldOut:
    """Test questions, from which training is kept apart."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._gold: list[frozenset[str]] = []
        self._asked: set[str] = set()
        for row in rows:
            self._gold.append(frozenset(row["gold_titles"]))
            self._asked.add(self._words(row["question"]))

    def leak(self, row: Row) -> bool:
        """Whether a row for training asks a test question, or one about the same passages."""
        gold = frozenset(row.get("gold_titles") or ())
        return self._words(row["question"]) in self._asked or any(
            gold == test or (shared := gold & test) in (gold, test) and len(shared) > 1 for test in self._gold if gold
        )

    @staticmethod
    def _words(question: str) -> str:
        return " ".join(question.casefold().split())


def questions(data: Path, out: Path) -> None:
    """Writes the questions of each list, where those for training do not leak."""
    splits = split_rows(data)
    tests = HeldOut(row for split, rows in splits.items() if split.endswith("-test") for row in rows)
    for split, rows in splits.items():
        if split.endswith("-train") and (leaks := [row["id"] for row in rows if tests.leak(row)]):
            raise SystemExit(f"{split} leaks: {', '.join(leaks)}")
        print(f"{out / split}.jsonl: {write(out / f'{split}.jsonl', rows)} questions")


def mix(tests: Path, out: Path, *files: Path) -> None:
    """Writes the rows of the files that do not leak, in an order drawn by a seed."""
    known = HeldOut(row for split in FILES if split.endswith("-test") for row in read(tests / f"{split}.jsonl"))
    rows = [row for file in files for row in read(file)]
    kept = [row for row in rows if not known.leak(row)]
    random.Random(0).shuffle(kept)
    print(f"{out}: {write(out, kept)} rows; {len(rows) - len(kept)} left out, as they leak")


def corpus(out: Path, *files: Path) -> None:
    """Writes the passages of several corpora, each once and without an id: those of two corpora may be the same."""
    passages = dict.fromkeys((row["title"], row["text"]) for file in files for row in read(file))
    print(f"{out}: {write(out, ({'title': title, 'text': text} for title, text in passages))} passages")


def comparisons(out: Path, *files: Path) -> None:
    """Writes the comparisons of files, in their order."""
    rows = [row for file in files for row in read(file) if row["kind"] == "comparison"]
    print(f"{out}: {write(out, rows)} rows")


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {one.__name__: one for one in (questions, mix, corpus, comparisons)}
    commands[sys.argv[1]](*map(Path, sys.argv[2:]))
