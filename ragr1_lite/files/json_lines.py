"""JSON-lines files, plain or compressed, read one line at a time: bad lines are skipped and named, up to a limit.

Text that other systems wrote, in UTF-16 or with the line ends of old Macs, is read as UTF-8 with line feeds. What the
readers of other files yield, and which rows they are asked for, is here too.
"""

from __future__ import annotations

import codecs
import errno
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ragr1_lite.core.errors import DataError, fix_for
from ragr1_lite.core.events import Notice, Report

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CHUNK = 2**16


def plain_text(stream: io.BufferedReader) -> io.BufferedReader:
    """The stream itself or, where its first bytes say that it is otherwise, its text in UTF-8 with line feeds.

    What is not in its encoding stays so: whoever reads it as UTF-8 will find out.
    """
    head = stream.peek(_CHUNK)
    if head.startswith(_UTF16):
        return io.BufferedReader(_Recoded(stream, "utf-16"), _CHUNK)
    if b"\r" in head[:-1] and b"\n" not in head:
        return io.BufferedReader(_Recoded(stream, "utf-8"), _CHUNK)
    return stream


class _Recoded(io.RawIOBase):
    def __init__(self, stream: io.BufferedReader, codec: str) -> None:
        errors = "surrogateescape" if codec == "utf-8" else "replace"
        self._stream, self._held = stream, b""
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(codec)(errors), translate=True)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills the buffer with what comes next, at least a byte before the end."""
        data = b"more"
        while not self._held and data:
            data = self._stream.read(_CHUNK)
            self._held = self._decoder.decode(data, final=not data).encode("utf-8", "surrogateescape")
        count = min(len(buffer), len(self._held))
        buffer[:count], self._held = self._held[:count], self._held[count:]
        return count


COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
MAX_LINE_BYTES = 16 * 2**20
MAX_BAD_LINES = 10
MAX_BAD_SHARE = 0.01
BOM = b"\xef\xbb\xbf"
_NAMED = 3
_NUMBER = re.compile(r"\d+")
_BUFFER = 2**17
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh91AY&SY": ".bz2", b"\xfd7zXZ\0": ".xz"}

Item = TypeVar("Item")
Raw = TypeVar("Raw")


class BadLine(Exception):
    """Why a line cannot be used, as the end of a sentence that begins with ``FILE:LINE``."""


@dataclass(slots=True)
class BadLines:
    """Counts bad lines, keeps the first few reasons, and ends the reading when they are too many.

    Attributes:
        form: How a good line looks, for the error's hint.
        unit: What is counted.
        most: How many bad ones are allowed, however few have been read.
        read: Lines read so far.
        count: Bad ones among them.
        named: The first line of each of the first reasons, and how many lines have that reason.
    """

    form: str
    unit: str = "lines"
    most: float = MAX_BAD_LINES
    read: int = 0
    count: int = 0
    named: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, place: str, reason: str) -> None:
        """Counts one; raises DataError when they are more than ``most`` and than ``MAX_BAD_SHARE`` of the lines."""
        self.count += 1
        kind = _NUMBER.sub("", reason)
        first, times = self.named.get(kind, (f"{place} {reason}", 0))
        if times or len(self.named) < _NAMED:
            self.named[kind] = first, times + 1
        if self.count > max(self.most, MAX_BAD_SHARE * self.read):
            raise DataError(f"{self.count} of the first {self.read} {self.unit} cannot be used{self.first}", self.form)

    @property
    def first(self) -> str:
        """The first bad line, as the end of a sentence; empty when there is none."""
        return next((f"; the first: {first}" for first, _ in self.named.values()), "")

    def notify(self, report: Report, what: str = "Skipped {} of {} {}") -> None:
        """Reports how many bad lines there are, if there are any, and for what reasons."""
        if self.count:
            reasons = [f"{first} ({times} such)" if times > 1 else first for first, times in self.named.values()]
            rest = self.count - sum(times for _, times in self.named.values())
            counted = what.format(self.count, self.read, self.unit)
            report(Notice(f"{counted}: {'; '.join([*reasons, *([f'and {rest} more'] if rest else [])])}", "warning"))


def parsed(
    rows: Iterable[tuple[str, Raw | BadLine]],
    parse: Callable[[Raw, int], Item],
    bad: BadLines,
    nothing: str,
    report: Report,
) -> Iterator[Item]:
    """Parses rows, given with their places, and counts the bad ones; raises ``nothing`` where none is good."""
    good = 0
    for place, row in rows:
        bad.read += 1
        try:
            if isinstance(row, BadLine):
                raise row
            item = parse(row, good)
        except BadLine as problem:
            bad.add(place, str(problem))
            continue
        good += 1
        yield item
    if not good:
        raise DataError(f"{nothing}{bad.first}", bad.form)
    bad.notify(report)


def lines_of(stream: io.BufferedReader, path: Path, form: str, *, blank: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yields a stream's lines with their numbers from 1; the blank ones only on demand.

    Of an endless line no more comes than shows :func:`text_of` that it is one. Raises DataError where one is binary.
    """
    stream, number = plain_text(stream), 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        more = line
        while b"\0" not in more and len(more) > MAX_LINE_BYTES and not more.endswith(b"\n"):
            more = stream.readline(MAX_LINE_BYTES + 1)
        if b"\0" in more:
            raise DataError(f"{path}:{number} is binary, not text in UTF-8", form)
        if number == 1:
            line = line.removeprefix(BOM)
        if blank or not line.isspace():
            yield number, line


