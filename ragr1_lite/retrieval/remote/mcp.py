"""Searching by a tool of a server that speaks the Model Context Protocol (MCP); its SDK is the extra ``mcp``.

    mcp+https://HOST/mcp    over HTTP; what is asked leaves this machine, and a notice says so
    mcp+http://HOST/mcp     without TLS, on this machine alone
    mcp+stdio:COMMAND       a command that is started here, without a shell, and spoken to over stdin and stdout

The tool is named ``search``, or as ``#TOOL`` at the end says. What takes a list of queries gets all of a turn at once.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import re
import shlex
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from importlib import import_module
from typing import Any, TypeVar

from ragr1_lite.core.errors import ConfigError, RetrievalIndexError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.types import Passage
from ragr1_lite.core.urls import COMMAND, without_secrets
from ragr1_lite.retrieval.remote.client import RemoteSearcher, Server, Temporary, is_here, one_line, split_url, trusted
from ragr1_lite.retrieval.remote.mcp_forms import Form, read_found
from ragr1_lite.versions import install_hint

WORKERS = 8
"""Calls in flight at a time, of a tool that takes one query."""
_ANSWER_BYTES = 16 * 2**20
_TOO_LARGE = f"it is larger than {_ANSWER_BYTES // 2**20} MiB"
_EXAMPLE = "Write it like mcp+https://example.org/mcp or mcp+stdio:COMMAND, with #TOOL at its end for another tool."
_GRACE = 5.0
"""Seconds beyond the time-outs of the SDK, for what they do not bound."""

T = TypeVar("T")


class McpSearcher(RemoteSearcher):
    """Searches by a tool of an MCP server, which is connected to at the first search.

    ``timeout``: seconds until an answer must be there.

    Raises:
        ConfigError: The name is of no such server, or the SDK is missing.
    """

    def __init__(self, name: str, *, timeout: float = 60.0, retries: int = 2) -> None:
        try:
            import_module("mcp.client.stdio")
        except ImportError:
            raise ConfigError("Searching by MCP needs its SDK", install_hint("mcp")) from None
        named = re.fullmatch(r"(.+)#([\w.-]+)", name, re.DOTALL)
        server, self.tool = (named[1], named[2]) if named else (name, "search")
        called = f"The MCP server {without_secrets(server)}"
        self._timeout, self._form = timeout, Form("")
        self._client: _Connection = _Connection(called, retries, _connector(server, timeout))

    @classmethod
    def open(cls, name: str, report: Report = ignore) -> McpSearcher:
        """Connects and looks at the tool before anything else starts.

        Raises:
            RetrievalIndexError: The server does not answer, or has no such tool.
        """
        searcher = cls(name)
        if name.lower().startswith("mcp+https:"):
            place = without_secrets(name).partition("://")[2]
            report(Notice(f"Searches go to {place} by MCP: what is asked leaves this machine."))
        try:
            searcher._look()
        except BaseException:
            searcher.close()
            raise
        return searcher

    def _look(self) -> Form:
        """How the tool takes queries, asked once."""
        if self._form.key:
            return self._form

        async def list_tools(client: Any) -> dict[str, Any]:
            listed = (await client.list_tools()).tools
            return {tool.name: tool.input_schema for tool in listed}

        tools = self._client.use(list_tools, self._timeout)
        if self.tool not in tools:
            names = one_line(", ".join(sorted(tools))) or "none"
            reason = f"{self._client.name} has no tool {self.tool!r}; it has: {names}"
            raise RetrievalIndexError(reason, "Name one as #TOOL after its address.")
        try:
            self._form = Form.of(tools[self.tool])
        except ValueError as problem:
            reason = f"The tool {self.tool} of {self._client.name} cannot be searched by: {problem}"
            raise RetrievalIndexError(reason, "Name another as #TOOL after its address.") from None
        return self._form

    def _most_queries(self, k: int) -> int:
        return self._look().most or sys.maxsize

    def _ask(self, queries: list[str], k: int) -> list[tuple[Passage, ...]]:
        form, tool = self._look(), self.tool
        asked = [queries] if form.most else [[query] for query in queries]

        async def call(client: Any) -> list[Any]:
            free = asyncio.Semaphore(WORKERS)

            async def one(part: list[str]) -> Any:
                async with free:
                    return await client.call_tool(tool, form.arguments(part, k))

            return await asyncio.gather(*map(one, asked))

        results = self._client.use(call, self._timeout * -(-len(asked) // WORKERS))
        found: list[tuple[Passage, ...]] = []
        for part, result in zip(asked, results, strict=True):
            if result.is_error:
                said = " ".join(block.text for block in result.content if block.type == "text")
                raise self._client.refused(one_line(said) or "it gave no reason")
            try:
                found += read_found(result, part, k)
            except ValueError as problem:
                raise self._client.unusable(str(problem)) from None
        return found


class _Connection(Server):
    """One connection to an MCP server, kept in a thread with an event loop; made anew where it broke."""

    def __init__(self, name: str, retries: int, connect: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        super().__init__(name, "Check its URL or command, and that it runs.", retries)
        self.name, self._connect = name, connect
        self._lock, self._stack = threading.Lock(), ExitStack()
        self._opened: tuple[Any, Any] | None = None
        logging.getLogger("mcp").addHandler(logging.NullHandler())  # what it logs is in the errors
        atexit.register(self.close)

    def use(self, work: Callable[[Any], Awaitable[T]], patience: float) -> T:
        """Lets ``work`` speak to the server; raises RetrievalIndexError where there is no answer in so many seconds."""
        return self.retried(lambda: self._attempt(work, patience + _GRACE))

    def close(self) -> None:
        """Ends the connection, and a command that was started for it."""
        with self._lock, suppress(Exception):
            stack, self._stack, self._opened = self._stack, ExitStack(), None
            stack.close()

    def _attempt(self, work: Callable[[Any], Awaitable[T]], patience: float) -> T:
        try:
            with self._lock:
                portal, client = self._opened or self._open()
            answer: T = portal.start_task_soon(work, client).result(patience)
            return answer
        except Exception as error:
            self.close()
            raise self._failure(error) from None

    def _open(self) -> tuple[Any, Any]:
        from anyio.from_thread import start_blocking_portal

        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal(name="mcp"))
            client = stack.enter_context(portal.wrap_async_context_manager(self._connect()))
            self._stack, self._opened = stack.pop_all(), (portal, client)
        return portal, client

    def _failure(self, error: BaseException) -> Exception:
        """What an error of the SDK or of its transports means."""
        from httpx2 import TransportError
        from mcp.shared.exceptions import MCPError

        error = _cause(error)
        reason = one_line(str(error)) or type(error).__name__
        if _TOO_LARGE in str(error) or f"exceeded the {_ANSWER_BYTES} byte limit" in str(error):
            return self.unusable(_TOO_LARGE)
        if isinstance(error, TimeoutError):
            return Temporary("no answer in time")
        return Temporary(reason) if isinstance(error, MCPError | OSError | TransportError) else self.unusable(reason)


def _cause(error: BaseException) -> BaseException:
    """The first error of those that ended tasks together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _connector(server: str, timeout: float) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """What connects to a server of this name; raises ConfigError where it is none."""
    if server.startswith(COMMAND):
        try:
            words = shlex.split(server.removeprefix(COMMAND))
        except ValueError as error:
            raise ConfigError(f"The command of {without_secrets(server)} cannot be read ({error})", _EXAMPLE) from None
        if not words:
            raise ConfigError(f"{server!r} names no command", _EXAMPLE)
        return lambda: _by_command(words, timeout)
    url = re.sub("^mcp[+]", "", server, flags=re.IGNORECASE)
    parts = split_url(url)
    if parts.scheme not in ("http", "https"):
        raise ConfigError(f"{server!r} is no MCP server's name", _EXAMPLE)
    if parts.scheme == "http" and not is_here(parts.hostname):
        raise ConfigError(f"{server!r} would be searched without encryption", "Use mcp+https:// for another machine.")
    return lambda: _by_http(url, timeout)


