"""What a row of a corpus holds: one passage, or the paragraphs that a question came with."""

from __future__ import annotations

import json
from typing import Any

from ragr1_lite.core.types import Passage
from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.files.rows import Row, Wanted
from ragr1_lite.retrieval.titles import split_contents

IDS = ("id", "_id", "docid")
TEXTS = ("text", "contents")
CONTEXTS = ("context", "paragraphs", "metadata")


def _columns_of(first: list[str]) -> list[str] | None:
    """Of three columns the last is the title, unless it is the longer one."""
    if len(first) == 2:
        return ["id", "text"]
    if len(first) == 3:
        return ["id", "text", "title"] if len(first[1]) >= len(first[2]) else ["id", "title", "text"]
    return None


PASSAGES = Wanted(
    what="corpus",
    hint="A corpus is JSON lines (.jsonl), a table (.tsv, .csv, .parquet), a question set with contexts (.json), a "
    "document (.txt, .md, .html, .pdf), a folder of these, or hub:OWNER/NAME.",
    line='A corpus has one JSON object a line, such as {"id": "1", "title": "Chad", "text": "Chad is …"}.',
    table="A table has the columns id, text and title, named in its first line.",
    keys=(*IDS, "title", *TEXTS, *CONTEXTS),
    needed=(*TEXTS, *CONTEXTS),
    unnamed=_columns_of,
)


def to_passage(row: Row, running: int) -> Passage:
    """The passage of a row, whose id is ``running`` where the row has none; raises BadLine where there is none."""
    identifier = _first(row, *IDS, default=running)
    if not isinstance(identifier, str | int) or isinstance(identifier, bool) or identifier == "":
        raise BadLine("has an id that is neither text nor a whole number")
    title, text = row.get("title"), _first(row, *TEXTS)
    if text is None:
        raise BadLine(f"has no `text` or `contents`, only {', '.join(f'`{key}`' for key in row) or 'nothing'}")
    if not isinstance(text, str) or not isinstance(title, str | None):
        raise BadLine("has a title or text that is not a string")
    if row.get("text") is None:
        title, text = split_contents(text.strip(), title)
    title, text = (title or "").strip(), text.strip()
    if not title and not text:
        raise BadLine("has an empty text")
    return Passage(str(identifier), title, text)


def paragraphs_of(row: Row) -> list[tuple[str, str]] | None:
    """The titles and texts that a question of HotpotQA, 2Wiki or MuSiQue came with; ``None`` for any other row.

    Raises BadLine where they are in none of the forms of those sets.
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


def _first(row: Row, *keys: str, default: Any = None) -> Any:
    return next((value for key in keys if (value := row.get(key)) is not None), default)


def _joined(sentences: str | list[str]) -> str:
    """One text of sentences, which have a blank before them in HotpotQA and none in 2Wiki."""
    if isinstance(sentences, str):
        return sentences.strip()
    return " ".join(stripped for sentence in sentences if (stripped := sentence.strip()))
