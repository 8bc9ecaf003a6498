"""The page's application: three files, the assistant's facts, and answers as server-sent events.

Only this machine is let in. A question is accepted only as JSON, which no other site's page may send here. Retrieved
passages are foreign text: the page shows them as text, and its policy forbids everything that does not come from here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sized
from importlib.resources import files
from typing import Any, cast, get_args

from ragr1_lite import __version__
from ragr1_lite.assistant import Assistant
from ragr1_lite.config import WORLD
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.safe_text import cleaned
from ragr1_lite.core.types import Mode
from ragr1_lite.retrieval.remote.hosting import Refused, listening, need_extra, only_for_this_machine, read_body, run
from ragr1_lite.serving.page.queue import AnswerQueue
from ragr1_lite.ui.text import to_json

HOST, PORT = "127.0.0.1", 8123
MAX_BODY_BYTES = 100_000
MAX_QUESTION_CHARACTERS = 2_000
EXAMPLES = (
    "What are the capitals of Chad, Niger and Mali, in that order?",
    "Which has the higher highest point, Chad or Niger?",
    "What is the capital of the country whose internet domain is .td?",
)
"""Questions that the embedded world answers."""

_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_FORM = '{"question": "…", "mode": "multi"}'


def serve(opened: Callable[[], Assistant], port: int = PORT, *, report: Report = ignore) -> None:
    """Serves the page until Ctrl-C or SIGTERM, only to this machine.

    ``opened`` loads the model and its index; it is called once the port is ours. Port 0 takes a free one.

    Raises:
        RagR1Error: The extra is not installed, the port cannot be used, or the model or its index cannot be opened.
    """
    need_extra("The page")
    with listening(HOST, port) as listener:
        app = make_app(opened(), report=report)
        report(Notice(f"The page is at http://{HOST}:{listener.getsockname()[1]}. Ctrl-C ends."))
        run(app, listener, grace=1)


def make_app(assistant: Assistant, *, report: Report = ignore) -> Any:
    """The FastAPI application: the page, ``GET /about`` and ``POST /ask``.

    ``/ask`` takes ``{"question", "mode"}`` and streams :meth:`AnswerQueue.events`; a client that hangs up stops its
    answer. A wrong request gets a 4xx with ``{"detail": reason}``.

    Raises:
        ConfigError: FastAPI is not installed.
    """
    need_extra("The page")
    from fastapi import FastAPI, Response
    from fastapi.responses import StreamingResponse

    queue = AnswerQueue(assistant, report)
    app = FastAPI(title="ragr1-lite", version=__version__, openapi_url=None)

    def answer(content: Any, status: int = 200) -> Any:
        return Response(to_json(content), status, headers=_HEADERS, media_type="application/json")

    async def ask(request: Any) -> Any:
        try:
            if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                raise Refused(415, "Send the question as application/json.")
            question, mode = _read_question(await read_body(request, MAX_BODY_BYTES))
            if queue.full:
                raise Refused(409, "Too many questions are waiting; ask again when one is answered.")
        except Refused as refusal:
            return answer({"detail": str(refusal)}, refusal.status)
        return StreamingResponse(queue.events(question, mode), headers=_HEADERS, media_type="text/event-stream")

    async def about(request: Any) -> Any:
        return answer(cleaned(_about(assistant)))

    async def page(request: Any) -> Any:
        name, kind = _FILES[request.url.path]
        content = files("ragr1_lite.serving.page").joinpath(name).read_bytes()
        return Response(content, headers=_HEADERS, media_type=kind)

    for path in _FILES:
        app.add_route(path, page, methods=["GET"])
    app.add_route("/about", about, methods=["GET"])
    app.add_route("/ask", ask, methods=["POST"])
    only_for_this_machine(app, HOST)
    return app


def _about(assistant: Assistant) -> dict[str, Any]:
    searcher = assistant.searcher
    return {
        "model": assistant.model,
        "index": assistant.searched,
        "passages": len(searcher) if isinstance(searcher, Sized) else None,
        "mode": assistant.protocol.mode,
        "examples": EXAMPLES if assistant.index == WORLD else (),
    }


def _read_question(body: bytes) -> tuple[str, Mode]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not JSON.") from None
    question = fields.get("question") if isinstance(fields, dict) else None
    if not isinstance(question, str) or not question.strip():
        raise Refused(422, f"The body must hold a question, as in {_FORM}.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise Refused(422, f"The question is longer than {MAX_QUESTION_CHARACTERS} characters.")
    mode = fields.get("mode", "multi")
    if mode not in get_args(Mode):
        raise Refused(422, f"`mode` must be one of {', '.join(get_args(Mode))}.")
    return question.strip(), cast(Mode, mode)
