"""Tables: TSV and CSV with and without a header, with columns that are known or any, and Parquet."""

from __future__ import annotations

import csv
import io
import re
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ragr1_lite.core.errors import DataError
from ragr1_lite.files.json_lines import BOM, MAX_LINE_BYTES, BadLine, Rows, Wanted, lines_of, plain_text, text_of

_MOST_LINES = 200
_LINES_TRIED = 20
_BATCH = 1000
_PEEKED = 2**16
_OTHER_MARKS = ",;|"
_ANY_MARKS = "\t;,|"
_NAMED_MARK = re.compile(r'"?sep=([^\w"])"?')
"""Excel's first line for a table that is to be opened with other marks than its own."""


def read_tsv(stream: io.BufferedReader, path: Path, wanted: Wanted) -> Rows:
    """The rows of a table whose columns are separated by tabs, such as DPR's dump of Wikipedia."""
    return _read_table(stream, path, wanted, "\t")


def read_csv(stream: io.BufferedReader, path: Path, wanted: Wanted) -> Rows:
    """The rows of a table whose columns are separated by commas; by semicolons or tabs where its first line says so."""
    return _read_table(stream, path, wanted, ",")


def read_parquet(stream: io.BufferedReader, path: Path, wanted: Wanted) -> Rows:
    """The rows of a Parquet file; of its columns only those that are needed, a thousand rows at a time."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    done = 0
    try:
        with _seekable(stream) as source:
            file = ParquetFile(source, buffer_size=2**20, pre_buffer=False)
            names = file.schema_arrow.names
            if not {*wanted.needed} & {*names}:
                raise _lacking(path, names, wanted)
            columns = [name for name in wanted.keys if name in names]
            for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
                yield from enumerate(batch.to_pylist(), start=done + 1)
                done += batch.num_rows
    except UnicodeDecodeError:
        raise DataError(f"{path} has text that is not UTF-8 after row {done}", "Write it in UTF-8.") from None
    except pyarrow.ArrowException as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{path} is not a whole Parquet file ({why})", "Make or download it again.") from error


def first_row(stream: io.BufferedReader, wanted: Wanted) -> list[str]:
    """The fields of a table's first line, bytes that are not UTF-8 aside; none where it is empty."""
    stream = plain_text(stream)
    line = stream.readline(_PEEKED).removeprefix(BOM)
    named = _NAMED_MARK.fullmatch(line.decode(errors="replace").rstrip("\r\n"))
    text = (stream.readline(_PEEKED) if named else line).decode(errors="replace")
    mark = named[1] if named else _mark(text, "\t", wanted)
    return next((fields for _, fields in _records(iter([(1, text.encode())]), mark) if isinstance(fields, list)), [])


