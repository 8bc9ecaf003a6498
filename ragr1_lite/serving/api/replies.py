"""Answers in the form of OpenAI's chat completions, in chunks or whole.

Thoughts and searches are ``reasoning_content``, as with other models that think. What OpenAI's form has no place for,
the searches as data, is under ``ragr1_lite``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from ragr1_lite.assistant import Answer, source_of
from ragr1_lite.core.events import Searched, TextSampled
from ragr1_lite.core.safe_text import clean
from ragr1_lite.core.types import Passage
from ragr1_lite.serving.api.asking import MODEL, Asking, Wrong
from ragr1_lite.serving.engine import Asked
from ragr1_lite.ui.text import one_line, title_of, to_json
from ragr1_lite.ui.turns import NO_ANSWER, last_thought, read_partial

Fields = dict[str, Any]


async def chunks(asked: Asked, asking: Asking) -> AsyncIterator[bytes]:
    """The answer as it grows, as server-sent events; raises as iterating over ``asked`` does."""
    head = _head("chat.completion.chunk") | ({"usage": None} if asking.usage else {})

    def chunk(delta: Fields, finish: str | None = None) -> bytes:
        return event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": ""})
    if asking.follow_up:
        yield chunk({"reasoning_content": _understood(asking)})
    growing = _Growing()
    async for happened in asked:
        if delta := growing.delta(happened):
            yield chunk(delta)
        if isinstance(happened, Answer):
            yield chunk({}, _finish(happened))
            if asking.usage:
                yield event(head | {"choices": [], "usage": _usage(happened)})
    yield b"data: [DONE]\n\n"


async def whole(asked: Asked, asking: Asking) -> Fields:
    """The answer when it is complete: what the deltas of :func:`chunks` add up to; raises as they do."""
    thoughts = _understood(asking) if asking.follow_up else ""
    message: Fields = {"role": "assistant", "content": "", "reasoning_content": thoughts, "annotations": []}
    searches: list[Fields] = []
    growing = _Growing()
    async for happened in asked:
        delta = growing.delta(happened)
        if found := delta.pop("ragr1_lite", None):
            searches.append(found["search"])
        for name, more in delta.items():
            message[name] += more
        if isinstance(happened, Answer):
            answer = happened
    choice = {"index": 0, "message": message | {"ragr1_lite": {"searches": searches}}, "finish_reason": _finish(answer)}
    return _head("chat.completion") | {"choices": [choice], "usage": _usage(answer)}


def event(data: Fields) -> bytes:
    """A server-sent event."""
    return f"data: {to_json(data)}\n\n".encode()


def failure(wrong: Wrong) -> Fields:
    """An error in OpenAI's form."""
    kind = "server_error" if wrong.status >= 500 else "invalid_request_error"
    return {"error": {"message": str(wrong), "type": kind, "param": wrong.param, "code": wrong.code}}


def models() -> Fields:
    """The list of models, which are one."""
    return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": MODEL}]}


class _Growing:
    """Makes of a question's events what is new for the client."""

    def __init__(self) -> None:
        self._turn = self._thought = self._content = ""

    def delta(self, event: object) -> Fields:
        """What a message's fields grow by; what was sent is never taken back."""
        fields: Fields = {}
        match event:
            case TextSampled(text=more):
                self._turn += more
                partial = read_partial(self._turn)
                fields["reasoning_content"] = self._think(partial.think)
                if partial.action == "answer" and partial.content.startswith(self._content):
                    fields["content"] = partial.content[len(self._content) :]
                    self._content = partial.content
            case Searched():
                fields["reasoning_content"] = ("\n\n" if self._thought else "") + _in_words(event)
                fields["ragr1_lite"] = {"search": _as_data(event)}
                self._turn = self._thought = ""
            case Answer(trajectory=trajectory):
                fields["reasoning_content"] = self._think(last_thought(trajectory))
                text = NO_ANSWER[trajectory.stop_reason] if trajectory.answer is None else clean(trajectory.answer)
                begun = text.startswith(self._content)
                fields["content"] = text[len(self._content) :] if begun else f"\n\n{text}"
                fields["annotations"] = [
                    _annotation(one, len(text)) | {"holds": event.holds(one)} for one in event.sources
                ]
        return {name: value for name, value in fields.items() if value}

    def _think(self, thought: str) -> str:
        if not thought.startswith(self._thought):
            return ""
        new, self._thought = thought[len(self._thought) :], thought
        return new


def _understood(asking: Asking) -> str:
    return f"Question: {one_line(asking.question)}\n\n"


def _in_words(search: Searched) -> str:
    titles = dict.fromkeys(title_of(passage) for passages in search.passages for passage in passages)
    return f"Searched: {'; '.join(map(one_line, search.queries))}\nFound: {'; '.join(titles) or 'nothing'}\n\n"


def _as_data(search: Searched) -> Fields:
    found = [[{"title": title_of(one), "score": round(one.score, 4)} for one in hits] for hits in search.passages]
    return {"queries": [one_line(query) for query in search.queries], "passages": found}


def _annotation(passage: Passage, length: int) -> Fields:
    """A source of the whole answer: OpenAI's form where it has a URL."""
    source = {name: one_line(text) for name, text in source_of(passage).items()} | {"title": title_of(passage)}
    if "url" in source:
        return {"type": "url_citation", "url_citation": {**source, "start_index": 0, "end_index": length}}
    return {"type": "file_citation", "file_citation": source}


def _head(kind: str) -> Fields:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": MODEL}


def _finish(answer: Answer) -> str:
    return "length" if answer.trajectory.answer is None else "stop"


def _usage(answer: Answer) -> Fields:
    """Tokens that the model read, documents among them, and those that it wrote."""
    both, written = len(answer.trajectory.token_ids), answer.trajectory.sampled_tokens
    return {"prompt_tokens": both - written, "completion_tokens": written, "total_tokens": both}
