"""A training run says what it took: all of it, also where it was stopped and resumed, and nothing twice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.config import Recipe
from ragr1_lite.core.events import RolloutsFinished, StepFinished, ignore
from ragr1_lite.core.types import Reward, Trajectory
from ragr1_lite.evaluation.resources import Meter
from ragr1_lite.training import grpo, sft
from ragr1_lite.training.account import SPENT
from ragr1_lite.training.grpo import rollouts
from ragr1_lite.training.grpo import trainer as grpo_trainer
from ragr1_lite.training.trainer import TrainResult
from tests.support import tiny
from tests.support.workplace import training_folder

WATT_HOURS = 2.0


class Crash(Exception):
    """What stops a run in these tests."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and trajectories, which serve as questions, too."""
    return training_folder(tmp_path_factory.mktemp("resources"))


@pytest.fixture(params=["sft", "grpo"])
def task(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either training, on a machine with one counter; the reward is one that random models earn, too."""

    def by_parity(trajectory: Trajectory, *_: object) -> Reward:
        total = float(sum(trajectory.token_ids) % 5)
        return Reward(total, {"em": total})

    monkeypatch.setattr(rollouts, "score", by_parity)
    monkeypatch.setattr(grpo_trainer, "open_searcher", lambda index, report: tiny.OnePassage())
    monkeypatch.setattr(Meter, "_energy", lambda self: WATT_HOURS)  # of each part of a run, however long it takes
    task: str = request.param
    return task


def train(task: str, folder: Path, name: str, *, resume: bool = False, report: Any = ignore) -> TrainResult:
    data = {"train": str(folder / "trajectories.jsonl")}
    recipe = recipe_of(task, folder, name, data=data, train={"steps": 4, "learning_rate": 0.01, "save_every": 2})
    torch.seed()
    return (sft if task == "sft" else grpo).train(recipe, resume=resume, report=report)


def recipe_of(task: str, folder: Path, name: str, **sections: dict[str, Any]) -> Recipe:
    return tiny.make_recipe(task, folder / "tiny-byte", folder / f"{task}-{name}", **sections)


def tokens_of(folder: Path) -> int:
    recipe = recipe_of("sft", folder, "counted")
    return sum(len(trajectory.token_ids) for trajectory in tiny.gold(tiny.load(recipe), recipe, count=8))


def summary(result: TrainResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((result.run.folder / "summary.json").read_text("utf-8"))
    return found


def test_a_run_says_what_it_took(task: str, folder: Path) -> None:
    sampled = 0

    def report(event: object) -> None:
        nonlocal sampled
        if isinstance(event, RolloutsFinished):
            sampled += sum(trajectory.sampled_tokens for trajectory in event.trajectories)

    began = time.perf_counter()
    result = train(task, folder, "whole", report=report)
    elapsed = time.perf_counter() - began
    found = summary(result)
    assert result.resources is not None and found["resources"] == result.resources.to_json()
    assert found["steps"] == 4 and "torch" in found["versions"]
    spent = found["resources"]
    assert spent["energy_wh"] == {"gpu": WATT_HOURS}
    steps = sum(step["seconds"] for step in tiny.metrics_of(result.run.folder))
    assert steps <= spent["seconds"] <= elapsed
    assert 0 < spent["cpu_load"] < 4 and 0.1 < spent["peak_rss_gb"] < 8
    assert spent["peak_vram_gb"] is None and "peak_vram_gb" in spent["not_measurable"]
    tokens = sampled if task == "grpo" else 2 * tokens_of(folder)  # four steps of four read all eight twice
    assert found["tokens_per_second"] * spent["seconds"] == pytest.approx(tokens, rel=0.05)  # rounded


def test_a_resumed_run_counts_all_its_parts_and_no_step_twice(task: str, folder: Path) -> None:
    def crash(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == 3:
            raise Crash

    with pytest.raises(Crash):
        train(task, folder, "crashed", report=crash)
    run = folder / f"{task}-crashed"
    assert not (run / "summary.json").exists()
    kept = json.loads((run / "checkpoints" / "checkpoint-2" / SPENT).read_text("utf-8"))
    assert kept["energy_wh"] == {"gpu": WATT_HOURS}
    began = time.perf_counter()
    result = train(task, folder, "crashed", resume=True)
    elapsed = time.perf_counter() - began
    spent = summary(result)["resources"]
    assert spent["energy_wh"] == {"gpu": 2 * WATT_HOURS}
    steps = sum(step["seconds"] for step in tiny.metrics_of(run)[2:])
    assert steps <= spent["seconds"] - kept["seconds"] <= elapsed
    assert "earlier steps" not in spent["not_measurable"]
    again = train(task, folder, "crashed", resume=True)
    assert again.resources and again.resources.to_json() == spent, "it was finished"


@pytest.mark.parametrize("task", ["sft"], indirect=True)
def test_what_was_not_metered_is_said(task: str, folder: Path) -> None:
    def crash(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == 3:
            raise Crash

    with pytest.raises(Crash):
        train(task, folder, "unmetered", report=crash)
    (folder / "sft-unmetered" / "checkpoints" / "checkpoint-2" / SPENT).unlink()
    spent = summary(train(task, folder, "unmetered", resume=True))["resources"]
    assert spent["energy_wh"] == {"gpu": WATT_HOURS}
    assert spent["not_measurable"]["earlier steps"] == "what came before checkpoint-2 was not metered"