def cells_of(content: bytes) -> Iterator[list[str]]:
    """The rows of a table in UTF-8, whatever its columns are; raises BadLine where a line is endless."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    lines = io.BytesIO(content)
    named = _NAMED_MARK.fullmatch(lines.readline(_PEEKED).decode(errors="replace").rstrip("\n"))
    if not named:
        lines.seek(0)
    mark = named[1] if named else _likely_mark(content[:_PEEKED].splitlines(keepends=True)[:_LINES_TRIED])
    for _, fields in _records(enumerate(lines, start=1), mark):
        if isinstance(fields, BadLine):
            raise fields
        yield fields


def _likely_mark(lines: list[bytes]) -> str:
    """What cuts the most lines into one number of columns."""

    def agreeing(mark: str) -> int:
        records = _records(enumerate(lines, start=1), mark)
        widths = Counter(len(fields) for _, fields in records if isinstance(fields, list))
        return max((count for width, count in widths.items() if width > 1), default=0)

    return max(_ANY_MARKS, key=agreeing)


def _read_table(stream: io.BufferedReader, path: Path, wanted: Wanted, mark: str) -> Rows:
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    stream = plain_text(stream)
    lines = lines_of(stream, path, wanted.table, blank=True)
    head = stream.peek(_PEEKED).removeprefix(BOM).partition(b"\n")[0].decode(errors="replace").rstrip("\r")
    if named := _NAMED_MARK.fullmatch(head):
        next(lines)
    records = _records(lines, named[1] if named else _mark(head, mark, wanted))
    number, first = next(records, (0, []))
    if isinstance(first, BadLine):
        raise DataError(f"{path}:{number} {first}", "Save it in UTF-8.")
    if not first:
        return
    names = [name.strip().lower() for name in first]
    if not {*wanted.keys} & {*names}:
        usual = wanted.unnamed(first)
        if usual is None:
            raise DataError(f"{path} has no header that names its {_columns(len(first))}", wanted.table)
        names = usual
        yield number, dict(zip(names, first, strict=True))
    elif not {*wanted.needed} & {*names}:
        raise _lacking(path, first, wanted)
    for number, fields in records:
        if isinstance(fields, list) and len(fields) != len(names):
            fields = BadLine(f"has {_columns(len(fields))}, not {len(names)}")
        yield number, fields if isinstance(fields, BadLine) else dict(zip(names, fields, strict=True))


def _mark(head: str, usual: str, wanted: Wanted) -> str:
    """What is between the columns: what makes a header of the first line, else the usual or what else is there."""
    marks: tuple[str, ...] = ("\t", usual, *_OTHER_MARKS)
    for mark in marks:
        names = {name.strip().strip('"').lower() for name in head.split(mark)}
        if len(names) > 1 and names & {*wanted.keys}:
            return mark
    return next((mark for mark in marks if mark in head), usual)


def _columns(count: int) -> str:
    return f"{count} column{'s' * (count != 1)}"


def _records(lines: Iterator[tuple[int, bytes]], mark: str) -> Iterator[tuple[int, list[str] | BadLine]]:
    """Cuts lines into fields.

    Tables come with fields in quotes and with quotes as a part of the text: what cannot be the first is the second.
    """
    width = 0
    ahead: deque[tuple[int, bytes]] = deque()
    while item := ahead.popleft() if ahead else next(lines, None):
        number, line = item
        if line.isspace():
            continue
        try:
            text = text_of(line)
        except BadLine as problem:
            yield number, problem
            continue
        fields = text.rstrip("\r\n").split(mark)
        if '"' in text:
            try:
                fields = _unquoted(text, mark)
            except csv.Error as error:
                if _is_open(error) and width:
                    fields = _joined(text, ahead, lines, mark, width) or fields
        width = width or len(fields)
        yield number, fields


def _joined(
    text: str, ahead: deque[tuple[int, bytes]], lines: Iterator[tuple[int, bytes]], mark: str, width: int
) -> list[str] | None:
    """The fields of a record that goes on in the next lines; where it does not, these lines are left in ``ahead``."""
    for taken in range(_MOST_LINES):
        if taken == len(ahead):
            if (item := next(lines, None)) is None:
                return None
            ahead.append(item)
        more = ahead[taken][1].decode(errors="replace")
        text += more
        if _is_whole(more, mark, width) or "\ufffd" in more or len(text) > MAX_LINE_BYTES:
            return None
        if '"' in more:
            try:
                fields = _unquoted(text, mark)
            except csv.Error as error:
                if not _is_open(error):
                    return None
                continue
            if len(fields) != width:
                return None
            for _ in range(taken + 1):
                ahead.popleft()
            return fields
    return None


def _unquoted(text: str, mark: str) -> list[str]:
    """The fields of a record; raises csv.Error where its quotes do not fit."""
    return next(csv.reader([text], delimiter=mark, strict=True))


def _is_open(error: csv.Error) -> bool:
    return "end of data" in str(error)


def _is_whole(line: str, mark: str, width: int) -> bool:
    """Whether a line is a record of its own."""
    try:
        return len(_unquoted(line, mark)) == width
    except csv.Error:
        return line.count(mark) + 1 == width


@contextmanager
def _seekable(stream: io.BufferedReader) -> Iterator[IO[bytes]]:
    """The stream itself, or a copy of what it decompresses, which cannot be sought in without doing so again."""
    if isinstance(stream.raw, io.FileIO):
        yield stream
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy, 2**20)
        copy.seek(0)
        yield copy


def _lacking(path: Path, names: list[Any], wanted: Wanted) -> DataError:
    found = ", ".join(f"`{name}`" for name in names)
    needed = " or ".join(f"`{name}`" for name in wanted.needed[:2])
    return DataError(f"{path} has the columns {found}, but none of them is {needed}", wanted.table)
