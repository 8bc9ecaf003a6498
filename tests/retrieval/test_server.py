"""A real server in a process of its own: a hundred clients, a client as Search-R1 writes it, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import Bm25Searcher, build_index
from ragr1_lite.retrieval.remote import server
from ragr1_lite.retrieval.remote.http import HttpSearcher
from ragr1_lite.retrieval.searchers import open_searcher

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

WORDS = "chad niger mali togo benin area point river lake city highest longest oldest capital border".split()
CLIENTS = 100
START = """
import sys
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.retrieval.remote.server import Limits, serve
index = lambda: open_searcher(sys.argv[1])
report = lambda event: print(getattr(event, "text", ""), flush=True)
serve(index, port=0, limits=Limits(max_body_bytes=100_000), report=report)
"""


class Running:
    """A server's process and where it answers."""

    def __init__(self, index: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", START, str(index)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell lets background jobs ignore it, and these tests may run in one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert "Ctrl-C ends" in said, self.ends()
        self.said = said.strip()
        self.url = said[said.index("http://") :].split("/retrieve")[0]
        self.address = (self.url.split("//")[1].split(":")[0], int(self.url.rpartition(":")[2]))

    def ends(self) -> str:
        """Waits for its end, a minute at most, and returns its complaints."""
        try:
            return self.process.communicate(timeout=60)[1]
        finally:
            self.process.kill()
            self.process.communicate()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "index"
    pairs = [(first, second) for first in WORDS for second in WORDS if first != second]
    build_index([Passage(f"{a}-{b}", f"{a} {b}", f"The {a} of {b}, “é” \\ {a}") for a, b in pairs], out)
    return out


@pytest.fixture(scope="module")
def running(index: Path) -> Iterator[Running]:
    server = Running(index)
    yield server
    survived = server.process.poll() is None
    server.process.send_signal(signal.SIGINT)
    complaints = server.ends()
    assert survived, complaints
    assert complaints.strip().splitlines()[-1:] == ["KeyboardInterrupt"]


def ask(url: str, payload: dict[str, Any]) -> bytes:
    """As a client does that knows nothing but the documented payload."""
    request = urllib.request.Request(
        f"{url}/retrieve", json.dumps(payload).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.headers["Content-Type"] == "application/json"
        content: bytes = response.read()
        return content


def queries_of(client: int) -> list[str]:
    return [f"{WORDS[client % 15]} {WORDS[(client + n) % 15]}" for n in range(client % 4)] + ["", "zebra"]


def test_a_hundred_clients_get_what_search_finds(running: Running, index: Path) -> None:
    searcher = Bm25Searcher.open(index)
    together = threading.Barrier(CLIENTS)

    def client(number: int) -> bool:
        k = 1 + number % 5
        payload = {"queries": queries_of(number), "topk": k, "return_scores": True}
        together.wait(60)
        same = []
        for _ in range(2):
            rows = json.loads(ask(running.url, payload))["result"]
            passages = [
                tuple((one["document"]["id"], one["document"]["contents"], one["score"]) for one in row) for row in rows
            ]
            wanted = [
                tuple((one.id, f'"{one.title}"\n{one.text}', one.score) for one in row)
                for row in searcher.search(queries_of(number), k)
            ]
            same.append(passages == wanted)
        return all(same)

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert list(pool.map(client, range(CLIENTS))) == [True] * CLIENTS


def test_our_client_is_as_good_as_the_index(running: Running, index: Path) -> None:
    far, near = open_searcher(running.url), Bm25Searcher.open(index)
    assert isinstance(far, HttpSearcher)
    queries = [query for number in range(40) for query in queries_of(number)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda k: far.search(queries, k), range(1, 5)))
    assert results == [near.search(queries, k) for k in range(1, 5)]
    far.close()


def test_search_r1s_payload_byte_for_byte(running: Running, index: Path) -> None:
    [[first]] = Bm25Searcher.open(index).search(["highest point"], 1)
    payload = {"queries": ["highest point", "zebra"], "topk": 1, "return_scores": True}
    contents = json.dumps(f'"{first.title}"\n{first.text}', ensure_ascii=False)
    document = f'{{"id":"{first.id}","contents":{contents}}}'
    assert ask(running.url, payload).decode() == (
        f'{{"result":[[{{"document":{document},"score":{first.score!r}}}],[]]}}'
    )
    del payload["return_scores"]
    assert ask(running.url, payload).decode() == f'{{"result":[[{document}],[]]}}'


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (b"{", 400), (b"\xff" * 1000, 400), (b"[]", 422), (b"q" * 30_000_000, 413)]
)
def test_malformed_bodies_get_a_reason(running: Running, body: bytes, status: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(f"{running.url}/retrieve", body), timeout=60)
    with caught.value as refusal:
        assert refusal.code == status
        assert json.loads(refusal.read())["detail"].endswith(".")
    assert json.loads(ask(running.url, {"queries": []})) == {"result": []}


def test_what_is_no_http_or_breaks_off(running: Running) -> None:
    for sent in (b"\x00\x01\x02\r\n\r\n", b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"):
        with socket.create_connection(running.address, timeout=60) as connection:
            connection.sendall(sent)
    assert json.loads(ask(running.url, {"queries": []})) == {"result": []}


def test_other_hosts_names_are_refused(running: Running) -> None:
    connection = http.client.HTTPConnection(*running.address, timeout=60)
    for name, status in (("evil.example", 400), ("localhost", 200)):
        connection.request("GET", "/health", headers={"Host": name})
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (status, True)
    connection.close()


def test_other_sites_pages_are_refused(running: Running) -> None:
    connection = http.client.HTTPConnection(*running.address, timeout=60)
    here = "http://{}:{}".format(*running.address)
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://[", 403), (here, 200)):
        body = json.dumps({"queries": ["Chad"]})
        headers = {"Origin": origin, "Content-Type": "text/plain", "Host": "localhost"}
        connection.request("POST", "/retrieve", body, headers)
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (status, True)
    connection.close()


def test_it_says_where_it_is(running: Running, index: Path) -> None:
    assert running.said == f"{len(Bm25Searcher.open(index))} passages at {running.url}/retrieve. Ctrl-C ends."


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_request_under_way_is_answered_before_it_ends(index: Path) -> None:
    other = Running(index)
    body = json.dumps({"queries": ["chad"]}).encode()
    head = f"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(other.address, timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        other.process.send_signal(signal.SIGTERM)
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert other.ends().endswith("\nKeyboardInterrupt: 15\n")  # which the command line makes a sentence of


def test_a_port_in_use(index: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} of 127.0.0.1 is in use"):
            server.serve(lambda: Bm25Searcher.open(index), port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no.such.host.invalid", 0), ("203.0.113.1", 0)])
def test_addresses_that_are_none(index: Path, host: str, port: int) -> None:
    with pytest.raises(ConfigError, match="listen"):
        server.serve(lambda: Bm25Searcher.open(index), host, port)


def test_letting_others_in_is_warned_of(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []
    monkeypatch.setattr(server, "run", lambda app, listener: None)
    server.serve(lambda: Bm25Searcher.open(index), "0.0.0.0", 0, report=events.append)
    notices = [event for event in events if isinstance(event, Notice)]
    assert [notice.level for notice in notices] == ["warning", "info"]
    assert "no authentication" in notices[0].text
