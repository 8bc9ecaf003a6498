"""What an OpenAI-compatible server answers, as its documents have it; ``recorded`` serves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.support.recorded import Asked, Reply

Say = Callable[[dict[str, Any]], "str | Reply"]


def chat(say: Say, *, models: Sequence[str] = ("tiny",), stops: str = "cut") -> Callable[[Asked], Reply]:
    """Serves ``/v1/models`` and ``/v1/chat/completions``.

    Args:
        say: The whole text that the model would write to a request, or a reply as it stands.
        models: Their names.
        stops: ``cut``: a text ends before the first stop string, as with OpenAI, vLLM, llama.cpp and Ollama; ``kept``:
            behind it, as vLLM can be told; ``ignored``: it goes on.
    """

    def answer(asked: Asked) -> Reply:
        if asked.method == "GET" and asked.path == "/v1/models":
            return Reply({"object": "list", "data": [{"id": name, "object": "model"} for name in models]})
        if asked.path != "/v1/chat/completions":
            return Reply({"detail": "Not Found"}, 404)
        body = asked.json
        said = say(body)
        return said if isinstance(said, Reply) else said_so(stopped(said, body.get("stop") or [], stops))

    return answer


def stopped(text: str, stop: Sequence[str], how: str) -> str:
    """The text as a server leaves it."""
    found = min(((text.index(tag), tag) for tag in stop if tag in text), default=None)
    if found is None or how == "ignored":
        return text
    return text[: found[0] + (len(found[1]) if how == "kept" else 0)]


def said_so(text: str | None, finish: str = "stop", **message: Any) -> Reply:
    """A completion; ten tokens are read and five written each time."""
    return Reply(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "tiny",
            "choices": [
                {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
            ],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }
    )


def refusal(status: int, message: str, *, param: str | None = None, code: str | None = None, **headers: str) -> Reply:
    """An error in OpenAI's form."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Reply({"error": error}, status, {name.replace("_", "-"): value for name, value in headers.items()})


def turn_of(body: dict[str, Any]) -> int:
    """How often the assistant has spoken."""
    return sum(message["role"] == "assistant" for message in body["messages"])


def question_of(body: dict[str, Any]) -> str:
    """The question, which the prompt ends with."""
    return str(body["messages"][0]["content"]).rpartition("Question: ")[2]
