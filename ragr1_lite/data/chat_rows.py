"""Rows for chat training that hold a trajectory in this package's tags, as `data segment` writes them and others do.

Alpaca has ``instruction``, ``input`` and ``output``; ShareGPT ``conversations`` of ``from`` and ``value``; OpenAI
``messages`` of ``role`` and ``content``; TRL ``prompt`` and ``completion``. What follows the question, all speakers
together, has to be turns::

    <think>…</think><search>area of Chad, area of Niger</search>
    <information>{"query": [...], "documents": ["Doc 1: Chad. Chad is …", …]}</information>
    <think>…</think><answer>Niger</answer>

Without JSON the documents are those of one query. Who wrote what follows from the tags alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ragr1_lite.files.json_lines import BadLine

_FORMS = {"Alpaca": "instruction", "ShareGPT": "conversations", "OpenAI": "messages", "TRL": "completion"}
"""A key that only rows of this form have."""
_TURN = re.compile(r"\s*(?:<think>(.*?)</think>)?\s*<(search|answer)>\s*(.*?)\s*</\2>\s*", re.DOTALL)
_INFORMATION = re.compile(r"<information>\s*(.*?)\s*</information>\s*", re.DOTALL)
_QUESTION = re.compile(r".*question\s*:", re.DOTALL | re.IGNORECASE)
_NONE_FOUND = "No documents found."


class Unfinished(BadLine):
    """A sample whose last turn is a search: of a trajectory with one for each turn, the last is all of it."""


def chat_form(row: Mapping[str, Any]) -> str | None:
    """The name of a row's form; ``None`` where it is none for chat training."""
    return next((name for name, key in _FORMS.items() if row.get(key) is not None), None)


def chat_record(row: Mapping[str, Any], form: str) -> dict[str, Any]:
    """The record of a row of a form; its answer is taken for right.

    Raises:
        Unfinished: It ends in a search.
        BadLine: It is not in tags.
    """
    prompt, *texts = _texts(row) or [""]
    turns = _turns("\n".join(texts))
    if turns is None:
        raise BadLine(
            f"is a row for chat training in {form}'s form that is no trajectory in our tags "
            "(<think>, <search>, <information>, <answer>)"
        )
    *_, last = turns
    if last["kind"] == "search":
        raise Unfinished(f"is a sample in {form}'s form that ends in a search")
    answer, question = last.pop("answer"), _QUESTION.sub("", prompt, count=1).strip()
    known = {"id": row.get("id"), "question": question, "answers": [answer]}
    return known | {"answer": answer, "stop_reason": "answer", "turns": turns}


def _texts(row: Mapping[str, Any]) -> list[str] | None:
    """The prompt and what follows, without a system message; ``None`` where they are no texts."""
    if row.get("instruction") is not None:
        asked = (row["instruction"], row.get("input"))
        said = ["\n".join(one for one in asked if isinstance(one, str) and one), row.get("output")]
    else:
        held = row.get("conversations") or row.get("messages") or _both(row.get("prompt"), row.get("completion"))
        said = [_spoken(one) for one in held] if isinstance(held, list) else []
        said = [one for one in said if one != ""]
    return said if said and all(isinstance(one, str) for one in said) else None  # type: ignore[return-value]


def _both(prompt: Any, completion: Any) -> list[Any]:
    """TRL's halves, each a text or a list of messages."""
    return [one for half in (prompt, completion) for one in (half if isinstance(half, list) else [half])]


def _spoken(message: Any) -> Any:
    """What a message says; nothing where it is the system's."""
    if not isinstance(message, dict):
        return message
    speaker = message.get("from", message.get("role"))
    return "" if speaker == "system" else message.get("value", message.get("content"))


def _turns(text: str) -> list[dict[str, Any]] | None:
    """The turns of a text, the last perhaps a search without documents; ``None`` where there is anything else."""
    turns: list[dict[str, Any]] = []
    at = 0
    while turn := _TURN.match(text, at):
        thought, kind, content = turn.groups()
        at = turn.end()
        known = {"kind": kind, "think": (thought or "").strip()}
        if kind == "answer":
            turns.append(known | {"answer": content})
            break
        found = _INFORMATION.match(text, at)
        turns.append(known | _searched(content, found[1] if found else ""))
        if not found:
            break
        at = found.end()
    return turns if turns and at == len(text) and all(one.get("answer") != "" for one in turns) else None


def _searched(content: str, block: str) -> dict[str, Any]:
    """The queries of a search and what each found."""
    try:
        held = json.loads(block)
        queries, documents = held["query"], held["documents"]
        return {"queries": list(queries), "passages": [list(_passages(one)) for one in documents]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"queries": [" ".join(content.split())], "passages": [list(_passages(block))]}


def _passages(text: str) -> Iterator[dict[str, str]]:
    """The passages of ``Doc 1: Title. Text Doc 2: …`` or ``Doc 1(Title: Title) Text``; a text without them is one."""
    heads: list[re.Match[str]] = []
    at = 0
    while head := re.compile(rf"(?:^|\s)Doc {len(heads) + 1}(?:: |\(Title: (.*?)\)\s)").search(text, at):
        heads.append(head)
        at = head.end()
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for head, end in zip(heads, ends, strict=False):
        body = text[head.end() : end].strip()
        title, parted, rest = (head[1].strip(' "'), True, body) if head[1] is not None else body.partition(". ")
        title, shown = (title, rest.strip()) if parted else ("", body)
        yield {"id": title, "title": title, "text": shown}
    if not heads and text and text != _NONE_FOUND:
        yield {"id": "", "title": "", "text": text}
