"""A training whose memory runs out goes on with smaller passes, to the result it would have had with them all along."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import RunError, out_of_memory
from ragr1_lite.core.events import CheckpointSaved, Notice, StepFinished, ignore
from ragr1_lite.core.types import Reward, Trajectory
from ragr1_lite.training import grpo, sft
from ragr1_lite.training.grpo import rollouts, trainer
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import TrainResult
from tests.support import tiny
from tests.support.workplace import training_folder

TRAIN = {"steps": 4, "batch_size": 4, "micro_batch": 4, "learning_rate": 0.01, "save_every": 3}


class Crash(Exception):
    """What stops a run in these tests."""


@dataclass
class Memory:
    """A device on which passes of more than ``fits`` trajectories fail, from a step on.

    Attributes:
        fits: Trajectories a pass.
        since: Steps that are done before it becomes tight.
        before: Whether it fails before the pass, else when it is nearly over.
        error: How it is reported.
        passes: The size of each pass that was tried, by the step that was under way.
        trainers: Every trainer that was built.
    """

    fits: int = 1
    since: int = 2
    before: bool = True
    error: Exception = field(default_factory=lambda: torch.OutOfMemoryError("CUDA out of memory."))
    passes: list[tuple[int, int]] = field(default_factory=list)
    trainers: list[weakref.ref[Any]] = field(default_factory=list)

    def limit(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """``make_trainer`` on that device."""

        def made(*args: Any, **options: Any) -> Any:
            trainer = make(*args, **options)
            self.trainers.append(weakref.ref(trainer))
            trainer.compute_loss = self._compute_loss(weakref.ref(trainer), type(trainer).compute_loss)
            return trainer

        return made

    def _compute_loss(self, trainer: weakref.ref[Any], plain: Callable[..., Any]) -> Callable[..., Any]:
        def compute_loss(model: Any, inputs: dict[str, Any], **options: Any) -> Any:
            owner = trainer()
            assert owner is not None
            rows = len(inputs["labels"] if "labels" in inputs else inputs["prompt_ids"])
            self.passes.append((owner.state.global_step + 1, rows))
            tight = rows > self.fits and owner.state.global_step >= self.since
            if tight and self.before:
                raise type(self.error)(*self.error.args)  # not itself, which would keep its traceback
            loss = plain(owner, model, inputs, **options)
            if tight:
                raise type(self.error)(*self.error.args)
            return loss

        return compute_loss


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and trajectories that serve as questions, too."""
    return training_folder(tmp_path_factory.mktemp("back-off"))


