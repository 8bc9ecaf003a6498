"""Serves an index over HTTP, in the ``/retrieve`` form of Search-R1's and RAG-R1's retrieval servers.

A verl, Search-R1 or RAG-R1 run points its ``search_url`` here. Requests that arrive together become one search.
There is no authentication: by default only this machine can reach it. FastAPI and uvicorn are the extra ``serve``.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections import deque
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ragr1_lite import __version__
from ragr1_lite.core.errors import RagR1Error
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.types import Passage, Searcher
from ragr1_lite.files.json_lines import json_of
from ragr1_lite.retrieval.remote.hosting import Refused, listening, need_extra, only_for_this_machine, read_body, run

__all__ = ["Limits", "make_app", "serve"]

MAX_QUERY_CHARACTERS = 20_000
MAX_PASSAGES = 100_000
"""Passages that one search may return, all its queries together: some 70 MB of 100-word passages."""

_FORM = '{"queries": ["…"], "topk": 3, "return_scores": true}'


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for.

    Attributes:
        k: Passages per query where a request names no ``topk``.
        max_k: The largest ``topk``.
        max_queries: Queries of a request, at most.
        max_body_bytes: The largest request.
        window_ms: How long a request waits for others to be searched with, in milliseconds.
    """

    k: int = 3
    max_k: int = 100
    max_queries: int = 10_000
    max_body_bytes: int = 16 * 2**20
    window_ms: float = 2.0


def serve(
    opened: Callable[[], Searcher],
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits = Limits(),
    report: Report = ignore,
) -> None:
    """Serves until Ctrl-C or SIGTERM; requests under way are answered first.

    Args:
        opened: Opens the index, when the port is known to be free.
        host: Where to listen; anything but this machine's own address lets others in, with a warning.
        port: 0 takes a free one.
        limits: Of a request.
        report: Gets a notice of the URL when connections are accepted, and of searches that failed.

    Raises:
        ConfigError: The extra is not installed, or the host or port cannot be listened at.
        RagR1Error: The index cannot be opened.
        KeyboardInterrupt: After Ctrl-C.
    """
    need_extra("Serving an index")
    with listening(host, port) as listener:
        searcher = opened()
        app = make_app(searcher, limits, report)
        address, bound = listener.getsockname()[:2]
        if ipaddress.ip_address(address).is_loopback:
            only_for_this_machine(app, address)
        else:
            report(Notice(f"Everybody who reaches {host}:{bound} can search: there is no authentication.", "warning"))
        count = f"{len(searcher):,} passages" if isinstance(searcher, Sized) else "Serving"
        shown = f"[{address}]" if ":" in address else address
        report(Notice(f"{count} at http://{shown}:{bound}/retrieve. Ctrl-C ends."))
        run(app, listener)


def make_app(searcher: Searcher, limits: Limits = Limits(), report: Report = ignore) -> Any:
    """The FastAPI application: ``POST /retrieve`` and ``GET /health``; arguments as of :func:`serve`.

    A request that cannot be answered gets a 4xx with ``{"detail": reason}``, a search that fails a 500; why, which may
    name paths, is reported here alone.

    Raises:
        ConfigError: FastAPI is not installed.
    """
    need_extra("Serving an index")
    from fastapi import FastAPI, Response
    from starlette.requests import ClientDisconnect

    batches = _Batches(searcher, limits.window_ms / 1000)
    app = FastAPI(title="ragr1-lite", version=__version__, openapi_url=None)

    def answer(status: int, content: Any) -> Any:
        return Response(to_json(content), status, media_type="application/json")

    async def retrieve(request: Any) -> Any:
        try:
            queries, k, scores = read_request(await read_body(request, limits.max_body_bytes), limits)
            return answer(200, to_result(await batches.search(queries, k), scores))
        except Refused as refusal:
            return answer(refusal.status, {"detail": str(refusal)})
        except ClientDisconnect:
            return answer(400, {"detail": "The client went away."})
        except Exception as error:
            reason = str(error) if isinstance(error, RagR1Error) else f"{type(error).__name__}: {error}"
            report(Notice(f"A search failed: {reason}", "warning"))
            return answer(500, {"detail": "The search failed; the server's own messages say why."})

    async def health(request: Any) -> Any:
        passages = len(searcher) if isinstance(searcher, Sized) else None
        return answer(200, {"status": "ok", "passages": passages, "version": __version__})

    app.add_route("/retrieve", retrieve, methods=["POST"])
    app.add_route("/health", health, methods=["GET"])
    return app


