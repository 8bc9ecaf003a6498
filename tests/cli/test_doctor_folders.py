"""The doctor's look at memory, folders, disks, caches, and the hub that fills one of them."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from ragr1_lite.cli.doctor import machine
from ragr1_lite.training.planning.machine import GIB


@pytest.mark.parametrize(
    ("free", "ok", "words"), [(9, True, "9.0 GB free of 16.0"), (1, False, "1.0 GB free"), (0, False, "0.0 GB free")]
)
def test_memory(monkeypatch: pytest.MonkeyPatch, free: float, ok: bool, words: str) -> None:
    monkeypatch.setattr(machine, "main_memory", lambda: (free * GIB, 16 * GIB))
    found = machine.memory()
    assert found.ok == ok and words in found.detail


def test_memory_is_what_a_container_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, str] = {}
    monkeypatch.setattr(Path, "read_text", lambda path, **_: files[str(path)] if str(path) in files else missing(path))
    whole = SimpleNamespace(available=8_192_000_000, total=16_384_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: whole)
    assert machine.main_memory() == (8_192_000_000, 16_384_000_000)
    files |= {"/sys/fs/cgroup/memory.max": "4000000000\n", "/sys/fs/cgroup/memory.current": "1000000000\n"}
    assert machine.main_memory() == (3_000_000_000, 4_000_000_000)
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert machine.main_memory() == (8_192_000_000, 16_384_000_000)


def missing(path: Path) -> str:
    raise FileNotFoundError(path)


def disk(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=free * GIB))  # type: ignore[attr-defined]


def test_the_working_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    disk(monkeypatch, 5)
    found = machine.working_folder()
    assert found.ok and str(tmp_path) in found.detail and "5.0 GB free" in found.detail
    assert list(tmp_path.iterdir()) == []
    disk(monkeypatch, 0.5)
    found = machine.working_folder()
    assert not found.ok and "0.5 GB free for runs, too little" in found.detail


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)  # type: ignore[attr-defined]
    found = machine.working_folder()
    assert not found.ok and "cannot be written to: Permission denied" in found.detail and "output=FOLDER" in found.fix


def test_the_model_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet"
    monkeypatch.setenv("RAGR1_LITE_CACHE", str(root))
    found = machine.model_cache()
    assert found.ok and "not in it yet" in found.detail and not root.exists()
    disk(monkeypatch, 0.1)
    found = machine.model_cache()
    assert not found.ok and "0.1 GB free, too little" in found.detail and "RAGR1_LITE_CACHE" in found.fix
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written" in machine.model_cache().detail
    (root / "smollm2-135m").mkdir(parents=True)
    sparse(root / "smollm2-135m" / "config.json", 300 << 20)
    found = machine.model_cache()
    assert found.ok and found.detail == f"{root}, 0.3 GB, holds smollm2-135m", "what is there needs no space"


def sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def test_the_hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub_cache(monkeypatch, tmp_path)
    assert "empty" in machine.hub_cache().detail
    blobs = tmp_path / "models--Qwen--Qwen3-0.6B" / "blobs"
    blobs.mkdir(parents=True)
    sparse(blobs / "x", 100 << 20)
    (tmp_path / "models--Qwen--Qwen3-0.6B" / "link").symlink_to(blobs / "x")
    assert f"{tmp_path}, 0.1 GB, Qwen/Qwen3-0.6B" in machine.hub_cache().detail


def hub_cache(monkeypatch: pytest.MonkeyPatch, folder: Path | None = None, **constants: Any) -> None:
    """huggingface_hub's constants, without huggingface_hub."""
    module = ModuleType("huggingface_hub.constants")
    module.__dict__.update({"HF_HUB_CACHE": str(folder), "ENDPOINT": "", "HF_HUB_OFFLINE": False} | constants)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_a_hub_that_answers_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        hub_cache(monkeypatch, ENDPOINT=f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(machine, "TIMEOUT", 0.3)
        found = machine.hub(online=True)  # it takes the connection and stays silent
        assert not found.ok and "does not answer" in found.detail
    monkeypatch.setattr(machine, "TIMEOUT", 3.0)
    found = machine.hub(online=True)
    assert not found.ok and "Connection" in found.detail and "smollm2-135m" in found.fix
    hub_cache(monkeypatch, HF_HUB_OFFLINE=True)
    found = machine.hub(online=True)
    assert found.ok and "HF_HUB_OFFLINE is set" in found.detail


@pytest.mark.parametrize("status", [200, 404])
def test_any_answer_of_a_hub_is_an_answer(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.command)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Logs nothing."""

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.handle_request, daemon=True).start()
        hub_cache(monkeypatch, ENDPOINT=f"http://127.0.0.1:{server.server_port}")
        found = machine.hub(online=True)
    assert found.ok and found.detail.endswith(" answers") and asked == ["HEAD"]