@asynccontextmanager
async def _by_command(words: list[str], timeout: float) -> AsyncIterator[Any]:
    """A client of a command with this process's environment; the last line of its complaints is in the error."""
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    program = StdioServerParameters(command=words[0], args=words[1:], env=dict(os.environ))
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        try:
            client = Client(stdio_client(program, errlog=complaints), read_timeout_seconds=timeout, cache=None)
            async with client:
                yield client
        except Exception as error:
            complaints.seek(0)
            *_, last = ["", *complaints.read().strip().splitlines()]
            if not last:
                raise
            raise OSError(f"{one_line(str(_cause(error)))}; it said: {one_line(last)}") from error


@asynccontextmanager
async def _by_http(url: str, timeout: float) -> AsyncIterator[Any]:
    """A client over streamable HTTP; a server on this machine is reached without a proxy."""
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    class Bounded(httpx2.AsyncByteStream):
        """An answer's bytes, up to a limit."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for part in self._stream:
                size += len(part)
                if size > _ANSWER_BYTES:
                    raise httpx2.StreamError(_TOO_LARGE)
                yield part

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def bound(response: Any) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx2.DecodingError("the answer is compressed, though that was not allowed")
        if not response.headers.get("content-type", "").startswith("text/event-stream"):  # whose events are bounded
            response.stream = Bounded(response.stream)

    http = httpx2.AsyncClient(
        verify=trusted(),
        trust_env=not is_here(split_url(url).hostname),
        timeout=httpx2.Timeout(timeout, connect=min(timeout, 10.0)),
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [bound]},
    )
    async with http:
        transport = streamable_http_client(url, http_client=http, max_sse_event_size=_ANSWER_BYTES)
        async with Client(transport, read_timeout_seconds=timeout, cache=None) as client:
            yield client
