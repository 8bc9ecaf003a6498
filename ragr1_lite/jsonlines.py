"""JSON-lines files, plain or gzip'd, read one line at a time: bad lines are skipped and named, up to a limit."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from ragr1_lite.errors import DataError
from ragr1_lite.events import Notice, Report, ignore

MAX_LINE_BYTES = 16 * 2**20
MAX_BAD_LINES = 10
MAX_BAD_SHARE = 0.01
_NAMED = 3

Item = TypeVar("Item")


class BadLine(Exception):
    """Why a line cannot be used, as the end of a sentence that begins with ``FILE:LINE``."""


@dataclass(slots=True)
class BadLines:
    """Counts bad lines, keeps the first few, and ends the reading when they are too many.

    Attributes:
        form: How a good line looks, for the error's hint.
        read: Lines read so far.
        count: Bad ones among them.
    """

    form: str
    read: int = 0
    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, place: str, reason: str) -> None:
        """Counts one.

        Raises:
            DataError: They are more than ``MAX_BAD_LINES`` and more than ``MAX_BAD_SHARE`` of the lines.
        """
        self.count += 1
        if len(self.named) < _NAMED:
            self.named.append(f"{place} {reason}")
        if self.count > max(MAX_BAD_LINES, MAX_BAD_SHARE * self.read):
            raise DataError(f"{self.count} of {self.read} lines cannot be used{self.first}", self.form)

    @property
    def first(self) -> str:
        """The first bad line, as the end of a sentence; empty when there is none."""
        return f"; the first: {self.named[0]}" if self.named else ""

    def tell(self, report: Report) -> None:
        """Reports what was skipped, if anything was."""
        if self.count:
            more = f"; and {self.count - _NAMED} more" if self.count > _NAMED else ""
            report(Notice(f"Skipped {self.count} of {self.read} lines: {'; '.join(self.named)}{more}", "warning"))


def read_rows(
    path: Path, parse: Callable[[dict[str, Any], int], Item], form: str, report: Report = ignore
) -> Iterator[Item]:
    """Parses each line of a file.

    Args:
        path: The file.
        parse: Makes an item of a row and its number in the file, from 0; raises :class:`BadLine`.
        form: How a good line looks, for the error's hint.
        report: Gets a notice of skipped lines.

    Raises:
        DataError: The file is missing or broken, too many lines are bad, or no line is good.
    """
    bad, good = BadLines(form), 0
    for number, line in numbered_lines(path, form):
        bad.read += 1
        try:
            item = parse(to_row(line), good)
        except BadLine as problem:
            bad.add(f"{path}:{number}", str(problem))
            continue
        good += 1
        yield item
    if not good:
        raise DataError(f"There is nothing in {path}{bad.first}", form)
    bad.tell(report)


def numbered_lines(path: Path, form: str) -> Iterator[tuple[int, bytes]]:
    """Yields the lines that are not blank, with their numbers from 1.

    Raises:
        DataError: The file is missing, a folder, binary, cut off, or has an endless line.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}", "Name a JSON-lines file (.jsonl or .jsonl.gz).")
    try:
        with _open(path) as stream:
            number = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(f"{path}:{number} is longer than {MAX_LINE_BYTES // 2**20} MiB", form)
                if b"\0" in line:
                    raise DataError(f"{path}:{number} is binary, not text in UTF-8", form)
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.isspace():
                    yield number, line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error})", "Make or download it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})", "Check its permissions.") from error


def to_row(line: bytes) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        BadLine: It is none, or not in UTF-8.
    """
    try:
        row = json.loads(line.decode())
        if b"\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise BadLine("is not UTF-8") from None
    except UnicodeEncodeError:
        raise BadLine("has half of a surrogate pair") from None
    except (ValueError, RecursionError) as error:
        raise BadLine(f"is not JSON ({str(error).partition(':')[0]})") from None
    if not isinstance(row, dict):
        raise BadLine("is not a JSON object")
    return row


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.name.endswith(".gz") else path.open("rb")
