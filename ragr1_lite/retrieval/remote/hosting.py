"""Runs a server: FastAPI or another application, and uvicorn, on a listening socket; the extra ``serve``."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, NoReturn
from urllib.parse import urlsplit

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.versions import install_hint

_CONNECTIONS = 1_000
_PATIENCE = 30.0
"""Seconds a client may take to send its request."""


class Refused(Exception):
    """Why a request is not answered, and the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def need_extra(what: str) -> None:
    """Raises ConfigError, whose message begins with ``what``, where FastAPI or uvicorn is missing."""
    try:
        for package in ("fastapi", "uvicorn"):
            import_module(package)
    except ImportError:
        raise ConfigError(f"{what} needs FastAPI and uvicorn", install_hint("serve")) from None


async def read_body(request: Any, most: int) -> bytes:
    """Reads a request's body. One that is too large is read to its end and dropped, so that its sender gets the reason.

    Raises:
        Refused: It is too large, or takes too long.
    """
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(_PATIENCE):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= most:
                    body += chunk
    except TimeoutError:
        if size <= most:
            raise Refused(408, f"The request was not there after {_PATIENCE:g} seconds.") from None
    if size > most:
        raise Refused(413, f"The request is larger than {most} bytes.")
    return bytes(body)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at the address; raises ConfigError where it is in use or does not exist."""
    if not 0 <= port <= 65_535:  # getaddrinfo would take it modulo 65,536
        raise ConfigError(f"There is no port {port} to listen at", "Choose one up to 65535, or 0 for a free one.")
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(places)  # IPv4 first, as clients take localhost for 127.0.0.1
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"There is no address {host}:{port} to listen at ({error})", "Use 127.0.0.1.") from None
    with listener:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_CONNECTIONS)
        except OSError as error:
            used = f"Port {port} of {host} is in use", "Choose another one, or 0 for a free one."
            failed = f"{host}:{port} cannot be listened at ({error.strerror or error})", "Choose another host or port."
            raise ConfigError(*(used if error.errno == errno.EADDRINUSE else failed)) from None
        yield listener


def only_for_this_machine(app: Any, address: str, refuse: Callable[[Refused], Any] | None = None) -> None:
    """Refuses requests to another host's name, and those of another site's pages; ``refuse`` makes the response.

    A web page could otherwise point its own name here, and read, or have searches done that it cannot read.
    """
    from starlette.responses import PlainTextResponse

    def in_words(refused: Refused) -> Any:
        return PlainTextResponse(str(refused), refused.status)

    app.add_middleware(_OnlyOwn, names={address, "localhost", "127.0.0.1"}, refuse=refuse or in_words)


class _OnlyOwn:
    """Answers 400 to another host's name, 403 where a browser says that a page of another site asks."""

    def __init__(self, app: Any, names: Collection[str], refuse: Callable[[Refused], Any]) -> None:
        self._app, self._names, self._refuse = app, names, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        app, headers = self._app, dict(scope.get("headers") or ())
        if scope["type"] == "http" and not self._is_own(b"//" + headers.get(b"host", b"")):
            app = self._refuse(Refused(400, "This server has another name: ask it by its address."))
        elif not self._is_own(headers.get(b"origin", b"//localhost")):
            app = self._refuse(Refused(403, "A page of another site may not ask here."))
        await app(scope, receive, send)

    def _is_own(self, url: bytes) -> bool:
        with suppress(ValueError):
            return urlsplit(url.decode("latin-1")).hostname in self._names
        return False


def run(app: Any, listener: socket.socket, *, grace: int = 10, stopping: Callable[[], object] = lambda: None) -> None:
    """Serves until SIGTERM or Ctrl-C (KeyboardInterrupt).

    Then ``stopping`` is called, and requests under way have ``grace`` seconds.
    """

    def terminated(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        _server(app, grace, stopping).run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def in_background(app: Any, what: str) -> Iterator[str]:
    """Serves on a free port of this machine while the block runs, and gives the URL; raises as :func:`need_extra`."""
    need_extra(what)
    server = _server(app, 1)
    with listening("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _server(app: Any, grace: int, stopping: Callable[[], object] = lambda: None) -> Any:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="auto",  # MCP starts its tasks in it
        ws="none",
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=grace,
    )
    server = uvicorn.Server(config)
    shutdown = server.shutdown

    async def announced(sockets: list[socket.socket] | None = None) -> None:
        stopping()
        await shutdown(sockets)

    server.shutdown = announced
    return server
