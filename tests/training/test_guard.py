"""The collapse guard: what it calls a breach, what it puts back, and that it leaves a healthy run alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ragr1_lite.config import GuardConfig, Recipe
from ragr1_lite.core.events import CheckpointSaved, Notice, StepFinished
from ragr1_lite.training import grpo
from ragr1_lite.training.grpo import trainer as trainer_module
from ragr1_lite.training.grpo.guard import Guard
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import fit
from tests.support import tiny

RIGHT = "<think>It is.</think><answer>Chad</answer>"
WRONG = "<think>No.</think><answer>Oman</answer>"
INVALID = "<think>hm"
HEALTHY, PATIENCE, STEPS = 3, 2, 8
"""Steps until the rollouts collapse, steps until the guard has seen enough, and all of them."""
BACK = HEALTHY + PATIENCE
"""The step after which the adapter of the last good one is back."""


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte")


class Crash(Exception):
    """What stops a run in these tests."""


class Job:
    """A run whose rollouts become invalid after some steps; written down are the weights after each step.

    Attributes:
        weights: The adapter after each step, the guard's doing included.
        moments: How many weights have a moment in the optimizer then.
        events: Everything that was reported.
    """

    def __init__(self, model: Path, output: Path, **sections: dict[str, Any]) -> None:
        defaults: dict[str, dict[str, Any]] = {
            "train": {"steps": STEPS, "learning_rate": 0.01, "save_every": 1, "schedule": "linear", "warmup_steps": 2},
            "grpo": {"group_size": 4},
            "guard": {"patience": PATIENCE, "max_invalid": 0.4},
        }
        fields = {name: values | sections.get(name, {}) for name, values in defaults.items()}
        guard = fields.pop("guard")
        recipe = tiny.make_recipe("grpo", model, output, **fields)
        self.recipe = Recipe.model_validate(recipe.model_dump() | {"guard": guard})
        self.weights: dict[int, dict[str, torch.Tensor]] = {}
        self.moments: dict[int, int] = {}
        self.events: list[object] = []

    def train(self, *, collapses: bool = True, resume: bool = False, crash_at: int = 0) -> Job:
        run = Run.start(self.recipe, resume=resume)
        policy = tiny.load(self.recipe)

        def say(row: int, turn: int) -> str:
            if collapses and trainer.state.global_step >= HEALTHY:
                return RIGHT if row % 4 == 0 else INVALID
            return [RIGHT, "<think>so so</think><answer>Chad</answer>", WRONG, INVALID][row % 4]

        def report(event: object) -> None:
            self.events.append(event)
            if isinstance(event, StepFinished):
                trained = {name: one for name, one in policy.model.named_parameters() if one.requires_grad}
                self.weights[event.step] = {name: one.detach().clone() for name, one in trained.items()}
                self.moments[event.step] = len(trainer.optimizer.state)
            if isinstance(event, CheckpointSaved) and event.step == crash_at:
                raise Crash

        with pytest.MonkeyPatch.context() as scripted:
            scripted.setattr(trainer_module, "make_sampler", lambda policy, *_: tiny.Script(policy.tokenizer, say))
            trainer: Any = grpo.make_trainer(policy, tiny.EXAMPLES[:1], tiny.OnePassage(), self.recipe, run, report)
        fit(trainer, policy, self.recipe, run, report, resume=resume)
        return self

    @property
    def adapter(self) -> Path:
        return self.recipe.output / "adapter"

    @property
    def warnings(self) -> list[str]:
        return [one.text for one in self.events if isinstance(one, Notice) and one.level == "warning"]

    def rates(self) -> list[float]:
        return [line["lr"] for line in tiny.metrics_of(self.recipe.output)]


def same(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def job(byte_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The whole run."""
    return Job(byte_model, tmp_path_factory.mktemp("whole") / "run").train()


def test_a_collapse_is_undone_once(job: Job, byte_model: Path, tmp_path: Path) -> None:
    plain = Job(byte_model, tmp_path / "plain", guard={"enabled": False}).train()
    assert plain.warnings == []
    begun, undone, again = job.warnings
    assert begun.startswith(
        f"Step {HEALTHY + 1} looks like a collapse: invalid 0.75 is above 0.65 (guard.max_invalid)."
    )
    assert f"that of step {HEALTHY - 1} again" in undone
    assert again.startswith(f"Step {BACK + 1} looks like a collapse")

    for step in range(1, BACK):
        assert same(job.weights[step], plain.weights[step]), "until then nothing is touched"
    assert same(job.weights[BACK], job.weights[HEALTHY - 1])
    assert not same(plain.weights[BACK], plain.weights[HEALTHY - 1])
    assert [job.moments[step] > 0 for step in range(1, STEPS + 1)] == [step != BACK for step in range(1, STEPS + 1)]
    assert not any(same(job.weights[step], job.weights[BACK]) for step in range(BACK + 1, STEPS + 1))
    expected = [rate / 2 if step > BACK else rate for step, rate in enumerate(plain.rates(), start=1)]
    assert job.rates() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("step", [HEALTHY, BACK - 1, BACK, BACK + 1])
def test_a_run_resumed_around_the_roll_back_ends_the_same(
    job: Job, byte_model: Path, tmp_path: Path, step: int
) -> None:
    cut = Job(byte_model, tmp_path / "cut")
    with pytest.raises(Crash):
        cut.train(crash_at=step)
    cut.train(resume=True)
    assert tiny.same_adapter(cut.adapter, job.adapter)
    assert cut.rates() == job.rates()
    assert cut.warnings == job.warnings


