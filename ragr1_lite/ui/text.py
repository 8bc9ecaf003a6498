"""Foreign text on one line or as JSON, and numbers as people read them."""

from __future__ import annotations

import json
import re
from typing import Any

from ragr1_lite.core.safe_text import CONTROL, clean
from ragr1_lite.core.types import Passage
from ragr1_lite.files.writing import json_text

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def one_line(text: str, limit: int | None = None) -> str:
    """Clean text on one line; cut at a word with an ellipsis where it is longer than ``limit`` characters."""
    line = " ".join(clean(text).split())
    if limit is None or len(line) <= limit:
        return line
    head = line[: limit - 1]
    return (head.rpartition(" ")[0] or head) + "…"


def title_of(passage: Passage, limit: int | None = None) -> str:
    """A passage's title on one line, or its id where it has none; after it its index, where that is named."""
    title = one_line(passage.title, limit) or one_line(passage.id, limit)
    return f"{title} [{one_line(passage.index, limit)}]" if passage.index else title


def to_json(value: Any, encoding: str = "utf-8") -> str:
    """JSON on one line; control characters are escaped even where JSON would allow them as they are.

    So is all that is not ASCII, where something in it cannot be written in ``encoding``.
    """
    text = CONTROL.sub(_escaped, json_text(value))
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return _NOT_ASCII.sub(_escaped, text)
    return text


def _escaped(character: re.Match[str]) -> str:
    return json.dumps(character[0])[1:-1]


def count(number: float, noun: str) -> str:
    """A number and its noun.

    >>> count(1, "query"), count(2, "query"), count(25531, "passage")
    ('1 query', '2 queries', '25,531 passages')
    """
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def share(value: float) -> str:
    """A share between 0 and 1 as papers print it.

    >>> share(0.724), share(1.0)
    ('.72', '1.00')
    """
    return f"{value:.2f}".removeprefix("0")


def duration(seconds: float) -> str:
    """A time in as few characters as possible.

    >>> duration(0.42), duration(75), duration(3720)
    ('0.4 s', '1:15', '1:02:00')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(number: float) -> str:
    """A number of bytes.

    >>> size(900), size(3_400_000)
    ('900 bytes', '3.2 MiB')
    """
    if number < 1024:
        return f"{number:,.0f} bytes"
    power = 1 if number < 1024**2 else 2 if number < 1024**3 else 3
    return f"{number / 1024**power:,.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"
