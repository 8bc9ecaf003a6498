"""Rows that hold several questions, as SQuAD's articles and MRQA's paragraphs do, as rows of one question each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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
