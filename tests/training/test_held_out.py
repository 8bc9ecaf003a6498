"""Held-out questions measured on the way: the training does not notice, and the best adapter is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import Notice, StepFinished, ignore
from ragr1_lite.core.types import Example, Reward
from ragr1_lite.models.loading import Policy, load_policy
from ragr1_lite.training import grpo, held_out, sft, trainer
from ragr1_lite.training.grpo import rollouts
from ragr1_lite.training.grpo import trainer as grpo_trainer
from tests.support import tiny
from tests.support.workplace import training_folder

TRAIN = {"steps": 5, "learning_rate": 0.01, "save_every": 3}
EVAL = {"every": 2, "questions": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, trajectories and held-out questions."""
    folder = training_folder(tmp_path_factory.mktemp("validation"))
    lines = [{"question": f"Where is {name}?", "answers": [name]} for name in tiny.COUNTRIES]
    (folder / "held-out.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(params=["sft", "grpo"], autouse=True)
def task(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either training, with another searcher and a reward that random models earn, too."""

    def by_parity(trajectory: Any, *_: object, **__: object) -> Reward:
        total = float(sum(trajectory.token_ids) % 5)
        return Reward(total, {"em": total})

    monkeypatch.setattr(rollouts, "score", by_parity)
    monkeypatch.setattr(grpo_trainer, "open_searcher", lambda index, report: tiny.OnePassage())
    task: str = request.param
    return task


def train(
    task: str, folder: Path, output: Path, /, *, resume: bool = False, report: Any = ignore, **sections: Any
) -> Recipe:
    defaults: dict[str, dict[str, Any]] = {
        "data": {"train": str(folder / "trajectories.jsonl")},
        "train": TRAIN,
        "lora": {"dropout": 0.1},
        "grpo": {"beta": 0.05},
    }
    recipe = tiny.make_recipe(task, folder / "tiny-byte", output, **defaults)
    held_out = {"data": str(folder / "held-out.jsonl"), **sections.get("eval", {})}
    recipe = Recipe.model_validate(recipe.model_dump() | {"eval": held_out})
    torch.seed()  # as in every process that starts anew
    (sft.train if task == "sft" else grpo.train)(recipe, resume=resume, report=report)
    return recipe


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Policy]:
    """The policies that were loaded."""
    found: list[Policy] = []

    def load(*args: Any, **options: Any) -> Policy:
        found.append(load_policy(*args, **options))
        return found[-1]

    monkeypatch.setattr(trainer, "load_policy", load)
    return found


@pytest.fixture
def by_weights(monkeypatch: pytest.MonkeyPatch, loaded: list[Policy]) -> list[float]:
    """Figures that a random model has, too: they follow from its adapter. Collects them."""
    reported: list[float] = []

    def evaluate(*_: object, **__: object) -> Any:
        model = loaded[-1].model
        weight = sum(
            float(one.detach().double().sum()) for name, one in model.named_parameters() if ".default." in name
        )
        reported.append(round(abs(weight) * 1000 % 1, 4))
        return [SimpleNamespace(figures=lambda: {"em": reported[-1], "f1": 1.0})]

    monkeypatch.setattr(held_out, "evaluate_variants", evaluate)
    return reported


def test_training_does_not_notice(
    task: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[Policy]
) -> None:
    """Real rollouts by the model in training: neither its random numbers nor its mode nor its weights change."""
    asked: list[list[Example]] = []
    evaluate = held_out.evaluate_variants

    def watched(examples: Sequence[Example], *args: Any, **options: Any) -> Any:
        asked.append(list(examples))
        found = evaluate(examples, *args, **options)
        assert loaded[-1].model.training
        return found

    monkeypatch.setattr(held_out, "evaluate_variants", watched)
    plain = train(task, folder, tmp_path / "plain")
    measured = train(task, folder, tmp_path / "measured", eval=EVAL)
    assert tiny.same_adapter(plain.output / "adapter", measured.output / "adapter")
    lines = [tiny.metrics_of(one.output) for one in (plain, measured)]
    assert [line["loss"] for line in lines[0]] == [line["loss"] for line in lines[1]]
    assert ["eval_em" in line for line in lines[1]] == [False, True, False, True, True], "and after the last step"
    assert asked[0] == asked[1] == asked[2]
    assert len(asked[0]) == 3
    assert not (plain.output / "best").exists()


def test_the_best_adapter_is_kept(task: str, folder: Path, tmp_path: Path, by_weights: list[float]) -> None:
    events: list[object] = []
    recipe = train(task, folder, tmp_path / "run", eval={"every": 1, "questions": 3}, report=events.append)
    steps = [event.metrics for event in events if isinstance(event, StepFinished)]
    assert [line["eval_em"] for line in steps] == by_weights
    assert [line["eval_em"] for line in tiny.metrics_of(recipe.output)] == by_weights
    best = recipe.output / "best"
    top = max(by_weights)
    kept = json.loads((best / held_out.HELD_OUT).read_text())
    assert kept == {"step": by_weights.index(top) + 1, "em": top, "f1": 1.0, "questions": 3}
    assert {path.name for path in best.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        held_out.HELD_OUT,
    }
    weight = sum(float(one.double().sum()) for one in tiny.adapter_of(best).values())
    assert round(abs(weight) * 1000 % 1, 4) == pytest.approx(top, abs=2e-3)
    notices = [event.text for event in events if isinstance(event, Notice) and "held-out" in event.text]
    assert len(notices) == 5
    assert f"the best so far {top:.2f} (step {kept['step']})" in notices[-1]


def test_equals_do_not_replace_the_best(
    task: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([(0.2, 0.4), (0.5, 0.5), (0.5, 0.5), (0.5, 0.6), (0.4, 0.9)])

    def evaluate(*_: object, **__: object) -> Any:
        em, f1 = next(figures)
        return [SimpleNamespace(figures=lambda: {"em": em, "f1": f1})]

    monkeypatch.setattr(held_out, "evaluate_variants", evaluate)
    steps: list[int] = []
    save = held_out.save_adapter
    monkeypatch.setattr(held_out, "save_adapter", lambda *args, **options: (steps.append(1), save(*args, **options)))
    recipe = train(task, folder, tmp_path / "run", eval={"every": 1, "questions": 3})
    assert json.loads((recipe.output / "best" / held_out.HELD_OUT).read_text())["step"] == 4
    assert len(steps) == 3


class Crash(Exception):
    """What stops a run in these tests."""


@pytest.mark.parametrize("when", ["before", "after", "between"])
def test_a_resumed_run_keeps_the_same(
    when: str, task: str, folder: Path, tmp_path: Path, by_weights: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before a checkpoint saw a measurement, after it, and between the adapter and its figures."""
    whole = train(task, folder, tmp_path / "whole", eval=EVAL)
    expected = list(by_weights)
    by_weights.clear()

    def crash(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == {"before": 2, "after": 4}.get(when):
            raise Crash

    def cut_off(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched, pytest.raises(Crash):
        if when == "between":
            patched.setattr(held_out, "write_json", cut_off)
        train(task, folder, tmp_path / "run", eval=EVAL, report=crash)
    by_weights.clear()
    run = train(task, folder, tmp_path / "run", eval=EVAL, resume=True)
    assert by_weights == expected[-len(by_weights) :]
    kept = [json.loads((one.output / "best" / held_out.HELD_OUT).read_text()) for one in (run, whole)]
    assert kept[0] == kept[1]
    assert tiny.same_adapter(run.output / "best", whole.output / "best")
    assert tiny.same_adapter(run.output / "adapter", whole.output / "adapter")
    lines = [[line.get("eval_em") for line in tiny.metrics_of(one.output)] for one in (run, whole)]
    assert lines[0] == lines[1]


def test_nothing_to_measure_is_said_before_the_model_is_loaded(
    task: str, folder: Path, tmp_path: Path, loaded: list[Policy]
) -> None:
    with pytest.raises(ConfigError, match="eval.questions is 0"):
        train(task, folder, tmp_path / "run", eval={"every": 2})
    assert not loaded
    assert not (tmp_path / "run").exists()