@pytest.fixture(params=["sft", "grpo"])
def task(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either training; the reward is one that random models earn, too."""

    def by_parity(trajectory: Trajectory, *_: object, **__: object) -> Reward:
        total = float(sum(trajectory.token_ids) % 5)
        return Reward(total, {"em": total})

    monkeypatch.setattr(rollouts, "score", by_parity)
    monkeypatch.setattr(trainer, "open_searcher", lambda index, report: tiny.OnePassage())
    task: str = request.param
    return task


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> Callable[[Memory], Memory]:
    """Trains on a device of so much memory."""

    def use(memory: Memory) -> Memory:
        monkeypatch.setattr(sft, "make_trainer", memory.limit(plain["sft"]))
        monkeypatch.setattr(trainer, "make_trainer", memory.limit(plain["grpo"]))
        return memory

    plain = {"sft": sft.make_trainer, "grpo": trainer.make_trainer}
    return use


def make_recipe(task: str, folder: Path, output: Path, /, **sections: dict[str, Any]) -> Recipe:
    """Four steps of one batch of four; for ``grpo`` with a KL to the start."""
    defaults: dict[str, dict[str, Any]] = {
        "data": {"train": str(folder / "trajectories.jsonl")},
        "train": TRAIN,
        "grpo": {"beta": 0.05},
    }
    merged = {key: defaults.get(key, {}) | sections.get(key, {}) for key in {*defaults, *sections}}
    return tiny.make_recipe(task, folder / "tiny-byte", output, **merged)


def train(recipe: Recipe, *, resume: bool = False, report: Any = ignore) -> TrainResult:
    torch.seed()  # as in every process that starts anew
    run = sft.train if recipe.task == "sft" else grpo.train
    return run(recipe, resume=resume, report=report)


def assert_close(left: Path, right: Path) -> None:
    """Whether two runs ended alike, but for the rounding of differently cut batches.

    Adam takes steps of the learning rate's length whatever the size of a gradient: where that is near 0, rounding
    decides its sign. One weight in a thousand may have gone another way.
    """
    first, second = tiny.adapter_of(left / "adapter"), tiny.adapter_of(right / "adapter")
    assert first.keys() == second.keys()
    apart = torch.cat([(first[name] - second[name]).abs().flatten() for name in first])
    assert (apart > 2e-4).double().mean() <= 1e-3
    assert apart.max() <= 2 * TRAIN["learning_rate"] * TRAIN["steps"]
    lines = [tiny.metrics_of(run) for run in (left, right)]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]] == [1, 2, 3, 4]
    assert [line["loss"] for line in lines[0]] == pytest.approx([line["loss"] for line in lines[1]], abs=1e-3)


@pytest.mark.parametrize("since", [0, 2])
def test_result_is_that_of_the_small_passes(
    task: str, since: int, folder: Path, tmp_path: Path, on_device: Callable[[Memory], Memory]
) -> None:
    """Whether it happens before there is a checkpoint or after some steps; from four to two to one."""
    small = make_recipe(task, folder, folder / f"{task}-small", train={"micro_batch": 1})
    if not small.output.exists():
        train(small)
    memory = on_device(Memory(since=since))
    recipe = make_recipe(task, folder, tmp_path / "run")
    events: list[object] = []
    train(recipe, report=events.append)
    assert_close(recipe.output, small.output)
    tight = [(since + 1, 4), (since + 1, 2), *((step, 1) for step in range(since + 1, 5) for _ in range(4))]
    assert memory.passes == [*((step + 1, 4) for step in range(since)), *tight]
    warnings = [one.text for one in events if isinstance(one, Notice) and "memory ran out" in one.text]
    assert len(warnings) == 2
    assert f"in step {since + 1}: going on from step {since} with train.micro_batch=2 instead of 4" in warnings[0]
    assert "--set train.micro_batch=1" in warnings[1]
    assert [one.step for one in events if isinstance(one, StepFinished)] == [1, 2, 3, 4]
    saved = [one.step for one in events if isinstance(one, CheckpointSaved)]
    assert saved == [*([since] if since else []), 3, 4]


@pytest.mark.parametrize("before", [True, False])
def test_random_numbers_of_the_failed_pass_are_drawn_again(
    before: bool, folder: Path, tmp_path: Path, on_device: Callable[[Memory], Memory]
) -> None:
    """With dropout, a pass that failed late has drawn them already."""
    recipe = make_recipe("sft", folder, tmp_path / "run", lora={"dropout": 0.2})
    on_device(Memory(fits=2, before=before))
    train(recipe)
    early = make_recipe("sft", folder, tmp_path / "early", lora={"dropout": 0.2})
    on_device(Memory(fits=2, before=True))
    train(early)
    assert tiny.same_adapter(recipe.output / "adapter", early.output / "adapter")


def test_resumed_run_begins_as_it_went_on(
    task: str, folder: Path, tmp_path: Path, on_device: Callable[[Memory], Memory]
) -> None:
    whole = make_recipe(task, folder, tmp_path / "whole")
    on_device(Memory(fits=2))
    train(whole)
    recipe = make_recipe(task, folder, tmp_path / "run")

    def crash(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == 3:
            raise Crash

    with pytest.raises(Crash):
        train(recipe, report=crash)
    memory = on_device(Memory(fits=2))
    train(recipe, resume=True)
    assert {rows for _, rows in memory.passes} == {2}
    assert tiny.same_adapter(recipe.output / "adapter", whole.output / "adapter")


def test_a_pass_is_a_divisor_of_the_batch(folder: Path, tmp_path: Path, on_device: Callable[[Memory], Memory]) -> None:
    recipe = make_recipe("sft", folder, tmp_path / "run", train={"batch_size": 9, "micro_batch": 9, "steps": 1})
    memory = on_device(Memory(fits=3, since=0))
    train(recipe)
    assert [rows for _, rows in memory.passes] == [9, 3, 3, 3]


def test_not_even_one_trajectory_fits(
    task: str, folder: Path, tmp_path: Path, on_device: Callable[[Memory], Memory]
) -> None:
    recipe = make_recipe(task, folder, tmp_path / "run", train={"micro_batch": 2})
    on_device(Memory(fits=0))
    with pytest.raises(RunError, match="memory ran out in step 3, with one trajectory a pass") as caught:
        train(recipe)
    assert "rollout.max_length" in caught.value.hint
    assert ("group_size" in caught.value.hint) == (task == "grpo")
    checkpoint = Run(recipe.output).last_checkpoint()
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-2", "the last state is kept"
    memory = on_device(Memory(fits=1))
    train(recipe, resume=True)
    assert {rows for _, rows in memory.passes} == {1}


def test_nothing_of_the_failed_trainer_stays(
    task: str, folder: Path, tmp_path: Path, on_device: Callable[[Memory], Memory]
) -> None:
    memory = Memory(fits=2)
    make = memory.limit(sft.make_trainer if task == "sft" else trainer.make_trainer)
    alive: list[bool] = []

    def watched(*args: Any, **options: Any) -> Any:
        gc.collect()
        alive.extend(trainer() is not None for trainer in memory.trainers)
        return make(*args, **options)

    samplers: list[Any] = []

    def make_sampler(*args: Any) -> Any:
        samplers.append(plain(*args))
        return samplers[-1]

    plain = trainer.make_sampler
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sft if task == "sft" else trainer, "make_trainer", watched)
        patched.setattr(trainer, "make_sampler", make_sampler)
        train(make_recipe(task, folder, tmp_path / "run"))
    assert alive == [False]
    assert len(samplers) == (task == "grpo"), "vLLM's memory would be taken twice"


def test_memory_that_runs_out_while_weights_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Smaller passes would not help, and the weights may be half of this step, half of the last."""
    recipe = make_recipe("sft", folder, tmp_path / "run", train={"save_every": 1})
    step, calls = torch.optim.AdamW.step, iter(range(4))

    def tight(*args: Any, **options: Any) -> Any:
        if next(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", tight)
        with pytest.raises(RunError, match="in step 3 while the weights were changed"):
            train(recipe)
    assert [path.name for path in Run(recipe.output).checkpoints.iterdir()] == ["checkpoint-2", "checkpoint-1"]


def test_other_errors_stay_what_they_are(folder: Path, tmp_path: Path, on_device: Callable[[Memory], Memory]) -> None:
    memory = on_device(Memory(error=RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")))
    with pytest.raises(RuntimeError, match="must match"):
        train(make_recipe("sft", folder, tmp_path / "run"))
    assert len(memory.trainers) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a primitive descriptor for a matmul primitive"), False),
        (MemoryError(), True),
        (RuntimeError("expected scalar type Float but found Half"), False),
        (OSError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) is expected


def test_a_cpu_gives_it_so() -> None:
    """The real error of torch's allocator."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)
