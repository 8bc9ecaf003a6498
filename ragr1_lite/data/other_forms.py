"""Rows of trajectory files that others write: those that tell what was retrieved become records, others are refused.

R1-Searcher's rows hold a question, its answer and one text, whose documents may be quoted as in CSV::

    I need Chad's capital. <|begin_of_query|> capital of Chad<|end_of_query|>
    <|begin_of_documents|>
    (1)Title: Chad Text:  Its capital is N'Djamena.
    (2)"Title: Faya Text:  A town, ""the pearl""."
    <|end_of_documents|>
    So it is N'Djamena.</think> <answer>N'Djamena</answer>

Rows for chat training are records where they hold a trajectory in this package's tags, as `data segment` writes them.
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
    turns = _turns_in_tags("\n".join(texts))
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


def _turns_in_tags(text: str) -> list[dict[str, Any]] | None:
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
        return {"queries": list(queries), "passages": [list(_numbered_passages(one)) for one in documents]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"queries": [" ".join(content.split())], "passages": [list(_numbered_passages(block))]}


def _numbered_passages(text: str) -> Iterator[dict[str, str]]:
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
