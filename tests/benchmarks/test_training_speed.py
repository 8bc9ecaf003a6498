"""Our training steps and plain TRL's are the same work, and are measured as such."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import limit, plain
from benchmarks import training as measuring
from benchmarks.training import Side, steps
from ragr1_lite.config import Recipe
from ragr1_lite.training.grpo.rollouts import Rollouts
from tests.support.tiny import load, make_recipe, save_byte_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_byte_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _small_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "READ", 2**16)


def recipe(task: str, folder: Path, tmp_path: Path) -> Recipe:
    return make_recipe(task, folder, tmp_path / "run", rollout={"max_length": 2048}, retrieval={"k": 1})


def test_sft_steps_are_the_same_work(folder: Path, tmp_path: Path) -> None:
    found = steps(recipe("sft", folder, tmp_path), rounds=1)
    assert found["loss_difference"] < 1e-5
    assert (found["task"], found["rows"]) == ("sft", 4)
    assert 0 < found["distinct_tokens"] < found["tokens"]  # all begin with the instruction
    part = found["parts"].pop("step")
    assert not found["parts"]
    assert part["ratio"] == pytest.approx(part["plain_seconds"] / part["seconds"], abs=0.02)
    assert part["share"] == pytest.approx(part["floor"] / part["seconds"], abs=0.02)


def test_grpo_steps_have_parts(folder: Path, tmp_path: Path) -> None:
    found = steps(recipe("grpo", folder, tmp_path), rounds=1)
    assert list(found["parts"]) == ["update", "rollouts", "step"]
    update, rollouts, step = found["parts"].values()
    for key in ("seconds", "plain_seconds", "floor"):
        assert step[key] == pytest.approx(update[key] + rollouts[key], abs=2e-4)
    assert found["loss_difference"] is None
    assert 0 < found["distinct_tokens"] < found["tokens"]  # a group has its prompt in common


def test_no_row_is_without_an_advantage(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewards: list[list[float]] = []
    score = Rollouts.reward

    def keep(self: Rollouts, **given: Any) -> list[float]:
        rewards.append(score(self, **given))
        return rewards[-1]

    monkeypatch.setattr(Rollouts, "reward", keep)
    steps(recipe("grpo", folder, tmp_path), rounds=1)
    assert [sorted(group) for step in rewards for group in (step[:2], step[2:])] == [[0, 1]] * 4


def test_the_twin_is_plain(folder: Path, tmp_path: Path) -> None:
    policy = load(make_recipe("sft", folder, tmp_path / "run"))
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight += 0.1
    twin = plain.twin(policy)
    ours, theirs = dict(policy.model.named_parameters()), dict(twin.model.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not {weight.data_ptr() for weight in ours.values()} & {weight.data_ptr() for weight in theirs.values()}
    assert not [name for name, module in twin.model.named_modules() if "forward" in vars(module)]


class Trainer:
    """Steps whose rollouts take 3 s and whose update takes 5 s, between 10 s before and after them."""

    def __init__(self) -> None:
        self.now, self.callbacks, self.losses = 0.0, [], iter([4.0, 2.0, 1.0])  # type: ignore[var-annotated]

    def add_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def rollout_func(self, prompts: list[str], trainer: object) -> dict[str, Any]:
        self.now += 3
        return {"prompt_ids": [[1, 2]], "completion_ids": [[3, 4, 5]], "env_mask": [[1, 0, 1]]}

    def train(self) -> Any:
        self.now += 10
        for callback in self.callbacks:
            callback.on_step_begin()
        self.rollout_func([], self)
        self.now += 5
        for callback in self.callbacks:
            callback.on_step_end()
        self.now += 10
        return SimpleNamespace(training_loss=next(self.losses))


def test_a_step_is_timed_without_what_is_around_it() -> None:
    trainer = Trainer()
    side = Side(trainer, lambda: trainer.now)
    assert [side.step(), side.step()] == [8, 8]
    assert side.losses == [4, 2]
    assert side.batch == [([1, 2, 3, 4, 5], [0, 0, 1, 0, 1])]
    assert side.medians() == {"update": 5 / 5, "rollouts": 3 / 2}


def test_parts_are_compared_for_each_token() -> None:
    ours, theirs = (SimpleNamespace(tokens={"update": 10, "rollouts": 4, "step": 10}) for _ in range(2))
    ours.medians, theirs.medians = (
        (lambda: {"update": 1.0, "rollouts": 2.0}),
        (lambda: {"update": 2.0, "rollouts": 8.0}),
    )
    theirs.tokens = {"update": 99, "rollouts": 99, "step": 99}  # what they drew does not count
    works = {"update": [limit.Work(50, 0)], "rollouts": [limit.Work(10, 0)]}
    found = measuring._parts(ours, theirs, works, limit.Limit(10, 1))  # type: ignore[arg-type]
    assert [(part["seconds"], part["plain_seconds"], part["floor"]) for part in found.values()] == [
        (10, 20, 5),
        (8, 32, 1),
        (18, 52, 6),
    ]
    assert [part["ratio"] for part in found.values()] == [2.0, 4.0, 2.89]
    assert [part["tokens_per_second"] for part in found.values()] == [1.0, 0.5, 0.6]
