"""What the readers of files yield, and which rows they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ragr1_lite.files.json_lines import BadLine

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