def text_of(line: bytes) -> str:
    """The text of a line; raises BadLine where it is endless or not in UTF-8."""
    if len(line) > MAX_LINE_BYTES:
        raise BadLine(f"is longer than {MAX_LINE_BYTES // 2**20} MiB")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise BadLine("is not UTF-8") from None


def whole_text(path: Path) -> str:
    """The text of an ordinary file; raises OSError where it is missing, or a device or pipe, which may be endless."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "no ordinary file", str(path))
    return path.read_text(encoding="utf-8")


def json_of(text: str | bytes) -> Any:
    """The value of a JSON text; raises ValueError where it is none, or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def to_row(line: bytes) -> dict[str, Any]:
    """The JSON object of a line; raises BadLine where it is none."""
    text = text_of(line)
    try:
        row = json_of(text)
    except ValueError as error:
        raise BadLine(f"is not JSON ({str(error).partition(':')[0]})") from None
    if not isinstance(row, dict):
        raise BadLine("is not a JSON object")
    check_surrogates(row, text)
    return row


def check_surrogates(value: Any, text: str) -> None:
    """Raises BadLine where a JSON text spells half of a surrogate pair, which no file can hold."""
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BadLine("has half of a surrogate pair") from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what goes wrong in opening, decompressing and reading a file within into one DataError."""
    try:
        yield
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        # Decompressors raise an OSError without a number for broken data, too.
        if isinstance(error, OSError) and error.errno is not None:
            fix = fix_for(error, "Check its permissions.")
            raise DataError(f"{path} cannot be read ({error.strerror or error})", fix) from error
        names = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard"}
        what = f"whole {names[path.suffix]} file" if path.suffix in names else "whole file"
        raise DataError(f"{path} is not a {what} ({error})", "Make or download it again.") from error


def decompressed(raw: io.BufferedReader, path: Path) -> io.BufferedReader:
    """The content of an open file: as it is, or decompressed if its first bytes or its name say that it must be."""
    head = raw.peek(10)[:10]
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), path.suffix)
    if kind == ".gz":
        return _buffered(gzip.GzipFile(fileobj=raw))
    if kind == ".bz2":
        import bz2

        return _buffered(bz2.BZ2File(raw))
    if kind == ".xz":
        return _buffered(lzma.LZMAFile(raw))
    if kind == ".zst":
        import pyarrow

        return _buffered(pyarrow.CompressedInputStream(raw, "zstd"))
    return raw


def _buffered(stream: Any) -> io.BufferedReader:
    return io.BufferedReader(stream, _BUFFER)


Row = dict[str, Any]
Rows = Iterator[tuple[int, Row | BadLine]]
"""The rows of a file with their numbers from 1, and why a row cannot be used in its place."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What rows are read for: the readers of files are the same for passages and for questions.

    Attributes:
        what: What a file is called in messages, of which ``hint``, ``line`` and ``table`` say how a good one looks.
        keys: The keys or columns that are read.
        needed: A table must have one of these columns.
        unnamed: Names the columns of a table without a header by its first line; ``None`` where it cannot.
    """

    what: str
    hint: str
    line: str
    table: str
    keys: tuple[str, ...]
    needed: tuple[str, ...]
    unnamed: Callable[[list[str]], list[str] | None]
