"""What a chat completion's request asks, and which of its wishes cannot be met.

A parameter is refused where the client would get an answer of another form than it wants: several choices, JSON, a
forced tool call, log-probabilities, sound. All others only tune how text is written (``temperature``, ``max_tokens``,
``stop``, tools that may be used) and are ignored: the model takes the likeliest tokens and calls no tools.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ragr1_lite.core.follow_up import whole_question
from ragr1_lite.retrieval.remote.hosting import Refused
from ragr1_lite.ui.text import one_line

MODEL = "ragr1-lite"
"""The name of the one model, whatever it is made of: a path would say too much."""
MAX_QUESTION_CHARACTERS = 20_000

_ONE_TEXT: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("auto", "none"),
    "function_call": ("auto", "none"),
    "logprobs": (False,),
    "modalities": (["text"],),
    "audio": (),
}
"""Parameters that want another form of answer, and their values that do not."""
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


class Wrong(Refused):
    """Why a request is not answered; ``param`` and ``code`` as OpenAI's API has them."""

    def __init__(self, status: int, reason: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(status, reason)
        self.param, self.code = param, code


@dataclass(frozen=True, slots=True)
class Asking:
    """A request: the question, whether the answer is streamed, and whether its last chunk counts tokens.

    ``follow_up`` says whether the question was made whole by what was said before it.
    """

    question: str
    stream: bool = False
    usage: bool = False
    follow_up: bool = False


def read_request(body: bytes) -> Asking:
    """Reads a request; raises Wrong."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise Wrong(400, "The body is not JSON.") from None
    if not isinstance(fields, dict):
        raise Wrong(400, "The body must be a JSON object with `model` and `messages`.")
    model = fields.get("model")
    if not isinstance(model, str):
        raise Wrong(400, f"`model` must be a string: {MODEL}.", "model")
    if model != MODEL:
        raise Wrong(404, f"There is no model {one_line(model, 80)}: it is {MODEL}.", "model", "model_not_found")
    for name, values in _ONE_TEXT.items():
        if (value := fields.get(name)) is not None and not any(_same(value, one) for one in values):
            allowed = " or ".join(["null", *map(json.dumps, values)])
            raise Wrong(400, f"`{name}` may only be {allowed}: the answer is one text.", name, "unsupported_value")
    options = fields.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise Wrong(400, "`stream_options` must be an object or null.", "stream_options")
    asked, whole = question_of(fields.get("messages"))
    return Asking(whole, _flag(fields, "stream"), _flag(options or {}, "include_usage"), follow_up=whole != asked)


def question_of(messages: Any) -> tuple[str, str]:
    """What is asked: the last user message, and that made whole by those before it where it is a follow-up.

    >>> question_of([{"role": "user", "content": [{"type": "text", "text": "Which is larger?"}]}])
    ('Which is larger?', 'Which is larger?')
    """
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise Wrong(400, "`messages` must be a list of objects with `role` and `content`.", "messages")
    if not all(one.get("role") in _ROLES for one in messages):
        raise Wrong(400, f"The `role` of a message must be one of {', '.join(_ROLES)}.", "messages")
    last = max((at for at, one in enumerate(messages) if one["role"] == "user"), default=None)
    if last is None:
        raise Wrong(400, "`messages` must hold one of the role user: the question.", "messages")
    # Half of a surrogate pair, which JSON can hold, is no text.
    question = _text_of(messages[last].get("content")).encode(errors="replace").decode().strip()
    if not question:
        raise Wrong(400, "The last user message is empty.", "messages")
    if len(question) > MAX_QUESTION_CHARACTERS:
        most = f"The last user message is longer than {MAX_QUESTION_CHARACTERS} characters."
        raise Wrong(400, most, "messages", "context_length_exceeded")
    before = [{"role": one["role"], "content": text} for one in messages[:last] if (text := _text_before(one))]
    return question, whole_question([*before, {"role": "user", "content": question}])


def _text_before(message: dict[str, Any]) -> str:
    """What an earlier message says, if it is a text that can be read: nothing else is wrong with it."""
    with suppress(Wrong):
        return _text_of(message.get("content")).encode(errors="replace").decode().strip()[:MAX_QUESTION_CHARACTERS]
    return ""


def _text_of(content: Any) -> str:
    """A message's text, which may come in parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise Wrong(400, "The `content` of a message must be a string or a list of parts.", "messages")
    texts = [part.get("text") for part in content if part.get("type") == "text"]
    if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
        raise Wrong(400, "Only parts of the type text can be read.", "messages", "unsupported_value")
    return "\n".join(texts)


def _same(value: Any, other: Any) -> bool:
    """Whether JSON has them for the same, as Python has not: 0 is not false there, nor 1 true."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise Wrong(400, f"`{name}` must be true, false or null.", name)
    return bool(value)
