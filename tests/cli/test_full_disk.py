"""A disk that is really full: one sentence, what was there stays whole, and with room again the work goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.core.errors import StorageError
from ragr1_lite.core.types import Passage
from ragr1_lite.data.trajectories import write_records
from ragr1_lite.retrieval import build_index, read_corpus
from ragr1_lite.retrieval.bm25.store import verify_index
from ragr1_lite.training.run_folder import Run
from tests.evaluation.test_report import saved
from tests.support import tiny
from tests.support.small_disk import fill, small_disk
from tests.training.test_resume import Job, assert_whole, at_step

ROWS = [{"id": str(n), "title": f"Land {n}", "text": f"The capital of Land {n} is Town {n}. " * 9} for n in range(300)]
QUESTIONS = [
    {"id": str(n), "question": f"What is the capital of Land {n}?", "answers": [f"Town {n}"],
     "supporting_facts": [[f"Land {n}", 0]], "context": [[f"Land {n}", [f"The capital of Land {n} is Town {n}."]]]}
    for n in range(60)
]  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, questions and an index, on another disk."""
    folder = tmp_path_factory.mktemp("room")
    recipe = tiny.make_recipe("sft", tiny.save_byte_model(folder / "tiny"), folder / "run")
    tiny.save_foreign_adapter(folder / "tiny", folder / "run" / "adapter")
    (folder / "run" / "recipe.yaml").write_text(recipe.dump(), "utf-8")
    saved(folder / "questions.jsonl", *QUESTIONS)
    build_index([Passage(row["id"], row["title"], row["text"][:40]) for row in ROWS[:60]], folder / "index")
    return folder


def run(line: str) -> Any:
    return CliRunner().invoke(app, line.split())


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


def untimed(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


def test_a_training(disk: Path, folder: Path) -> None:
    tiny.save_byte_model(disk / "tiny-byte")
    recipe = tiny.make_recipe("sft", disk / "tiny-byte", disk / "none")
    write_records(disk / "trajectories.jsonl", tiny.gold(tiny.load(recipe), recipe, count=8))
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
