"""JSON corpora: an object a line, or one array of them, which is read piece by piece however large it is."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragr1_lite.core.errors import DataError
from ragr1_lite.files.json_lines import MAX_LINE_BYTES, BadLine, lines_of, to_row
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
    if not _ARRAY.match(stream.peek(64).removeprefix(b"\xef\xbb\xbf")):
        yield from read_lines(stream, path, wanted)
        return
    for number, value in enumerate(_elements(stream, path), start=1):
        yield number, value if isinstance(value, dict | BadLine) else BadLine("is not a JSON object")


def _elements(stream: io.BufferedReader, path: Path) -> Iterator[Any]:
    """Decodes an array's elements one by one; what is held is little more than the longest of them."""
    decode = json.JSONDecoder().raw_decode
    text = _Text(stream, path)
    held, count = text.more(""), 0
    at = held.index("[") + 1
    while True:
        at = _end_of_gap(held, at)
        try:
            value, end = decode(held, at)
        except RecursionError:
            raise _broken(path, count, "nested too deeply") from None
        except ValueError as error:
            if held.startswith("]", at):
                return
            rest = held[at:]
            held, at = text.more(rest), 0
            if len(held) == len(rest):
                raise _broken(path, count, str(error).partition(":")[0]) from None
            continue
        count += 1
        yield _checked(value, held[at:end])
        at = end


class _Text:
    """A stream's text, in as large pieces as one likes."""

    def __init__(self, stream: io.BufferedReader, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()

    def more(self, rest: str) -> str:
        """Adds as much again to what is left, so that a long element is not tried too often.

        Raises:
            DataError: The text is not UTF-8, or an element is endless.
        """
        if len(rest) > MAX_LINE_BYTES:
            raise DataError(
                f"{self._path} has an element that is broken or longer than {MAX_LINE_BYTES // 2**20} MiB",
                "Write each object on a line of its own, in a .jsonl file.",
            )
        try:
            data = self._stream.read(max(_CHUNK, len(rest)))
            return rest + self._decoder.decode(data, final=not data)
        except UnicodeDecodeError:
            raise DataError(f"{self._path} is not UTF-8", "Save it in UTF-8.") from None


def _end_of_gap(held: str, at: int) -> int:
    gap = _BETWEEN.match(held, at)
    return gap.end() if gap else at


def _checked(value: Any, source: str) -> Any:
    if "\\ud" in source.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return BadLine("has half of a surrogate pair")
    return value


def _broken(path: Path, count: int, why: str) -> DataError:
    return DataError(f"{path} is cut off or not JSON after its element {count} ({why})", "Make or download it again.")
