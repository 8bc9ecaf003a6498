"""The log of answers: one line of JSON each, in a file of the user's, which nobody else may read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ragr1_lite.core.errors import RagR1Error
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.files.json_arrays import read_rows
from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.files.writing import json_text, writing

OFF = "off"
VARIABLE = "RAGR1_LITE_LOG"
_HINT = f"Free some space, name another file by {VARIABLE}, or leave the log out by --no-log."

Row = dict[str, Any]


class AnswerLog:
    """Answers, kept in the order in which they were given. Lines that are not whole are left out when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._broken = False

    @classmethod
    def of_user(cls) -> AnswerLog | None:
        """The log that ``RAGR1_LITE_LOG`` names, else the one in the user's data folder; ``off`` is none."""
        chosen = os.environ.get(VARIABLE)
        if chosen and chosen.lower() == OFF:
            return None
        base = os.environ.get("XDG_DATA_HOME")
        folder = (Path(base) if base else Path.home() / ".local" / "share") / "ragr1-lite"
        return cls(Path(chosen).expanduser() if chosen else folder / "answers.jsonl")

    def add(self, row: Mapping[str, Any], report: Report = ignore) -> None:
        """Adds an answer with its time; where it cannot be written, one warning says so, and no further one is tried.

        The answer is worth more than the log: nothing is raised.
        """
        if self._broken:
            return
        line = json_text({"time": datetime.now().astimezone().isoformat(timespec="seconds"), **row})
        try:
            with writing(self.path, _HINT):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
                with os.fdopen(descriptor, "r+b") as file:
                    if file.seek(0, os.SEEK_END):
                        file.seek(-1, os.SEEK_END)
                        if file.read(1) != b"\n":  # the disk was full in the middle of the last one
                            line = f"\n{line}"
                    file.write(f"{line}\n".encode("utf-8", "replace"))
        except RagR1Error as error:
            self._broken = True
            report(Notice(f"This answer is not in the log: {error}", "warning"))

    def read(self, words: Sequence[str] = (), report: Report = ignore) -> list[Row]:
        """The answers with their numbers, counted from 1; only those in whose question, answer or titles all words are.

        Raises:
            DataError: The file cannot be read, or is no log.
        """
        if not self.path.exists():
            return []
        rows = list(read_rows(self.path, _numbered, "A line is a JSON object with time, question and answer.", report))
        wanted = [word.casefold() for word in words]
        return [row for row in rows if all(word in _searched(row) for word in wanted)]

    def clear(self) -> None:
        """Removes the file; raises StorageError where that is not possible."""
        with writing(self.path, "Check its permissions."):
            self.path.unlink(missing_ok=True)


def _numbered(row: Row, good: int) -> Row:
    texts = isinstance(row.get("time"), str) and isinstance(row.get("question"), str)
    if not texts or not isinstance(row.get("answer", 0), str | None):
        raise BadLine("is no answer of ours")
    for name in ("sources", "turns"):
        if not isinstance(row.get(name), list) or not all(isinstance(one, dict) for one in row[name]):
            raise BadLine(f"has no list `{name}`")
    if not all(isinstance(turn.get("queries", []), list) for turn in row["turns"]):
        raise BadLine("has a turn whose `queries` are no list")
    return {"number": good + 1} | {name: value for name, value in row.items() if name != "number"}


def _searched(row: Row) -> str:
    titles = (str(source.get("title", "")) for source in row["sources"])
    return "\n".join([row["question"], row["answer"] or "", *titles]).casefold()
