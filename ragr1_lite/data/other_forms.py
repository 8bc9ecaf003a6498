"""Rows of trajectory files that others write: those that tell what was retrieved become records, others are refused.

R1-Searcher's rows hold a question, its answer and one text, whose documents may be quoted as in CSV::

    I need Chad's capital. <|begin_of_query|> capital of Chad<|end_of_query|>
    <|begin_of_documents|>
    (1)Title: Chad Text:  Its capital is N'Djamena.
    (2)"Title: Faya Text:  A town, ""the pearl""."
    <|end_of_documents|>
    So it is N'Djamena.</think> <answer>N'Djamena</answer>

Rows for chat training (:mod:`~ragr1_lite.data.chat_rows`) are records where they are in this package's tags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ragr1_lite.data.chat_rows import chat_form, chat_record

_TAG = re.compile(r"<\|((?:begin|end)_of_(?:query|documents))\|>")
_SEARCH = ["begin_of_query", "end_of_query", "begin_of_documents", "end_of_documents"]
_DOCUMENT = re.compile(r'^\(\d+\)(?="?Title: )', re.MULTILINE)
_ANSWER = re.compile(r"\s*<answer>(.*)</answer>\s*", re.DOTALL)


def is_r1_searcher(row: Mapping[str, Any]) -> bool:
    """Whether a row is R1-Searcher's."""
    return "turns" not in row and isinstance(row.get("trajectory"), str)


def as_record(row: dict[str, Any]) -> dict[str, Any]:
    """The record of a row, which is the row itself where it is in this package's form.

    A trajectory that breaks off, or whose tags do not fit, is a record without turns. Raises BadLine where a row for
    chat training is no whole trajectory.
    """
    if is_r1_searcher(row):
        turns, answer = _turns(row["trajectory"]) or ([], None)
        fields = {key: row.get(key) for key in ("id", "question")}
        stop = "answer" if turns else None
        return fields | {"answers": [row.get("answer")], "answer": answer, "stop_reason": stop, "turns": turns}
    if "turns" not in row and (form := chat_form(row)):
        return chat_record(row, form)
    return row


def _turns(text: str) -> tuple[list[dict[str, Any]], str] | None:
    """The turns of a trajectory and its answer; none where it has no answer or its tags do not fit."""
    texts, tags = _TAG.split(text)[::2], _TAG.findall(text)
    think, closed, end = texts[-1].partition("</think>")
    answer = _ANSWER.fullmatch(end)
    thoughts, queries, between, found = (texts[at:-1:4] for at in range(4))
    documents = [_passages(block) for block in found]
    if not (closed and answer and answer[1].strip()) or tags != _SEARCH * len(queries):
        return None
    if any(one.strip(' "\n') for one in between) or not all(map(str.strip, queries)) or None in documents:
        return None
    searches = [
        {"kind": "search", "think": _thought(thought), "queries": [query.strip()], "passages": [passages]}
        for thought, query, passages in zip(thoughts, queries, documents, strict=True)
    ]
    return [*searches, {"kind": "answer", "think": _thought(think)}], answer[1].strip()


def _thought(text: str) -> str:
    """A thought, without the quote that it opens for its query."""
    text = text.strip()
    return text[:-1].rstrip() if text.endswith('"') and text.count('"') % 2 else text


def _passages(block: str) -> list[dict[str, str]] | None:
    """The passages of a block of documents, each with its title as its id; none where one of them has no title."""
    passages = []
    head, *documents = _DOCUMENT.split(block)
    for document in map(str.strip, documents):
        if document.startswith('"') and document.endswith('"'):
            document = document[1:-1].replace('""', '"')
        title, separator, text = document.removeprefix("Title: ").partition(" Text:")
        if not separator:
            return None
        passages.append({"id": title.strip(), "title": title.strip(), "text": text.strip()})
    return None if head.strip() else passages
