"""Fifty kills at random moments over six commands that take long: no finished step is lost, the end is the same."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.retrieval.bm25.store import verify_index
from ragr1_lite.training.run_folder import Run, step_of
from tests.evaluation.test_report import saved
from tests.support import tiny
from tests.support.killing import Processes
from tests.support.workplace import QUESTIONS, ROWS, asking_folder, run, untimed
from tests.training import test_resume

SEED = 18
KILLS = {"sft": 9, "grpo": 9, "eval": 8, "data generate": 8, "index build": 8, "index update": 8}
STEPS = 9


@dataclass(frozen=True)
class Work:
    """A command: how it is begun and resumed, how many of its steps are finished, and what it made.

    Attributes:
        fresh: Makes the place where it works as it is before the first run.
    """

    line: str
    out: Path
    fresh: Callable[[], Any]
    finished: Callable[[], int]
    made: Callable[[], Any]
    resume: str = " --resume"


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    found = Processes()
    yield found
    found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its adapter, trajectories, questions, and a corpus with an index of its first half."""
    folder = asking_folder(tmp_path_factory.mktemp("fifty"))
    (folder / "corpus").mkdir()
    saved(folder / "corpus" / "a.jsonl", *ROWS[:150])
    assert run(f"index build {folder}/corpus --out {folder}/half").exit_code == 0
    saved(folder / "corpus" / "b.jsonl", *ROWS[150:])
    assert run(f"index build {folder}/corpus --out {folder}/whole").exit_code == 0
    return folder


def training(folder: Path, task: str) -> Work:
    train = {"steps": STEPS, "learning_rate": 0.01, "save_every": 1, "schedule": "cosine"}
    data = {"train": str(folder / "trajectories.jsonl"), "limit": 5}
    job = test_resume.Job(task, folder, data=data, train=train, lora={"dropout": 0.1}, grpo={"beta": 0.05})
    out, recipe = folder / task, folder / f"{task}.yaml"
    recipe.write_text(job.recipe(task).dump(), "utf-8")

    def finished() -> int:
        last = Run(out).last_checkpoint()
        return step_of(last) if last else 0

    def made() -> Any:
        weights = {name: weight.tolist() for name, weight in tiny.adapter_of(out / "adapter").items()}
        return weights, test_resume.untimed(out)

    return Work(f"{task} {recipe}", out, lambda: shutil.rmtree(out, ignore_errors=True), finished, made)


def results(folder: Path, command: str) -> Work:
    out = folder / "out.jsonl"
    journal = out.with_name(f".{out.name}.journal")

    def finished() -> int:
        if journal.exists():
            return journal.read_text("utf-8").count('{"rows"')
        return len(QUESTIONS) if out.exists() else 0

    line = f"{command} --index {folder}/whole --batch-size 4 --out {out}"
    return Work(line, out, lambda: out.unlink(missing_ok=True), finished, lambda: untimed(out))


def index(folder: Path, command: str, old: bool) -> Work:
    out = folder / "index"

    def fresh() -> None:
        shutil.rmtree(out, ignore_errors=True)
        if old:
            shutil.copytree(folder / "half", out)

    def finished() -> int:
        return verify_index(out).passages if out.exists() else 0

    def made() -> Any:
        return {path.name: path.read_bytes() for path in out.iterdir()}

    return Work(command.format(corpus=folder / "corpus", out=out), out, fresh, finished, made, resume="")


def work(folder: Path, command: str) -> Work:
    match command:
        case "sft" | "grpo":
            return training(folder, command)
        case "eval":
            return results(folder, f"eval --data {folder}/questions.jsonl --adapter {folder}/run")
        case "data generate":
            return results(folder, f"data generate {folder}/questions.jsonl")
        case "index build":
            return index(folder, "index build {corpus} --out {out} --overwrite", old=False)
        case _:
            return index(folder, "index update {out}", old=True)


@pytest.mark.slow
@pytest.mark.parametrize("command", KILLS)
def test_killed_at_random_moments(command: str, folder: Path, processes: Processes) -> None:
    chance, task, kills, whole_runs = random.Random(f"{SEED} {command}"), work(folder, command), 0, 0
    task.fresh()
    assert processes.run(*task.line.split()) == 0
    expected, seconds = task.made(), processes.seconds
    task.fresh()
    done, begun = task.finished(), False
    while kills < KILLS[command]:
        moment = chance.uniform(0, 0.9) * seconds
        print(f"{command}, seed {SEED}: {done} finished, killed after {moment:.3f} of {seconds:.3f} s", flush=True)
        code = processes.run(*(task.line + task.resume * begun).split(), kill=moment)
        begun = True
        if code == 0:
            whole_runs += 1
            assert task.made() == expected and whole_runs < 3 * KILLS[command]
            task.fresh()
            done, begun = task.finished(), False
            continue
        assert code < 0, "killed, not failed"
        kills += 1
        assert task.finished() >= done, "a finished step is lost"
        done = task.finished()
    assert processes.run(*(task.line + task.resume).split()) == 0
    assert task.made() == expected
    assert not [path for path in folder.glob(".*") if path.suffix != ".lock"], "nothing half-written is left"
