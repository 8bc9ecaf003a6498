"""A hub on this machine: it knows one token, keeps what is committed, and refuses what it is told to."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_madeupforatest"


class FakeHub:
    """What was asked of it.

    Attributes:
        url: Its address.
        refused: A part of a path, and the status that such requests get.
        made: The bodies of requests for repositories.
        files: What was committed, by name.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.refused: tuple[str, int] | None = None
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}

    def answer(self, path: str, token: str, body: bytes) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials"}
        if self.refused and self.refused[0] in path:
            return self.refused[1], {"error": "refused"}
        if path.startswith("/api/whoami"):
            return 200, {"name": "ann", "type": "user", "auth": {"accessToken": {"role": "write"}}}
        if path.startswith("/api/repos/create"):
            self.made.append(json.loads(body))
            return 200, {"url": f"{self.url}/ann/model", "name": "ann/model", "id": "1"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            names = [one["path"] for one in json.loads(body)["files"]]
            return 200, {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return 200, {"commitUrl": f"{self.url}/ann/model/commit/1", "commitOid": "1", "hookOutput": ""}
        return 404, {"error": "not found"}


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Serves one while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = hub.answer(self.path, self.headers.get("Authorization", ""), body)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = FakeHub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