def read_request(body: bytes, limits: Limits) -> tuple[list[str], int, bool]:
    """The queries of a request, how many passages each may have, and whether their scores are wanted.

    Unknown keys are ignored, as by Search-R1's server. Raises Refused.
    """
    try:
        fields = json_of(body)
    except ValueError as error:
        raise Refused(400, f"The body is not JSON ({str(error).partition(':')[0]}).") from None
    if not isinstance(fields, dict):
        raise Refused(422, f"The body must be a JSON object such as {_FORM}.")
    queries, k, scores = fields.get("queries"), fields.get("topk"), fields.get("return_scores", False)
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise Refused(422, f"`queries` must be a list of strings, as in {_FORM}.")
    if len(queries) > limits.max_queries:
        raise Refused(422, f"`queries` has {len(queries)} entries; at most {limits.max_queries} are answered at once.")
    if any(len(query) > MAX_QUERY_CHARACTERS for query in queries):
        raise Refused(422, f"A query is longer than {MAX_QUERY_CHARACTERS} characters.")
    if isinstance(k, float) and k.is_integer():
        k = int(k)  # to JSON, 3.0 is 3
    if k is not None and (not isinstance(k, int) or isinstance(k, bool) or not 0 <= k <= limits.max_k):
        raise Refused(422, f"`topk` must be a whole number up to {limits.max_k}, or null.")
    if not isinstance(scores, bool):
        raise Refused(422, "`return_scores` must be true or false.")
    k = k or limits.k  # 0 means the default, as in Search-R1's server
    if len(queries) * k > MAX_PASSAGES:
        raise Refused(422, f"{len(queries)} queries with topk {k} are more than {MAX_PASSAGES} passages.")
    return queries, k, scores


def to_result(found: Sequence[Sequence[Passage]], scores: bool) -> dict[str, Any]:
    r"""The answer's fields: documents with their scores, or bare; those whose place is known have a `place` as well.

    Example:
        ``[[Passage("7", "Chad", "Chad is …", 1.5)]]`` becomes
        ``{"result": [[{"document": {"id": "7", "contents": '"Chad"\nChad is …'}, "score": 1.5}]]}``.
    """
    if scores:
        return {"result": [[{"document": _document(one), "score": one.score} for one in row] for row in found]}
    return {"result": [[_document(one) for one in row] for row in found]}


def to_json(content: Any) -> bytes:
    """Compact JSON; characters stand for themselves unless one is half of a surrogate pair."""
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def _document(passage: Passage) -> dict[str, str]:
    title = passage.title.replace("\n", " ")
    document = {"id": passage.id, "contents": f'"{title}"\n{passage.text}'}
    known = {"place": passage.place, "file": passage.file}
    return document | {name: value for name, value in known.items() if value}


_Waiting = tuple[list[str], int, "asyncio.Future[list[tuple[Passage, ...]]]"]
"""Queries, how many passages each may have, and where the answer goes."""


class _Batches:
    """Makes one search of the requests that arrive within a window, or while an earlier search runs."""

    def __init__(self, searcher: Searcher, window: float) -> None:
        self._searcher, self._window = searcher, window
        self._waiting: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def search(self, queries: list[str], k: int) -> list[tuple[Passage, ...]]:
        """Returns what the searcher finds, once the request is in a batch."""
        if not queries:
            return []
        found: asyncio.Future[list[tuple[Passage, ...]]] = asyncio.get_running_loop().create_future()
        self._waiting.append((queries, k, found))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await found

    async def _work(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._window)
                await self._search_next()
        finally:
            self._worker = None

    async def _search_next(self) -> None:
        k, size, batch = 0, 0, list[_Waiting]()
        while self._waiting:
            queries, wanted, _ = self._waiting[0]
            k, size = max(k, wanted), size + len(queries)
            if batch and size * k > MAX_PASSAGES:
                break
            batch.append(self._waiting.popleft())
        asked = [query for queries, _, _ in batch for query in queries]
        k = max(wanted for _, wanted, _ in batch)
        try:
            results = iter(await asyncio.to_thread(self._searcher.search, asked, k))
            answers = [[one[:wanted] for one in islice(results, len(queries))] for queries, wanted, _ in batch]
        except Exception as error:
            for _, _, found in batch:
                if not found.done():
                    found.set_exception(error)
            return
        for (_, _, found), answer in zip(batch, answers, strict=True):
            if not found.done():
                found.set_result(answer)
