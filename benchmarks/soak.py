"""A soak: thousands of rollouts with retrieval, and of requests to both servers: what grows, is lost or is mixed up.

A tiny random model does a real one's work, and a script says what it writes: it looks up the code of the room that it
is asked for. So every answer can be checked: one that came from another's question or documents is wrong.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from benchmarks.hardware import machine
from ragr1_lite.assistant import Assistant
from ragr1_lite.core.events import Notice, Report, ignore, phase
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits, run_rollouts, session_of
from ragr1_lite.core.types import Completion, Example, Passage, Sampler, SampleRequest
from ragr1_lite.retrieval import build_index, open_searcher

ROOT = Path(__file__).parents[1]
ROOMS = range(100, 300)
ROWS = 8
HANGS_UP = 20
"""One of so many requests is sent by a client that does not wait for its answer."""
WARM_UP = 4
"""The first of so many parts does not count: buffers and caches fill."""
LIMITS = Limits(max_rounds=2, k=1, max_new_tokens=8, max_length=2048)
TIMEOUT = 300


def soak(
    *, rollouts: int = 2_000, requests: int = 10_000, clients: int = 50, rounds: int = 20, report: Report = ignore
) -> dict[str, Any]:
    """Rollouts in this process, then requests to a process of `serve` and to one of `index serve`, on this machine.

    After each round nobody is connected and nothing is under way; then memory, handles and threads are read.

    Args:
        rollouts: How many, in batches of :data:`ROWS`.
        requests: To each server.
        clients: Ask at once, each by a connection of its own, which it opens anew in each round.
        rounds: Parts in which all is done; the first quarter does not count for memory and time.
        report: Receives phases.

    Returns:
        ``{"machine", "rollouts": KIND, "serve": KIND, "index serve": KIND}`` with KIND ``{"done", "lost", "mixed_up",
        "hung_up", "mib", "mib_per_1000", "interval", "handles", "threads", "slow_down"}``: answers that were right,
        that did not come, and that were another question's; clients that did not wait; resident memory at the end, its
        slope and the slope's 95 % interval; handles and threads after the warm-up and at the end; processor time of
        the last third of the rounds over that of the first, the median round of each.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _prepare(folder)
        found = {"rollouts": _rollouts(folder, rollouts, rounds, report)}
        for server, ask in (("serve", _ask_api), ("index serve", _ask_index)):
            found[server] = _requests(server, ask, folder, requests, clients, rounds, report)
    return {"machine": machine("torch", "transformers", "uvicorn"), **found}


def code(room: int) -> str:
    """What is asked for."""
    return f"code {room * 7919 % 10_007}"


def _prepare(folder: Path) -> None:
    """An index of rooms and a model."""
    build_index(
        [Passage(str(room), f"Room {room}", f"Room {room} has {code(room)}.") for room in ROOMS], folder / "index"
    )
    tiny: Any = import_module("tests.support.tiny")  # tests are not typed as strictly
    tiny.save_byte_model(folder / "model")


class LooksUp:
    """A sampler that lets a model sample, and writes what the script says."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler, self.tokenizer = sampler, sampler.tokenizer

    def session(self) -> AbstractContextManager[None]:
        """The model's."""
        return session_of(self._sampler)

    def sample(self, requests: Sequence[SampleRequest], **options: Any) -> list[Completion]:
        """Looks up the room of each row, then says what was read of it."""
        self._sampler.sample(requests, **options | {"report": ignore})
        said = [self._said(self.tokenizer.decode(request.token_ids)) for request in requests]
        return [Completion(tuple(self.tokenizer.encode(text)), text, "stop") for text in said]

    def _said(self, text: str) -> str:
        room = re.findall(r"code of room (\d+)", text)[0]
        read = re.search(rf"Room {room} has (code \d+)", text)
        do = f"<answer>{read[1]}</answer>" if read else f"<search>code of room {room}</search>"
        return f"<think>It is about room {room}.</think>{do}"


def _assistant(folder: Path) -> Assistant:
    from ragr1_lite.models.loading import ModelSpec, load_policy
    from ragr1_lite.models.sampler import TransformersSampler

    sampler = TransformersSampler(load_policy(ModelSpec(str(folder / "model"), dtype="fp32")), batch_size=ROWS)
    return Assistant(LooksUp(sampler), open_searcher(str(folder / "index")), Protocol(), LIMITS)


