"""JSON corpora: an object a line, or one array of them, which is read element by element however large it is.

Rows that hold several questions, as SQuAD's articles and MRQA's paragraphs do, become rows of one question each.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.files.json_lines import (
    BOM,
    MAX_LINE_BYTES,
    BadLine,
    BadLines,
    Row,
    Rows,
    Wanted,
    check_surrogates,
    decompressed,
    lines_of,
    parsed,
    plain_text,
    reading,
    to_row,
)

_HOLDING = ("data", "paragraphs", "qas")
_SHARED = ("title", "context")


def spread(row: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each question that is held, with the title and the context it is about; else the row itself.

    >>> spread({"title": "T", "paragraphs": [{"context": "C", "qas": [{"question": "Q?", "answers": ["A"]}]}]})
    [{'title': 'T', 'context': 'C', 'question': 'Q?', 'answers': ['A']}]
    """
    if not any(key in row for key in _HOLDING):  # most rows of a corpus
        return [row]
    return list(_questions(row, {})) or [row]


def _questions(row: Any, shared: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if not isinstance(row, dict):
        return
    shared = {**shared, **{key: row[key] for key in _SHARED if key in row}}
    *above, held = (row[key] if isinstance(row.get(key), list) else () for key in _HOLDING)
    for below in above:
        for one in below:
            yield from _questions(one, shared)
    for question in held:
        if isinstance(question, dict):
            yield {**shared, **question}


_CHUNK = 2**18
_HEAD = 4096
_BETWEEN = re.compile(r"[\s,]*")
_PLAIN = r'"[^"]*"\s*:\s*("(\\.|[^"\\])*"|[-+.\w]+)\s*,\s*'
_ARRAY = re.compile(rf'\s*(\{{\s*({_PLAIN})*"[Dd]ata"\s*:\s*)?\[')
"""An array, alone or as TriviaQA and SQuAD have it: under `Data` or `data`, after nothing but numbers and texts."""
_OBJECTS = re.compile(r"\s*\[\s*\{")

Item = TypeVar("Item")


def read_lines(stream: io.BufferedReader, path: Path, wanted: Wanted) -> Rows:
    """The object of each line; one of several questions as several."""
    yield from _spread(_lines(stream, path, wanted.line))


def read_json(stream: io.BufferedReader, path: Path, wanted: Wanted) -> Rows:
    """The objects of an array or, where the file does not begin with one, of its lines."""
    stream = plain_text(stream)
    yield from _spread(_array(stream, path) if _ARRAY.match(_head(stream)) else _lines(stream, path, wanted.line))


def read_rows(
    path: Path, parse: Callable[[dict[str, Any], int], Item], form: str, report: Report = ignore
) -> Iterator[Item]:
    """Parses each object of a file: of its lines, or of the array that it is.

    ``parse`` makes an item of a row and its number among the good ones, from 0, or raises :class:`BadLine`; ``form``
    says how a good line looks; ``report`` gets a notice of skipped ones.

    Raises:
        DataError: The file is missing or broken, too many rows are bad, or none is good.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}", "Name a JSON-lines file (.jsonl or .jsonl.gz).")
    with reading(path), path.open("rb") as raw:
        stream = plain_text(decompressed(raw, path))
        array = _OBJECTS.match(_head(stream)) is not None
        rows = _array(stream, path) if array else _lines(stream, path, form)
        placed = ((f"{path} row {number}" if array else f"{path}:{number}", row) for number, row in rows)
        yield from parsed(placed, parse, BadLines(form), f"There is nothing in {path}", report)


def _spread(rows: Rows) -> Rows:
    for number, row in rows:
        for one in [row] if isinstance(row, BadLine) else spread(row):
            yield number, one


def _head(stream: io.BufferedReader) -> str:
    return stream.peek(_HEAD)[:_HEAD].removeprefix(BOM).decode(errors="replace")


def _lines(stream: io.BufferedReader, path: Path, form: str) -> Rows:
    for number, line in lines_of(stream, path, form):
        try:
            row: Row | BadLine = to_row(line)
        except BadLine as problem:
            row = problem
        yield number, row


def _array(stream: io.BufferedReader, path: Path) -> Rows:
    for number, (value, text) in enumerate(_elements(stream, path), start=1):
        row: Row | BadLine = value if isinstance(value, dict) else BadLine("is not a JSON object")
        try:
            check_surrogates(value, text)
        except BadLine as problem:
            row = problem
        yield number, row


def _elements(stream: io.BufferedReader, path: Path) -> Iterator[tuple[Any, str]]:
    """An array's elements with their text, one by one; little more than the longest of them is held in memory."""
    decode = json.JSONDecoder().raw_decode
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    held, count = _longer("", stream, decoder, path), 0
    begun = _ARRAY.match(held)
    assert begun is not None
    at = begun.end()
    while True:
        if gap := _BETWEEN.match(held, at):
            at = gap.end()
        try:
            value, end = decode(held, at)
        except RecursionError:
            raise _broken(path, count, "nested too deeply") from None
        except ValueError as error:
            if held.startswith("]", at):
                return
            rest = held[at:]
            held, at = _longer(rest, stream, decoder, path), 0
            if len(held) == len(rest):
                raise _broken(path, count, str(error).partition(":")[0]) from None
            continue
        count += 1
        yield value, held[at:end]
        at = end


def _longer(rest: str, stream: io.BufferedReader, decoder: codecs.IncrementalDecoder, path: Path) -> str:
    """The rest and as much text again, so that a long element is not decoded too often."""
    if len(rest) > MAX_LINE_BYTES:
        raise DataError(
            f"{path} has an element that is broken or longer than {MAX_LINE_BYTES // 2**20} MiB",
            "Write each object on a line of its own, in a .jsonl file.",
        )
    try:
        data = stream.read(max(_CHUNK, len(rest)))
        return rest + decoder.decode(data, final=not data)
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8", "Save it in UTF-8.") from None


def _broken(path: Path, count: int, why: str) -> DataError:
    return DataError(f"{path} is cut off or not JSON after its element {count} ({why})", "Make or download it again.")