def test_a_healthy_run_is_left_alone(byte_model: Path, tmp_path: Path) -> None:
    runs = [
        Job(byte_model, tmp_path / name, guard={"enabled": name == "on"}).train(collapses=False)
        for name in ("on", "off")
    ]
    assert [job.warnings for job in runs] == [[], []]
    assert runs[0].rates() == runs[1].rates()
    assert tiny.same_adapter(runs[0].adapter, runs[1].adapter)


# --- what is a breach ----------------------------------------------------------------------------------------------

USUAL = {"entropy": 0.5, "kl": 0.1, "rollout/tokens": 100.0, "rollout/invalid": 0.2, "rollout/dead": 0.5}


class Watched:
    """A guard over a model of one weight, and a step for each log it is given."""

    def __init__(self, **bounds: Any) -> None:
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.model = torch.nn.Module()
        self.model.register_parameter("lora_A", self.weight)
        self.model.register_parameter("base", torch.nn.Parameter(torch.zeros(1), requires_grad=False))
        self.optimizer = torch.optim.AdamW([self.weight], lr=1.0)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)
        self.reported: list[str] = []
        policy: Any = SimpleNamespace(model=self.model)
        self.guard = Guard(policy, GuardConfig(**bounds), lambda event: self.reported.append(event.text))
        self.state: Any = SimpleNamespace(global_step=0)
        self.guard.on_train_begin(self.nothing, self.state, self.nothing)

    nothing: Any = None

    def step(self, **figures: float | None) -> None:
        self.guard.on_step_begin()
        self.state.global_step += 1
        self.weight.data += 1.0
        logs: dict[str, Any] = USUAL | {name if name in USUAL else f"rollout/{name}": v for name, v in figures.items()}
        self.guard.on_log(
            self.nothing, self.state, self.nothing, logs, optimizer=self.optimizer, lr_scheduler=self.scheduler
        )


@pytest.mark.parametrize(
    ("bounds", "figures", "reported"),
    [
        ({}, {}, ""),
        ({}, {"kl": 1.0, "tokens": 300.0, "invalid": 0.7, "dead": 1.0, "entropy": 0.0}, ""),
        ({}, {"kl": 1.2}, "kl 1.2 is above 1 (guard.max_kl)"),
        ({}, {"kl": None}, "kl nan is above 1 (guard.max_kl)"),
        ({}, {"tokens": 301.0}, "tokens 301 is above 300 (guard.max_length_growth)"),
        ({}, {"invalid": 0.71}, "invalid 0.71 is above 0.7 (guard.max_invalid)"),
        ({"max_dead": 0.8}, {"dead": 0.9}, "dead 0.9 is above 0.8 (guard.max_dead)"),
        ({"min_entropy": 0.1}, {"entropy": 0.05}, "entropy 0.05 is below 0.1 (guard.min_entropy)"),
        ({"min_entropy": 0.1}, {"entropy": None}, "entropy nan is below 0.1 (guard.min_entropy)"),
        ({"max_kl": 2.0}, {"kl": 3.0, "tokens": 900.0}, "kl 3 is above 2 (guard.max_kl), tokens 900 is above 300"),
    ],
)
def test_each_bound(bounds: dict[str, float], figures: dict[str, float | None], reported: str) -> None:
    watched = Watched(patience=2, **bounds)
    watched.step(tokens=80.0, invalid=0.1)
    watched.step(tokens=120.0, invalid=0.3)
    assert watched.reported == []
    watched.step(**figures)
    assert [reported in text for text in watched.reported] == ([True] if reported else [])


def test_length_and_invalid_share_are_measured_against_the_first_steps() -> None:
    watched = Watched(patience=2, max_invalid=0.3)
    for tokens, invalid in ((500.0, 0.9), (10.0, 0.9), (700.0, 1.0)):
        watched.step(tokens=tokens, invalid=invalid)
    assert watched.reported == []
    watched.step(tokens=800.0)
    assert "tokens 800 is above 765" in watched.reported[0]


def test_a_streak_warns_once_and_must_not_be_broken_to_roll_back() -> None:
    watched = Watched(patience=3)
    for kl in (9.0, 9.0, 0.1, 9.0, 9.0):
        watched.step(kl=kl)
    assert [text[:6] for text in watched.reported] == ["Step 1", "Step 4"]
    assert watched.weight.item() == 5.0
    watched.step(kl=9.0)
    assert watched.reported[2].startswith("Rolled back: the adapter is that of step 2 again")
    assert watched.weight.item() == 2.0, "what the third step began with and proved good"
    assert watched.optimizer.param_groups[0]["lr"] == 0.5
    for _ in range(4):
        watched.step(kl=9.0)
    assert len(watched.reported) == 4
    assert watched.weight.item() == 6.0


def test_without_a_good_step_the_start_comes_back() -> None:
    watched = Watched(patience=2)
    watched.step(kl=9.0)
    watched.step(kl=9.0)
    assert "that of step 0 again" in watched.reported[1]
    assert watched.weight.item() == 0.0


def test_steps_on_earlier_rollouts_are_not_judged() -> None:
    watched = Watched(patience=2)
    watched.step(kl=9.0)
    logs = {"loss": 0.0, "kl": 0.0}
    watched.guard.on_log(watched.nothing, watched.state, watched.nothing, logs, optimizer=None, lr_scheduler=None)
    watched.step(kl=9.0)
    assert len(watched.reported) == 2, "the streak went on"


@pytest.mark.parametrize("enabled", [True, False])
def test_a_recipe_switches_it_off(byte_model: Path, tmp_path: Path, enabled: bool) -> None:
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run")
    recipe = recipe.model_copy(update={"guard": GuardConfig(enabled=enabled)})
    trainer = grpo.make_trainer(tiny.load(recipe), tiny.EXAMPLES[:2], tiny.OnePassage(), recipe, Run(recipe.output))
    assert any(isinstance(one, Guard) for one in trainer.callback_handler.callbacks) == enabled
