"""A disk that is really full: one sentence, what was there stays whole, and with room again the work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragr1_lite.core.errors import StorageError
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import build_index, read_corpus
from ragr1_lite.retrieval.bm25.store import verify_index
from ragr1_lite.training.run_folder import Run
from tests.evaluation.test_report import saved
from tests.support.small_disk import fill, small_disk
from tests.support.workplace import ROWS, asking_folder, run, training_folder, untimed
from tests.training.test_resume import Job, assert_whole, at_step


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, questions and an index, on another disk."""
    folder = asking_folder(tmp_path_factory.mktemp("room"))
    build_index([Passage(row["id"], row["title"], row["text"][:40]) for row in ROWS[:60]], folder / "index")
    return folder


def refused(line: str) -> None:
    """The command ends in one sentence that says why, and what to do."""
    result = run(line)
    said = " ".join(result.stderr.split())
    assert result.exit_code == 1 and "Traceback" not in said, result.stderr
    assert "o space left" in said or "disk is full" in said, result.stderr
    assert said.count("Error: ") == 1


@pytest.mark.parametrize("command", ["build {corpus} --out {index} --overwrite", "update {index} {corpus}"])
def test_an_index(disk: Path, tmp_path: Path, command: str) -> None:
    corpus, index = tmp_path / "corpus", disk / "index"
    corpus.mkdir()
    saved(corpus / "a.jsonl", *ROWS[:2])
    build_index(read_corpus([corpus]), index)
    saved(corpus / "b.jsonl", *ROWS[2:])
    line = f"index {command}".format(corpus=corpus, index=index)
    ballast = fill(disk, leave=64)
    refused(line)
    assert verify_index(index).passages == 2 and {path.name for path in disk.iterdir()} == {"index", "ballast"}
    ballast.unlink()
    assert run(line).exit_code == 0 and verify_index(index).passages == 300


@pytest.mark.parametrize(
    "command",
    [
        "data generate {folder}/questions.jsonl --index {folder}/index --batch-size 4 --out {out}",
        "eval --data {folder}/questions.jsonl --batch-size 4 --adapter {folder}/run --index {folder}/index --out {out}",
    ],
    ids=["data generate", "eval"],
)
def test_a_file_of_results(disk: Path, folder: Path, tmp_path: Path, command: str) -> None:
    out = disk / "out.jsonl"
    out.write_text("{}\n", "utf-8")
    ballast = fill(disk, leave=24)
    line = command.format(folder=folder, out=out)
    refused(f"{line} --overwrite")
    refused(f"{line} --resume")
    journal = disk / ".out.jsonl.journal"
    assert out.read_text("utf-8") == "{}\n" and journal.read_text("utf-8").count('{"rows"') >= 1
    assert {path.name for path in disk.iterdir()} == {out.name, journal.name, "ballast"}
    ballast.unlink()
    assert run(f"{line} --resume").exit_code == 0 and not journal.exists()
    assert run(command.format(folder=folder, out=tmp_path / "whole.jsonl")).exit_code == 0
    assert untimed(out) == untimed(tmp_path / "whole.jsonl")


def test_a_training(disk: Path, folder: Path) -> None:
    training_folder(disk)
    train = {"steps": 6, "batch_size": 4, "learning_rate": 0.01, "save_every": 2}
    job = Job("sft", disk, data={"train": str(disk / "trajectories.jsonl")}, train=train)
    job.train("sft-whole")
    with pytest.raises(StorageError, match="disk is full.*--resume"):
        job.train("sft-full", report=at_step(3, lambda: fill(disk)))
    run = Run(disk / "sft-full")
    assert run.last_checkpoint() == run.checkpoints / "checkpoint-2"
    (disk / "ballast").unlink()
    job.train("sft-full", resume=True)
    assert_whole(job, "sft-full")
