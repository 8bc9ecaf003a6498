"""What a row of a corpus holds: one passage, or the paragraphs that a question came with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ragr1_lite.core.events import Notice, Report
from ragr1_lite.core.types import Passage
from ragr1_lite.files.json_lines import BadLine, Row, Wanted
from ragr1_lite.retrieval.corpora.documents.passages import WORDS, Part, cut_parts, sections, weight_of
from ragr1_lite.retrieval.titles import split_contents

IDS = ("id", "_id", "docid", "wikipedia_id")
TITLES = ("title", "wikipedia_title")
TEXTS = ("text", "contents")
CONTEXTS = ("context", "paragraphs", "metadata")
MOST_SEEN = 700
"""Words that fill ``rollout.document_tokens`` as it is by default: a model sees no more of a passage."""
MOST_KEPT = 1600
"""Words of the longest text that is kept as one passage: no row of HotpotQA, 2Wiki, MuSiQue and SciFact is longer."""
_NAME = 3
"""Words of a column's name, at most: more of them are a text, in a table without a header."""
_NUMBER, _CODE, _NO_TEXT = re.compile(r"\d\S*"), re.compile(r"\S*\d\S*"), re.compile(r"[\W\d_]+")
_DATE = re.compile(r"\d+[-./]\d")
_SECTION = re.compile(r"Section::::(.+?)\.?\s*")
_BULLET = re.compile(r"BULLET::::-?\s*")


def _columns_of(first: list[str]) -> list[str] | None:
    """Of an id and a text; of three columns the last is the title, unless it is the longer one."""
    id = _CODE if any(len(field.split()) > _NAME for field in first) else _NUMBER
    if not id.fullmatch(first[0].strip()) or _DATE.match(first[0]) or any(map(_NO_TEXT.fullmatch, first[1:])):
        return None
    if len(first) == 2:
        return ["id", "text"]
    if len(first) == 3:
        return ["id", "text", "title"] if len(first[1]) >= len(first[2]) else ["id", "title", "text"]
    return None


PASSAGES = Wanted(
    what="corpus",
    hint="A corpus is JSON lines (.jsonl), a table (.tsv, .csv, .parquet), a question set with contexts (.json), a "
    "document (.txt, .md, .html, .pdf, .docx, .pptx, .xlsx, .odt, .epub, .rtf, .eml, .mbox), a folder of these, or "
    "hub:OWNER/NAME.",
    line='A corpus has one JSON object a line, such as {"id": "1", "title": "Chad", "text": "Chad is …"}.',
    table="A table has the columns id, text and title, named in its first line.",
    keys=(*IDS, *TITLES, *TEXTS, *CONTEXTS),
    needed=(*TEXTS, *CONTEXTS),
    unnamed=_columns_of,
)


@dataclass(slots=True)
class LongRows:
    """Counts the rows whose text is long: those that were ``cut``, and those ``kept`` that a model cannot see whole."""

    cut: int = 0
    kept: int = 0

    def notify(self, report: Report) -> None:
        """Reports them, if there are any."""
        for count, what in (
            (self.cut, f"are cut into passages of {WORDS} words, with ids like ID#1"),
            (self.kept, f"have more than {MOST_SEEN} words: a model may see the beginning alone"),
        ):
            if count:
                report(Notice(f"Long texts: {count:,} of the rows {what}"))


def to_passages(row: Row, running: int, long: LongRows) -> list[Passage]:
    """The passage of a row, whose id is ``running`` where the row has none; several of one with a long text.

    Raises BadLine where there is none.
    """
    identifier = _first(row, *IDS, default=running)
    if not isinstance(identifier, str | int) or isinstance(identifier, bool) or identifier == "":
        raise BadLine("has an id that is neither text nor a whole number")
    title, text = _first(row, *TITLES), _first(row, *TEXTS)
    if text is None:
        null = next((key for key in TEXTS if key in row), None)
        named = ", ".join(f"`{key}`" for key in row) or "nothing"
        raise BadLine(f"has a `{null}` that is null" if null else f"has no `text` or `contents`, only {named}")
    if not isinstance(title, str | None):
        raise BadLine("has a title or text that is not a string")
    if isinstance(text, list):
        return _cut(str(identifier), title or "", _listed(text, title or ""), long)
    if not isinstance(text, str):
        raise BadLine("has a title or text that is not a string")
    if text is not row.get("text"):
        title, text = split_contents(text.strip(), title)
    title, text = (title or "").strip(), text.strip()
    if not title and not text:
        raise BadLine("has an empty text")
    if len(text) > MOST_SEEN and (words := weight_of(text)) > MOST_SEEN:
        if words > MOST_KEPT:
            return _cut(str(identifier), title, [Part(text.split("\n\n" if "\n\n" in text else "\n"))], long)
        long.kept += 1
    return [Passage(str(identifier), title, text)]


def has_id(row: Row) -> bool:
    """Whether a row has an id of its own."""
    return _first(row, *IDS) is not None


def _cut(identifier: str, title: str, parts: Iterable[Part], long: LongRows) -> list[Passage]:
    """Passages as of a document; one alone keeps the row's id."""
    found = list(cut_parts(parts))
    if not found:
        raise BadLine("has an empty text")
    long.cut += len(found) > 1
    ids = [identifier] if len(found) == 1 else [f"{identifier}#{number}" for number in range(1, len(found) + 1)]
    return [Passage(id, title.strip(), text, place=place) for id, (text, place) in zip(ids, found, strict=True)]


def _listed(paragraphs: list[Any], title: str) -> Iterator[Part]:
    """The sections of a list of paragraphs; KILT's marks for headings and bullets are taken off."""
    if not all(isinstance(one, str) for one in paragraphs):
        raise BadLine("has a list as its text that is not of strings")
    first = paragraphs[0].strip() if paragraphs else ""
    lines = paragraphs[1:] if first and first == title.strip() else paragraphs
    return sections(map(_level_and_text, lines), title)


def _level_and_text(line: str) -> tuple[int, str]:
    if heading := _SECTION.fullmatch(line):
        names = [name.strip(" .") for name in heading[1].split(":")]
        return len(names), names[-1]
    return 0, _BULLET.sub("", line, count=1) if line.startswith("BULLET::::") else line


def paragraphs_of(row: Row) -> list[tuple[str, str]] | None:
    """The titles and texts that a question of HotpotQA, 2Wiki, MuSiQue or SQuAD came with; ``None`` for any other row.

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
        elif isinstance(context, str) and context.strip():
            pairs = [(_first(row, *TITLES, default=""), context)]
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
    """The first value that is there; null and what pandas writes for it, NaN, are none."""
    for key in keys:
        value = row.get(key)
        if value is not None and value == value:  # NaN is not even equal to itself
            return value
    return default


def _joined(sentences: str | list[str]) -> str:
    """One text of sentences, which have a blank before them in HotpotQA and none in 2Wiki."""
    if isinstance(sentences, str):
        return sentences.strip()
    return " ".join(stripped for sentence in sentences if (stripped := sentence.strip()))
