"""A folder that turns read-only, and a network share that is lost, in the middle: one sentence, and nothing is lost.

The system itself answers with EROFS or EIO from a moment on that the tests choose.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.files.journal import Journal
from ragr1_lite.retrieval import build_index, read_corpus
from ragr1_lite.retrieval.bm25.mapped_files import HashedFile
from ragr1_lite.retrieval.bm25.postings import INDICES
from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher
from ragr1_lite.retrieval.bm25.store import PASSAGES, verify_index
from ragr1_lite.retrieval.bm25.vocabulary import WORDS
from ragr1_lite.training.run_folder import Run
from tests.evaluation.test_report import saved
from tests.support import tiny
from tests.support.frail_disk import FrailDisk, frail_disk
from tests.support.workplace import ROWS, asking_folder, run, untimed
from tests.training import test_resume

FAULTS = {"read-only": FrailDisk.turn_read_only, "lost": FrailDisk.lose}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FrailDisk]:
    with frail_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an adapter's run, trajectories, questions and two passages with their index, on a sound disk."""
    folder = asking_folder(tmp_path_factory.mktemp("sound"))
    (folder / "corpus").mkdir()
    saved(folder / "corpus" / "a.jsonl", *ROWS[:60])
    build_index(read_corpus([folder / "corpus"]), folder / "index")
    return folder


@pytest.fixture(params=FAULTS)
def fail(request: pytest.FixtureRequest, disk: FrailDisk) -> Callable[[], None]:
    return lambda: FAULTS[request.param](disk)


def strike(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, call: int, fail: Callable[[], None]) -> None:
    """The disk fails right before the so manieth call of a method; the calls themselves are the method's."""
    calls, real = [0], getattr(owner, method)

    def counted(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            fail()
        return real(*arguments, **options)

    monkeypatch.setattr(owner, method, counted)


def refused(line: str) -> str:
    """What the command says: one sentence that names the fault and what to do."""
    result = run(line)
    said = " ".join(result.stderr.split())
    assert result.exit_code == 1 and said.count("Error: ") == 1, said or result.exception
    assert "Traceback" not in said and "bug" not in said and "uild it again" not in said, said
    assert any(word in said for word in ("not writable", "cannot be written", "Read-only", "network share")), said
    return said


def test_a_training(disk: FrailDisk, kept: Path, fail: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = disk.folder
    shutil.copytree(kept / "tiny-byte", folder / "tiny-byte")
    shutil.copy(kept / "trajectories.jsonl", folder)
    train = {"steps": 6, "batch_size": 4, "learning_rate": 0.01, "save_every": 2}
    job = test_resume.Job("sft", folder, data={"train": str(folder / "trajectories.jsonl")}, train=train)
    job.train("sft-whole")
    (folder / "recipe.yaml").write_text(job.recipe("sft-failed").dump(), "utf-8")
    with monkeypatch.context() as patch:
        strike(patch, Run, "log", 4, fail)
        refused(f"sft {folder}/recipe.yaml")
    disk.bring_back()
    there = Run(folder / "sft-failed")
    assert there.last_checkpoint() == there.checkpoints / "checkpoint-2"
    assert len(tiny.metrics_of(there.folder)) == 3
    assert run(f"sft {folder}/recipe.yaml --resume").exit_code == 0
    test_resume.assert_whole(job, "sft-failed")


@pytest.mark.parametrize(
    "command",
    [
        "data generate {folder}/questions.jsonl --index {folder}/index --batch-size 4 --out {out}",
        "eval --data {folder}/questions.jsonl --batch-size 4 --adapter {folder}/run --index {folder}/index --out {out}",
    ],
    ids=["data generate", "eval"],
)
def test_a_file_of_results(
    disk: FrailDisk, kept: Path, tmp_path: Path, fail: Callable[[], None], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = disk.folder / "all", disk.folder / "out.jsonl"
    shutil.copytree(kept, folder)
    line = command.format(folder=folder, out=out)
    with monkeypatch.context() as patch:
        strike(patch, Journal, "add", 3, fail)
        refused(line)
    disk.bring_back()
    journal = disk.folder / ".out.jsonl.journal"
    assert not out.exists() and journal.read_text("utf-8").count('{"rows"') == 2
    assert run(f"{line} --resume").exit_code == 0 and not journal.exists()
    assert run(command.format(folder=folder, out=tmp_path / "whole.jsonl")).exit_code == 0
    assert untimed(out) == untimed(tmp_path / "whole.jsonl")


@pytest.mark.parametrize("moment", [1, 40, 400])
@pytest.mark.parametrize("command", ["build {corpus} --out {index} --overwrite", "update {index} {corpus}"])
def test_an_index(
    disk: FrailDisk, kept: Path, fail: Callable[[], None], command: str, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = disk.folder
    shutil.copytree(kept / "corpus", folder / "corpus")
    build_index(read_corpus([folder / "corpus"]), folder / "index")
    saved(folder / "corpus" / "b.jsonl", *ROWS[60:])
    line = f"index {command}".format(corpus=folder / "corpus", index=folder / "index")
    with monkeypatch.context() as patch:
        strike(patch, HashedFile, "write", moment, fail)
        refused(line)
    disk.bring_back()
    assert verify_index(folder / "index").passages == 60
    assert run(line).exit_code == 0 and verify_index(folder / "index").passages == 300
    assert {path.name for path in folder.iterdir()} == {"corpus", "index"}


@pytest.mark.parametrize("moment", ["open", "_open", "search"])
def test_a_search_on_a_lost_share(disk: FrailDisk, kept: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are still in memory are found all the same."""
    shutil.copytree(kept / "index", disk.folder / "index")
    line = f"index search {disk.folder}/index capital"
    with monkeypatch.context() as patch:
        strike(patch, Bm25Searcher, moment, 1, disk.lose)
        assert moment == "search" and run(line).exit_code == 0 or refused(line)
    disk.bring_back()
    assert "Land" in run(line).stdout


def test_a_search_in_a_folder_that_is_read_only(disk: FrailDisk, kept: Path) -> None:
    shutil.copytree(kept / "index", disk.folder / "index")
    disk.turn_read_only()
    for line in ("index search {} capital", "index verify {}", "index info {}"):
        assert run(line.format(disk.folder / "index")).exit_code == 0


CUT_OFF = """
import os
from ragr1_lite.cli import main
from ragr1_lite.retrieval.bm25.postings import INDICES
from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher

def cut_off(self, queries, k, search=Bm25Searcher.search):
    os.truncate(self.info.path / os.environ["CUT"], 0)
    return search(self, queries, k)

Bm25Searcher.search = cut_off
main.main()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="needs a system that maps files as POSIX has it")
@pytest.mark.parametrize("file", [PASSAGES, INDICES, WORDS])
def test_an_index_that_is_lost_while_it_is_searched(kept: Path, tmp_path: Path, file: str) -> None:
    """Its pages are gone, so the system ends the process in the middle of a read."""
    shutil.copytree(kept / "index", tmp_path / "index")
    command = [sys.executable, "-c", CUT_OFF, "index", "search", str(tmp_path / "index"), "capital"]
    done = subprocess.run(command, env=os.environ | {"CUT": file}, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("Error: A file in use can no longer be read"), done
    assert done.stderr.count("\n") == 1 and done.stdout == ""
