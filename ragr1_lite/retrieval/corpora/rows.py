"""What a row of a corpus says: one passage, or the paragraphs that a question was asked with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ragr1_lite.core import Passage
from ragr1_lite.jsonlines import BadLine

Row = dict[str, Any]
Rows = Iterator[tuple[int, Row | BadLine]]
"""The rows of a file with their numbers from 1, and why a row cannot be used in its place."""

IDS = ("id", "_id", "docid")
TEXTS = ("text", "contents")
CONTEXTS = ("context", "paragraphs", "metadata")
COLUMNS = (*IDS, "title", *TEXTS, *CONTEXTS)
"""The keys or columns that are read."""

FORM = 'A corpus has one JSON object a line, such as {"id": "1", "title": "Chad", "text": "Chad is …"}.'
_LONGEST_TITLE = 200


def to_passage(row: Row, running: int) -> Passage:
    """The passage of a row; ``running`` is its id where the row has none.

    Raises:
        BadLine: There is no text, or something is of the wrong type.
    """
    identifier = _first(row, *IDS)
    if identifier is None:
        identifier = running
    if not isinstance(identifier, str | int) or isinstance(identifier, bool) or identifier == "":
        raise BadLine("has an id that is neither text nor a whole number")
    title, text = row.get("title"), _first(row, *TEXTS)
    if text is None:
        raise BadLine(f"has no `text` or `contents`, only {', '.join(f'`{key}`' for key in row) or 'nothing'}")
    if not isinstance(text, str) or not isinstance(title, str | None):
        raise BadLine("has a title or text that is not a string")
    if row.get("text") is None:
        title, text = _split_contents(title, text)
    title, text = (title or "").strip(), text.strip()
    if not title and not text:
        raise BadLine("has an empty text")
    return Passage(str(identifier), title, text)


def paragraphs_of(row: Row) -> list[tuple[str, str]] | None:
    """The titles and texts that a question of HotpotQA, 2Wiki or MuSiQue came with; ``None`` for any other row.

    Raises:
        BadLine: They are in none of the forms of those sets.
    """
    if row.get("text") is not None or row.get("contents") is not None:
        return None
    holder = row["metadata"] if isinstance(row.get("metadata"), dict) else row
    context = holder.get("context")
    try:
        if isinstance(context, str) and context.lstrip()[:1] in ("[", "{"):
            context = json.loads(context)
        if isinstance(context, dict):
            texts = context["sentences"] if "sentences" in context else context["content"]
            pairs = list(zip(context["title"], texts, strict=True))
        elif isinstance(context, list):
            pairs = [(title, sentences) for title, sentences in context]
        elif isinstance(holder.get("paragraphs"), list):
            pairs = [(one["title"], one["paragraph_text"]) for one in holder["paragraphs"]]
        else:
            return None
        found = [(title.strip(), _joined(sentences)) for title, sentences in pairs]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise BadLine("has a `context` or `paragraphs` of an unknown form") from None
    return [pair for pair in found if any(pair)]


def _first(row: Row, *keys: str) -> Any:
    for key in keys:
        if (value := row.get(key)) is not None:
            return value
    return None


def _joined(sentences: str | list[str]) -> str:
    """One text of sentences, which have a blank before them in HotpotQA and none in 2Wiki."""
    if isinstance(sentences, str):
        return sentences.strip()
    return " ".join(stripped for sentence in sentences if (stripped := sentence.strip()))


def _split_contents(title: str | None, contents: str) -> tuple[str, str]:
    """Takes the title off the first line of ``contents``, where it stands in quotes or is short enough for one."""
    head, newline, rest = contents.strip().partition("\n")
    head = head.strip()
    quoted = len(head) > 1 and head[0] == head[-1] == '"'
    head = head[1:-1] if quoted else head
    if title:
        return title, rest if newline and head == title.strip() else contents
    return (head, rest) if newline and (quoted or len(head) <= _LONGEST_TITLE) else ("", contents)
