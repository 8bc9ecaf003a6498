"""JSON corpora: an object a line, or one array of them, which is read element by element however large it is."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragr1_lite.core.errors import DataError
from ragr1_lite.files.json_lines import BOM, MAX_LINE_BYTES, BadLine, check_surrogates, lines_of, to_row
from ragr1_lite.files.plain_text import plain_text
from ragr1_lite.files.rows import Row, Rows, Wanted

_CHUNK = 2**18
_BETWEEN = re.compile(r"[\s,]*")
_ARRAY = re.compile(rb'\s*(\{\s*"[Dd]ata"\s*:\s*)?\[')
"""An array, alone or as TriviaQA has it: under `Data`, the file's first key."""


def read_lines(stream: io.BufferedReader, path: Path, wanted: Wanted) -> Rows:
    """The object of each line."""
    for number, line in lines_of(stream, path, wanted.line):
        try:
            row: Row | BadLine = to_row(line)
        except BadLine as problem:
            row = problem
        yield number, row


def read_json(stream: io.BufferedReader, path: Path, wanted: Wanted) -> Rows:
    """The objects of an array or, where the file does not begin with one, of its lines."""
    stream = plain_text(stream)
    if not _ARRAY.match(stream.peek(64).removeprefix(BOM)):
        yield from read_lines(stream, path, wanted)
        return
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
    at = held.index("[") + 1
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
