"""Work that can be cut off at any moment: finished batches are on disk, one a line, and are not done again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragr1_lite.core.errors import DataError, RunError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.files.json_lines import json_of
from ragr1_lite.files.writing import beside, json_text, writing

Rows = list[dict[str, Any]]


def digest(value: Any) -> str:
    """A fingerprint of a JSON value for the settings of a journal, so that a change of a file's content shows."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def already_there(out: Path, fix: str = "Add --overwrite, or choose another --out.") -> DataError:
    """The error of a result that is not to be overwritten."""
    return DataError(f"{out} exists already", fix)


def interrupted(out: Path) -> bool:
    """Whether the work whose result goes to ``out`` was begun and not finished."""
    return _path(out).exists()


def finished(out: Path, *results: Path, resume: bool, overwrite: bool, report: Report = ignore) -> bool:
    """Whether ``resume`` finds the work of ``out`` done, which is reported: its results are there and no journal is.

    The results are ``out`` itself where no others are named.
    """
    there = all(result.exists() for result in results or (out,))
    done = resume and not overwrite and there and not interrupted(out)
    if done:
        report(Notice(f"{out} is finished: nothing was asked, and nothing was changed."))
    return done


def _path(out: Path) -> Path:
    return beside(out, f".{out.name}.journal")


class Journal:
    """The finished batches of a work whose result goes to ``out``; kept next to it as ``.NAME.journal`` until then.

    Attributes:
        path: Its file.
        pieces: The rows of each finished batch, in order; a batch that was interrupted is not among them.
    """

    def __init__(self, path: Path, pieces: list[Rows]) -> None:
        self.pieces = pieces
        self.path = path

    @classmethod
    def start(cls, out: Path, settings: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Journal:
        """Begins, or with ``resume`` goes on with what an interrupted run of the same settings has finished.

        ``out`` itself is not touched. It may be there next to a journal: of a run that was to overwrite it, or that was
        stopped while it wrote. ``settings`` is all that decides what the batches are, as JSON.

        Raises:
            DataError: The result is there and is not to be overwritten.
            RunError: A journal is there and neither was asked for, or it is of other settings.
        """
        path = _path(out)
        if resume and not overwrite and path.exists():
            return cls._open(path, settings)
        if out.exists() and not overwrite:
            raise already_there(out)
        if path.exists() and not overwrite:
            raise RunError(f"An interrupted run wrote {path}", "Go on with --resume, or begin anew with --overwrite.")
        journal = cls(path, [])
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        journal._append({"settings": dict(settings)})
        return journal

    @classmethod
    def _open(cls, path: Path, settings: Mapping[str, Any]) -> Journal:
        """Reads a journal; an incomplete last line is cut off the file too."""
        with writing(path), path.open("r+b") as file:
            whole = file.read().rpartition(b"\n")[0]
            file.truncate(len(whole) + 1 if whole else 0)
        try:
            head, *lines = [json_of(line) for line in whole.splitlines()] or [{"settings": dict(settings)}]
            theirs, pieces = head["settings"], [line["rows"] for line in lines]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is broken ({error})", "Begin anew with --overwrite.") from None
        ours = json.loads(json.dumps(settings))
        if differing := sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)):
            raise RunError(
                f"The interrupted run of {path} had other settings ({', '.join(differing)})",
                "Give the same ones to --resume, or begin anew with --overwrite.",
            )
        journal = cls(path, pieces)
        if not whole:
            journal._append({"settings": ours})
        return journal

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds a finished batch, which is on the disk when this returns; raises StorageError where it cannot be."""
        piece = [dict(row) for row in rows]
        self._append({"rows": piece})
        self.pieces.append(piece)

    @contextmanager
    def working(self, report: Report = ignore) -> Iterator[None]:
        """Where the block breaks off, reports how to go on; an empty journal is removed."""
        try:
            yield
        except BaseException:
            if self.pieces:
                report(Notice("What is finished is kept: go on with --resume.", "warning"))
            else:
                self.remove()
            raise

    def remove(self) -> None:
        """Deletes the journal, once the result is written."""
        with writing(self.path):
            self.path.unlink(missing_ok=True)

    def _append(self, line: Mapping[str, Any]) -> None:
        with writing(self.path), self.path.open("ab") as file:
            file.write(f"{json_text(line)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
