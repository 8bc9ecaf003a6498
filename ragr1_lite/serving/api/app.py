"""The API's application: ``POST /v1/chat/completions`` and ``GET /v1/models``, for this machine or with a token.

A client learns what is wrong with its request. Why an answer failed, which may name paths, is reported here alone.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from ragr1_lite import __version__
from ragr1_lite.assistant import Assistant
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.retrieval.remote.hosting import Refused, listening, need_extra, only_for_this_machine, read_body, run
from ragr1_lite.serving.api.asking import Asking, Wrong, read_request
from ragr1_lite.serving.api.replies import chunks, event, failure, models, whole
from ragr1_lite.serving.engine import Asked, Engine, Full, Stopping, TooLate
from ragr1_lite.ui.text import to_json

HOST, PORT = "127.0.0.1", 8124
VARIABLE = "RAGR1_LITE_TOKEN"
MAX_BODY_BYTES = 4 * 2**20
RETRY_AFTER = 5
"""Seconds after which a client that was refused may ask again."""

_T = TypeVar("_T")


def serve(
    opened: Callable[[], Assistant],
    host: str = HOST,
    port: int = PORT,
    *,
    token: str = "",
    rows: int = 8,
    waiting: int = 32,
    timeout: float = 300,
    report: Report = ignore,
) -> None:
    """Serves the API until Ctrl-C or SIGTERM.

    Args:
        opened: Loads the model and its index; called once the port is ours.
        host: Where to listen; anything but this machine's own address needs a token.
        port: 0 takes a free one.
        token: What clients must send as their API key; empty: nothing.
        rows: Questions answered side by side.
        waiting: Questions that may wait besides.
        timeout: Seconds that an answer may take, waiting included.
        report: Receives notices.

    Raises:
        ConfigError: The extra is not installed, the address cannot be used, or lacks a token.
        RagR1Error: The model or its index cannot be opened.
        KeyboardInterrupt: After Ctrl-C.
    """
    need_extra("The API")
    with listening(host, port) as listener:
        address, bound = listener.getsockname()[:2]
        local = ipaddress.ip_address(address).is_loopback
        if not local and not token:
            raise ConfigError(
                f"Everybody who reaches {host} could ask: there is no token", f"Set {VARIABLE}, or leave out --host."
            )
        engine = Engine(opened(), rows=rows, most=rows + waiting, timeout=timeout, report=report)
        app = make_app(engine, token=token, report=report)
        if local:
            only_for_this_machine(app, address, refuse)
        shown = f"[{address}]" if ":" in address else address
        report(Notice(f"The API is at http://{shown}:{bound}/v1. Ctrl-C ends."))
        try:
            run(app, listener, grace=1, stopping=engine.stop)
        finally:
            engine.close()


def make_app(engine: Engine, *, token: str = "", report: Report = ignore) -> Any:
    """The FastAPI application; a client that hangs up frees its question's row.

    Raises:
        ConfigError: FastAPI is not installed.
    """
    need_extra("The API")
    from fastapi import FastAPI, Response
    from fastapi.responses import StreamingResponse
    from starlette.requests import ClientDisconnect

    app = FastAPI(title="ragr1-lite", version=__version__, openapi_url=None)

    def route(path: str, method: str, handle: Callable[[Any], Awaitable[Any]]) -> None:
        async def handled(request: Any) -> Any:
            try:
                _authorize(request.headers.get("authorization", ""), token)
                return await handle(request)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception as error:
                return refuse(_wrong(error, report))

        app.add_route(path, handled, methods=[method])

    async def streamed(asked: Asked, asking: Asking) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks(asked, asking):
                yield chunk
        except Exception as error:
            yield event(failure(_wrong(error, report)))

    async def complete(request: Any) -> Any:
        asking = read_request(await read_body(request, MAX_BODY_BYTES))
        asked = engine.ask(asking.question)
        if asking.stream:
            return _within(asked, StreamingResponse(streamed(asked, asking), media_type="text/event-stream"))
        with asked:
            return _answer(await _while_connected(request, whole(asked, asking)))

    async def listed(request: Any) -> Any:
        return _answer(models())

    async def unknown(request: Any, error: Any) -> Any:
        wrong = Wrong(error.status_code, "There are POST /v1/chat/completions and GET /v1/models alone.")
        return _answer(failure(wrong), wrong.status, error.headers)  # which methods there are

    route("/v1/chat/completions", "POST", complete)
    route("/v1/models", "GET", listed)
    for status in (404, 405):
        app.add_exception_handler(status, unknown)
    return app


def _answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Any:
    from fastapi import Response

    return Response(to_json(content), status, headers, media_type="application/json")


def refuse(refused: Refused) -> Any:
    """The response to what is not answered, in OpenAI's form."""
    wrong = refused if isinstance(refused, Wrong) else Wrong(refused.status, str(refused))
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": str(RETRY_AFTER)}}
    return _answer(failure(wrong), wrong.status, headers.get(wrong.status))


def _authorize(header: str, token: str) -> None:
    """Raises Wrong where there is a token and the header ``Authorization`` has another."""
    scheme, _, sent = header.partition(" ")
    if token and not (
        scheme.lower() == "bearer" and hmac.compare_digest(sent.strip().encode("latin-1"), token.encode())
    ):
        raise Wrong(401, "The API key is missing or wrong: it is the server's token.", code="invalid_api_key")


def _wrong(error: Exception, report: Report) -> Wrong:
    """What a client learns of an error."""
    match error:
        case Wrong():
            return error
        case Refused():
            return Wrong(error.status, str(error))
        case Full():
            return Wrong(503, str(error), code="overloaded")
        case Stopping():
            return Wrong(503, str(error), code="stopping")
        case TooLate():
            return Wrong(504, str(error), code="timeout")
    report(Notice(f"An answer failed: {type(error).__name__}: {error}", "warning"))
    return Wrong(500, "The answer failed; the server's own messages say why.")


def _within(asked: Asked, response: Any) -> Any:
    """A response that lets go of its question however it ends, be it before the first chunk."""

    async def respond(scope: Any, receive: Any, send: Any) -> None:
        with asked:
            await response(scope, receive, send)

    return respond


async def _while_connected(request: Any, work: Awaitable[_T]) -> _T:
    """Does some work unless the client hangs up first; raises ClientDisconnect then."""
    from starlette.requests import ClientDisconnect

    async def hangs_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(hangs_up())
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return await working
    finally:
        working.cancel()
        gone.cancel()
