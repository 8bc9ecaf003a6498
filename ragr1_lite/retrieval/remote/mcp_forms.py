"""How the tools of MCP servers take queries, and in which forms they answer; foreign, so that each shape is checked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ragr1_lite.core.types import Passage
from ragr1_lite.files.json_lines import json_of
from ragr1_lite.retrieval.remote.client import read_document, whole

_LISTS = ("queries", "questions", "query", "q")
_TEXTS = ("query", "q", "question", "search", "search_query", "text", "input")
_COUNTS = "k top_k topk limit max_results num_results maxResults numResults n_results count".split()
_ROWS = ("results", "result", "passages", "documents", "hits", "items", "data")
_BODIES = ("text", "contents", "content", "snippet", "description", "summary", "body")
_ADDRESSES = ("url", "link", "uri", "id")
_AT_ONCE = 100
"""Queries of a call where the tool names no limit."""
_PLAIN_CHARACTERS = 100_000
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Form:
    """How a tool takes queries.

    Attributes:
        key: The argument that holds them.
        most: How many a call may have, as a list; 0 where it takes one, as a text.
        count: The argument that says how many passages each may have; empty where there is none.
        most_count: The largest it takes.
    """

    key: str
    most: int = 0
    count: str = ""
    most_count: float = sys.maxsize

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Form:
        """Reads a tool's input schema.

        Raises:
            ValueError: It takes no query, or wants more than queries; the message says what.
        """
        found, needed = schema.get("properties"), schema.get("required")
        found = found if isinstance(found, dict) else {}
        properties = {name: one for name, one in found.items() if isinstance(one, dict)}
        required = [name for name in properties if name in needed] if isinstance(needed, list) else []
        lists = [name for name, one in properties.items() if "array" in _types(one) and _is_of_texts(one)]
        texts = [name for name, one in properties.items() if "string" in _types(one)]
        by_name = [*(name for name in _LISTS if name in lists), *(name for name in _TEXTS if name in texts)]
        key = next(iter(by_name or [name for name in required if name in {*lists, *texts}]), None)
        if key is None:
            raise ValueError("it takes no query")
        if other := next((name for name in required if name != key), None):
            raise ValueError(f"it wants {other!r} as well")
        count = next((name for name in _COUNTS if _types(properties.get(name, {})) & {"integer", "number"}), "")
        most, largest = properties[key].get("maxItems"), properties.get(count, {}).get("maximum")
        at_once = most if isinstance(most, int) and most > 0 else _AT_ONCE
        most_count = largest if isinstance(largest, int | float) and largest >= 1 else sys.maxsize
        return cls(key, at_once if key in lists else 0, count, most_count)

    def arguments(self, queries: Sequence[str], k: int) -> dict[str, Any]:
        """A call's arguments."""
        asked = {self.key: list(queries) if self.most else queries[0]}
        return asked | ({self.count: int(min(k, self.most_count))} if self.count else {})


def read_found(result: Any, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
    """The passages of a tool's result, one tuple per query.

    Structured content, or a text that is JSON, holds a list of documents, or one for each query, perhaps under such
    names as ``results``. Other texts are passages themselves, if one query was asked.

    Raises:
        ValueError: The form is another; the message says where.
    """
    texts = [block.text for block in result.content if block.type == "text" and block.text.strip()]
    value = result.structured_content
    if value is None and len(texts) == 1:
        with suppress(ValueError):
            value = json_of(texts[0])
    rows = _list_in(value)
    if rows is None:
        if len(queries) > 1 and texts:
            raise ValueError("its text does not say which part is for which query")
        bodies = [whole(text[:_PLAIN_CHARACTERS].strip()) for text in texts[:k]]
        plain = (Passage(f"{queries[0]} ({at})", "", body, 1.0 / at) for at, body in enumerate(bodies, start=1))
        return [tuple(plain)] if texts else [()] * len(queries)
    inner = [[] if row is None else _list_in(row) for row in rows]
    if len(rows) == len(queries) and all(one is not None for one in inner):
        return [tuple(_passages(one or [], k)) for one in inner]
    if len(queries) == 1:
        return [tuple(_passages(rows, k))]
    raise ValueError(f"it has {len(rows)} results for {len(queries)} queries, or they are no lists")


def _passages(rows: Sequence[Any], k: int) -> Iterator[Passage]:
    for place, row in enumerate(rows[:k], start=1):
        item = {"text": row} if isinstance(row, str) else row
        if not isinstance(item, dict):
            raise ValueError("a document is neither an object nor a text")
        document = item.get("document", item)
        document = {"text": document} if isinstance(document, str) else document
        if not isinstance(document, dict):
            raise ValueError("a document is neither an object nor a text")
        body = next((name for name in _BODIES if isinstance(document.get(name), str)), "text")
        title = document.get("title") or document.get("name") or ""
        fields = {"contents" if body == "contents" else "text": document.get(body, ""), "title": title}
        address = next((document[name] for name in _ADDRESSES if document.get(name) not in (None, "")), str(place))
        yield read_document(fields | {"place": document.get("place")}, address, item.get("score", 1.0 / place))


def _list_in(value: Any, depth: int = 0) -> list[Any] | None:
    """The list that a value is, or that lies in it under one of the usual names."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or depth == _DEEPEST:
        return None
    inner = (_list_in(value[name], depth + 1) for name in _ROWS if name in value)
    return next((found for found in inner if found is not None), None)


def _types(schema: Mapping[str, Any]) -> set[str]:
    """The types that a schema allows, also as one of several."""
    kinds: list[Any] = []
    for one in _choices(schema):
        kind = one.get("type")
        kinds += kind if isinstance(kind, list) else [kind]
    return {kind for kind in kinds if isinstance(kind, str)}


def _choices(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    several = schema.get("anyOf")
    return [schema, *(one for one in several if isinstance(one, dict))] if isinstance(several, list) else [schema]


def _is_of_texts(schema: Mapping[str, Any]) -> bool:
    items = [one["items"] for one in _choices(schema) if isinstance(one.get("items"), dict)]
    return not items or any("string" in _types(one) for one in items)
