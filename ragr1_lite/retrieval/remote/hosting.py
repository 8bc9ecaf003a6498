"""Runs a server: FastAPI or another application, and uvicorn, on a listening socket; the extra ``serve``."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any
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


def only_for_this_machine(app: Any, address: str) -> None:
    """Refuses requests to another host's name, and those of another site's pages.

    A web page could otherwise point its own name here, and read, or have searches done that it cannot read.
    """
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    names = [address, f"[{address}]", "localhost", "127.0.0.1"]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)
    app.add_middleware(_OwnPages, names=[name.strip("[]") for name in names])


class _OwnPages:
    """Answers 403 where a browser says that a page of another site asks."""

    def __init__(self, app: Any, names: Collection[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse

        origin, host = dict(scope.get("headers") or ()).get(b"origin"), None
        with suppress(ValueError):
            host = urlsplit((origin or b"").decode("latin-1")).hostname
        refused = origin is not None and host not in self._names
        app = PlainTextResponse("A page of another site may not ask here.", 403) if refused else self._app
        await app(scope, receive, send)


def run(app: Any, listener: socket.socket, *, grace: int = 10) -> None:
    """Serves until SIGTERM or Ctrl-C (KeyboardInterrupt); requests under way have ``grace`` seconds."""
    _server(app, grace).run(sockets=[listener])


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


def _server(app: Any, grace: int) -> Any:
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
    return uvicorn.Server(config)
