"""Kill -9 at random moments: the run that is resumed each time ends as one that nobody disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragr1_lite.models.loading import Policy
from tests.support import tiny
from tests.support.killing import Processes
from tests.support.workplace import training_folder
from tests.training.test_resume import Job, assert_whole, python, untimed

KILLS = 5
STEPS = 9
ACCESSES = 24
"""To files of the run's folder in a step that saves, roughly."""


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    found = Processes()
    yield found
    found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and trajectories, which serve as questions, too."""
    return training_folder(tmp_path_factory.mktemp("kill"))


def moments(seed: int, steps: int) -> list[tuple[int, float]]:
    """When to kill: after how many steps, and after which share of a step from there."""
    chance = random.Random(seed)
    return [(step, chance.uniform(0, 1.5)) for step in sorted(chance.sample(range(steps - 1), KILLS))]


def kill_at(run: Path, process: int, earlier: int | None, step: int, seconds: float) -> None:
    """Kills a process some seconds after it reported a step; for step 0 after it began its run's folder.

    ``earlier`` is the file of the process before it, whose metrics do not count.
    """
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and (_steps(run) < step or (earlier and metrics_file(run) == earlier)):
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)


def metrics_file(run: Path) -> int | None:
    """Which file the metrics are in now; a resumed run writes a new one."""
    path = run / "metrics.jsonl"
    return path.stat().st_ino if path.exists() else None


def _steps(run: Path) -> int:
    """Steps reported so far; -1 before there is a run."""
    with contextlib.suppress(FileNotFoundError):
        return (run / "metrics.jsonl").read_bytes().count(b"\n")
    return 0 if (run / "recipe.yaml").exists() else -1


def seconds_a_step(run: Path) -> float:
    """Of a finished run, the first step left out."""
    return statistics.fmean(line["seconds"] for line in tiny.metrics_of(run)[1:])


@pytest.mark.parametrize("task", ["sft", "grpo"])
def test_killed_five_times(task: str, folder: Path, processes: Processes) -> None:
    """A checkpoint is written after every step, so that many a kill meets a half-written one."""
    sections = {
        "data": {"train": str(folder / "trajectories.jsonl"), "limit": 5},
        "train": {"steps": STEPS, "learning_rate": 0.01, "save_every": 1, "schedule": "cosine"},
        "lora": {"dropout": 0.1},
        "grpo": {"beta": 0.05},
    }
    job = Job(task, folder, **sections)

    def command(name: str, *options: str) -> tuple[str, ...]:
        file = folder / f"{name}.yaml"
        file.write_text(job.recipe(name).dump(), encoding="utf-8")
        return (task, str(file), *options)

    assert processes.run(*command(f"{task}-whole")) == 0
    name = f"{task}-killed"
    for number, (step, share) in enumerate(moments(7, STEPS)):
        kill = (folder / name, step, 1 + round(share * ACCESSES))
        assert processes.run(*command(name, *(["--resume"] if number else [])), kill=kill) == -signal.SIGKILL
        assert step <= _steps(folder / name) < STEPS
    assert processes.run(*command(name, "--resume")) == 0
    assert_whole(job, name)
    left = {path.name for path in (folder / name).iterdir()}
    assert left == {"recipe.yaml", "metrics.jsonl", "checkpoints", "adapter", "state.json", "summary.json"}, (
        "nothing half-written"
    )
    spent = json.loads((folder / name / "summary.json").read_text("utf-8"))["resources"]
    assert "earlier steps" not in spent["not_measurable"]
    assert spent["seconds"] >= sum(line["seconds"] for line in tiny.metrics_of(folder / name)), "all parts count"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["sft", "grpo"])
def test_a_real_model_is_killed_five_times(task: str, tmp_path: Path, smollm2: Policy) -> None:
    """SmolLM2 through the program itself, on the embedded world."""
    settings = {
        "sft": [
            "train.batch_size=2",
            "train.micro_batch=1",
            "data.limit=12",
            "lora.dropout=0.1",
            "rollout.max_length=500",
        ],
        "grpo": [
            "model.adapter=shipped",
            "train.batch_size=4",
            "train.micro_batch=2",
            "grpo.group_size=2",
            "grpo.beta=0.01",
            "rollout.max_new_tokens=40",
            "reward.length=-1",
        ],
    }
    common = ["model.dtype=fp32", "train.steps=8", "train.save_every=1"]

    def begin(name: str, *options: str) -> subprocess.Popen[str]:
        values = [*common, *settings[task], f"output={tmp_path / name}"]
        overrides = [part for value in values for part in ("--set", value)]
        return python("cli.py", task, f"quickstart-{task}", *overrides, *options)

    def finish(process: subprocess.Popen[str]) -> None:
        _, errors = process.communicate(timeout=1800)
        assert process.returncode == 0, errors

    finish(begin("whole"))
    kills, pace = 0, 1.2 * seconds_a_step(tmp_path / "whole")
    for number, (step, share) in enumerate(moments(11, 8)):
        earlier = metrics_file(tmp_path / "killed")
        process = begin("killed", *(["--resume"] if number else []))
        kill_at(tmp_path / "killed", process.pid, earlier, step, share * pace)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 3, "on a machine whose pace varies, a process may end before its kill"
    finish(begin("killed", "--resume"))
    assert tiny.same_adapter(tmp_path / "killed" / "adapter", tmp_path / "whole" / "adapter")
    assert untimed(tmp_path / "killed") == untimed(tmp_path / "whole")
    assert sum(line["grad_norm"] > 0 for line in tiny.metrics_of(tmp_path / "whole")) >= 4