@dataclass
class Gauge:
    """What a process holds and takes, read between the rounds."""

    process: psutil.Process
    readings: list[tuple[float, float, int, int]] = field(default_factory=list)
    """Resident MiB, seconds of the processor so far, handles, threads."""

    def read(self) -> None:
        """Waits until connections that were closed are gone: until there are no more handles than at first."""
        deadline, before = time.monotonic() + 20, -1
        while (handles := self._handles()) != before or self.readings and handles > self.readings[0][2]:
            if time.monotonic() > deadline:
                break
            before = handles
            time.sleep(0.2)
        spent = self.process.cpu_times()
        mib = self.process.memory_info().rss / 2**20
        self.readings.append((mib, spent.user + spent.system, self._handles(), self.process.num_threads()))

    def _handles(self) -> int:
        return int(self.process.num_handles() if sys.platform == "win32" else self.process.num_fds())

    def figures(self, per_round: float) -> dict[str, Any]:
        """As :func:`soak` has them."""
        counted = self.readings[len(self.readings) // WARM_UP :]
        memory, seconds, handles, threads = zip(*counted, strict=True)
        slope, error = _slope([per_round / 1000 * at for at in range(len(memory))], memory)
        rounds = [after - before for before, after in zip(seconds, seconds[1:], strict=False)]
        third = math.ceil(len(rounds) / 3)
        return {
            "mib": round(memory[-1], 1),
            "mib_per_1000": round(slope, 3),
            "interval": [round(slope - 2 * error, 3), round(slope + 2 * error, 3)],
            "handles": [handles[0], handles[-1]],
            "threads": [threads[0], threads[-1]],
            "slow_down": round(statistics.median(rounds[-third:]) / statistics.median(rounds[:third]), 3),
        }


def _slope(at: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Of a line through values, and its standard error."""
    slope, start = statistics.linear_regression(at, values)
    rest = sum((value - start - slope * x) ** 2 for x, value in zip(at, values, strict=True))
    spread = sum((x - statistics.fmean(at)) ** 2 for x in at)
    return slope, math.sqrt(rest / max(1, len(at) - 2) / spread)


def _rollouts(folder: Path, count: int, rounds: int, report: Report) -> dict[str, Any]:
    assistant, gauge, found = _assistant(folder), Gauge(psutil.Process()), Counter[str]()

    def run(rooms: Sequence[int]) -> None:
        for at in range(0, len(rooms), ROWS):
            asked = rooms[at : at + ROWS]
            examples = [Example(str(room), f"What is the code of room {room}?", (code(room),)) for room in asked]
            sampler, searcher, rules = assistant.sampler, assistant.searcher, assistant.protocol
            for one in run_rollouts(examples, sampler, searcher, protocol=rules, limits=LIMITS):
                found["done" if one.answer in one.example.answers else "mixed_up"] += 1

    return _by_rounds("Rollouts", run, count, rounds, gauge, found, report)


def _requests(
    server: str, ask: Callable[[http.client.HTTPConnection, int], str], folder: Path, count: int, clients: int,
    rounds: int, report: Report,
) -> dict[str, Any]:  # fmt: skip
    found, lock = Counter[str](), threading.Lock()

    def client(port: int, asked: Sequence[tuple[int, int]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        for number, room in asked:
            try:
                if number % HANGS_UP:
                    outcome = "done" if ask(connection, room) == code(room) else "mixed_up"
                else:
                    outcome = "hung_up"
                    ask(connection, -room)
            except (OSError, http.client.HTTPException, LookupError, ValueError):
                outcome = "lost"
            if outcome != "done":
                connection.close()
            with lock:
                found[outcome] += 1
        connection.close()

    with _server(server, folder) as (process, port), ThreadPoolExecutor(clients) as pool:

        def run(rooms: Sequence[int]) -> None:
            numbered = list(enumerate(rooms))
            for done in [pool.submit(client, port, numbered[at::clients]) for at in range(clients)]:
                done.result()

        return _by_rounds(f"Requests to {server}", run, count, rounds, Gauge(process), found, report)


def _by_rounds(
    name: str, run: Callable[[Sequence[int]], None], count: int, rounds: int, gauge: Gauge, found: Counter[str],
    report: Report,
) -> dict[str, Any]:  # fmt: skip
    """Asks for rooms in turn, and reads the gauge after each round."""
    asked = [ROOMS[at % len(ROOMS)] for at in range(count)]
    with phase(report, name, count) as advance:
        for part in range(rounds):
            run(asked[count * part // rounds : count * (part + 1) // rounds])
            gauge.read()
            advance(count * (part + 1) // rounds)
    return {key: found[key] for key in ("done", "lost", "mixed_up", "hung_up")} | gauge.figures(count / rounds)


def _ask_api(connection: http.client.HTTPConnection, room: int) -> str:
    """The answer of `serve`; of a negative room nothing is read."""
    message = {"role": "user", "content": f"What is the code of room {abs(room)}?"}
    reply = _post(connection, "/v1/chat/completions", {"model": "ragr1-lite", "messages": [message]}, room > 0)
    return str(reply["choices"][0]["message"]["content"]) if reply else ""


def _ask_index(connection: http.client.HTTPConnection, room: int) -> str:
    """The code in what `index serve` finds for the second of two queries."""
    queries = [f"code of room {ROOMS[0]}", f"code of room {abs(room)}"]
    reply = _post(connection, "/retrieve", {"queries": queries, "topk": 1, "return_scores": True}, room > 0)
    return re.findall(r"code \d+", reply["result"][1][0]["document"]["contents"])[0] if reply else ""


def _post(connection: http.client.HTTPConnection, path: str, body: dict[str, Any], wait: bool) -> Any:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    if not wait:
        return None
    reply = connection.getresponse()
    text = reply.read()
    if reply.status != 200:
        raise http.client.HTTPException(reply.status)
    return json.loads(text)


@contextmanager
def _server(name: str, folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """A server in a process of its own, and its port."""
    command = [sys.executable, "-m", "benchmarks.soak", name, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if "127.0.0.1:" in line), "")
            yield psutil.Process(process.pid), int(re.findall(r"127\.0\.0\.1:(\d+)", line)[0])
        finally:
            process.terminate()


def _serve(name: str, folder: Path) -> None:
    """What the process of a server runs."""

    def say(event: object) -> None:
        if isinstance(event, Notice):
            print(event.text, flush=True)

    if name == "serve":
        from ragr1_lite.serving import api

        api.serve(lambda: _assistant(folder), port=0, rows=ROWS, waiting=1_000, timeout=TIMEOUT, report=say)
    else:
        from ragr1_lite.retrieval.remote import server

        server.serve(lambda: open_searcher(str(folder / "index")), port=0, report=say)


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]))
