"""Stopped and resumed runs end in the very adapter of an uninterrupted one, whatever stopped them."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import RunError, StorageError
from ragr1_lite.core.events import CheckpointSaved, Notice, StepFinished, ignore
from ragr1_lite.core.types import Reward, Trajectory
from ragr1_lite.models import cpu_speed
from ragr1_lite.models.loading import Policy, load_policy
from ragr1_lite.training import grpo, sft, trainer
from ragr1_lite.training.grpo import rollouts
from ragr1_lite.training.grpo import trainer as grpo_trainer
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import TrainResult
from tests.support import tiny
from tests.support.workplace import training_folder

ROOT = Path(__file__).parents[2]


class Crash(Exception):
    """What stops a run in these tests."""


class Job:
    """One kind of training: its recipe for an output folder, and how it is run."""

    def __init__(self, task: str, folder: Path, **sections: dict[str, Any]) -> None:
        self.task, self.folder, self.sections = task, folder, sections
        self.model = folder / "tiny-byte"

    def recipe(self, name: str, **changes: dict[str, Any]) -> Recipe:
        sections = {key: self.sections.get(key, {}) | changes.get(key, {}) for key in {*self.sections, *changes}}
        return tiny.make_recipe(self.task, self.model, self.folder / name, **sections)

    def train(self, name: str, *, resume: bool = False, report: Any = ignore, **changes: dict[str, Any]) -> TrainResult:
        torch.seed()  # as in every process that starts anew
        train = sft.train if self.task == "sft" else grpo.train
        return train(self.recipe(name, **changes), resume=resume, report=report)


def by_parity(trajectory: Trajectory, weights: object) -> Reward:
    """A reward that random models earn, too."""
    total = float(sum(trajectory.token_ids) % 5)
    return Reward(total, {"em": total})


def untrained(monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Lets GRPO run with a model that knows nothing: another reward, another searcher."""
    values = ((rollouts, "score", by_parity), (grpo_trainer, "open_searcher", lambda index, report: tiny.OnePassage()))
    for module, name, value in values:
        setattr(module, name, value) if monkeypatch is None else monkeypatch.setattr(module, name, value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, trajectories and questions."""
    return training_folder(tmp_path_factory.mktemp("resume"))


TRAIN = {"steps": 6, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 3, "save_every": 2}


@pytest.fixture(scope="module")
def sft_job(folder: Path) -> Job:
    """SFT with dropout, so that the state of the random numbers counts, and a schedule."""
    job = Job(
        "sft",
        folder,
        data={"train": str(folder / "trajectories.jsonl")},
        train=TRAIN | {"schedule": "cosine"},
        lora={"dropout": 0.1},
    )
    job.train("sft-whole")
    return job


@pytest.fixture(scope="module")
def grpo_job(folder: Path) -> Job:
    """GRPO with sampling, a KL to the start, and more steps than one epoch has."""
    job = Job(
        "grpo",
        folder,
        data={"train": str(folder / "trajectories.jsonl"), "limit": 3},
        train=TRAIN,
        grpo={"group_size": 2, "beta": 0.05},
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        untrained(monkeypatch)
        job.train("grpo-whole")
    return job


@pytest.fixture(params=["sft_job", "grpo_job"])
def job(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Job:
    untrained(monkeypatch)
    found: Job = request.getfixturevalue(request.param)
    return found


def assert_whole(job: Job, name: str) -> None:
    """The run of this name ended as the uninterrupted one, and its metrics tell each step once."""
    whole = job.folder / f"{job.task}-whole"
    assert tiny.same_adapter(job.folder / name / "adapter", whole / "adapter")
    assert untimed(job.folder / name) == untimed(whole)


def untimed(run: Path) -> list[dict[str, float]]:
    """A run's metrics without those that differ from run to run."""
    return [
        {key: value for key, value in line.items() if not re.search("second|memory", key)}
        for line in tiny.metrics_of(run)
    ]


def at_step(step: int, act: Callable[[], None]) -> Callable[[object], None]:
    """A report that acts when a step is reported."""

    def report(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == step:
            act()

    return report


def crash() -> None:
    raise Crash


# --- exceptions and signals ----------------------------------------------------------------------------------------


def test_training_is_deterministic_and_moves(job: Job) -> None:
    job.train(f"{job.task}-again")
    assert_whole(job, f"{job.task}-again")
    grads = [line["grad_norm"] for line in tiny.metrics_of(job.folder / f"{job.task}-whole")]
    assert sum(grad > 0 for grad in grads) >= 4


@pytest.mark.parametrize("step", [1, 3, 4])
def test_exception(job: Job, step: int) -> None:
    """Before the first checkpoint, between two, and after a step whose checkpoint was not yet written."""
    name = f"{job.task}-crash-{step}"
    with pytest.raises(Crash):
        job.train(name, report=at_step(step, crash))
    assert not (job.folder / name / "adapter").exists()
    job.train(name, resume=True)
    assert_whole(job, name)


def test_exception_in_a_rollout(grpo_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter is merged into the base model then; what was merged must not stay."""
    untrained(monkeypatch)
    plain = rollouts.run_rollouts
    calls: list[int] = []

    def failing(*args: Any, **options: Any) -> list[Trajectory]:
        calls.append(1)
        if len(calls) == 4:
            raise Crash
        return plain(*args, **options)

    with monkeypatch.context() as broken:
        broken.setattr(rollouts, "run_rollouts", failing)
        with pytest.raises(Crash):
            grpo_job.train("grpo-rollout")
    grpo_job.train("grpo-rollout", resume=True)
    assert_whole(grpo_job, "grpo-rollout")


@pytest.mark.parametrize("stop", ["crash", "interrupt"])
def test_rollouts_that_serve_several_steps(folder: Path, stop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint holds no rollouts, so it waits until they have served."""
    untrained(monkeypatch)
    job = Job(
        "grpo",
        folder,
        data={"train": str(folder / "trajectories.jsonl"), "limit": 3},
        train=TRAIN | {"steps": 7, "save_every": 3},
        grpo={"group_size": 2, "iterations": 2},
    )
    whole, name = f"grpo-twice-{stop}", f"grpo-twice-{stop}-resumed"
    saved: list[int] = []

    def report(event: object) -> None:
        if isinstance(event, CheckpointSaved):
            saved.append(event.step)

    job.train(whole, report=report)
    assert saved == [4, 6, 7], "instead of 3, 6, 7"
    act = crash if stop == "crash" else lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Crash if stop == "crash" else KeyboardInterrupt):
        job.train(name, report=at_step(5 if stop == "crash" else 4, act))
    last = Run(job.folder / name).last_checkpoint()
    assert last is not None
    assert last.name == ("checkpoint-4" if stop == "crash" else "checkpoint-6")
    job.train(name, resume=True)
    assert tiny.same_adapter(job.folder / name / "adapter", job.folder / whole / "adapter")
    assert untimed(job.folder / name) == untimed(job.folder / whole)


@pytest.mark.parametrize("step", [2, 3])
def test_ctrl_c(job: Job, step: int) -> None:
    """At a step that saves anyway, and at one that does not."""
    name = f"{job.task}-interrupt-{step}"
    events: list[object] = []

    def report(event: object) -> None:
        events.append(event)
        if isinstance(event, StepFinished) and event.step == step - 1:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        job.train(name, report=report)
    assert signal.getsignal(signal.SIGINT) is before
    saved = [event for event in events if isinstance(event, CheckpointSaved)]
    assert saved[-1].step == step
    assert Run(job.folder / name).last_checkpoint() == Path(saved[-1].path)
    assert any(isinstance(event, Notice) and event.level == "warning" for event in events)
    job.train(name, resume=True)
    assert_whole(job, name)


def test_second_ctrl_c_stops_at_once(sft_job: Job) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sft_job.train("sft-twice", report=at_step(3, twice))
    assert [line["step"] for line in tiny.metrics_of(sft_job.folder / "sft-twice")] == [1, 2, 3]
    sft_job.train("sft-twice", resume=True)
    assert_whole(sft_job, "sft-twice")


def test_ctrl_c_in_the_last_step_is_too_late(sft_job: Job) -> None:
    sft_job.train("sft-late", report=at_step(5, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert_whole(sft_job, "sft-late")


def python(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell in the background lets its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training import test_resume as here
here.untrained()
job = here.Job({task!r}, Path({folder!r}), **{sections!r})
job.train({name!r}, report=here.at_step({step}, lambda: os.kill(os.getpid(), signal.SIGKILL)))
"""


def test_sigkill(job: Job) -> None:
    name = f"{job.task}-killed"
    code = KILLED.format(task=job.task, folder=str(job.folder), sections=job.sections, name=name, step=5)
    killed = python("-c", code)
    output, errors = killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL, errors
    assert output + errors == "", "no library writes to the user"
    (job.folder / name / "checkpoints" / "checkpoint-5").mkdir()  # half-written
    with (job.folder / name / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    job.train(name, resume=True)
    assert_whole(job, name)


def test_ctrl_c_through_the_command_line(sft_job: Job) -> None:
    recipe = sft_job.recipe("sft-cli", train={"steps": 400, "save_every": 400})
    file = sft_job.folder / "recipe.yaml"
    file.write_text(recipe.dump(), encoding="utf-8")
    command = python("-m", "ragr1_lite", "sft", str(file))
    metrics = recipe.output / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not metrics.exists() and command.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    output, errors = command.communicate(timeout=300)
    assert command.returncode == 130, errors
    assert output == ""
    assert "--resume" in errors
    assert "Traceback" not in errors
    checkpoint = Run(recipe.output).last_checkpoint()
    assert checkpoint is not None
    step = int(checkpoint.name.rpartition("-")[2])
    assert f"step {step}" in errors
    assert step == len(tiny.metrics_of(recipe.output))
    events: list[object] = []
    with pytest.raises(Crash):
        sft.train(recipe, resume=True, report=lambda event: events.append(event) or at_step(step + 2, crash)(event))
    assert [event.step for event in events if isinstance(event, StepFinished)] == [step + 1, step + 2]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["auto", "nf4"])
def test_a_resumed_run_computes_as_it_began(
    sft_job: Job, monkeypatch: pytest.MonkeyPatch, threads: None, dtype: str
) -> None:
    """On a machine that is faster at bf16, and with more threads, than the one it began on."""
    name, model = f"sft-elsewhere-{dtype}", {"dtype": dtype}

    def on_machine(bf16: bool, best: int) -> None:
        monkeypatch.setattr(cpu_speed, "prefers_bf16", lambda: bf16)
        monkeypatch.setattr(cpu_speed, "_most_threads", lambda: 2)
        monkeypatch.setattr(cpu_speed, "_gain_of_threads", lambda: float(best))

    monkeypatch.setattr(cpu_speed._Look, "due", 0.0)
    monkeypatch.setattr(cpu_speed, "_SELDOM", math.inf)
    on_machine(False, 1)
    with pytest.raises(Crash):
        sft_job.train(name, report=at_step(3, crash), model=model)
    on_machine(True, 2)
    loaded: list[Policy] = []
    plain = load_policy
    monkeypatch.setattr(trainer, "load_policy", lambda *a, **o: loaded.append(plain(*a, **o)) or loaded[-1])
    sft_job.train(name, resume=True, model=model)
    (policy,) = loaded
    kept = next(weight for name, weight in policy.model.named_parameters() if "embed" in name)
    assert (policy.dtype, kept.dtype) == ("fp32" if dtype == "auto" else "nf4", torch.float32)
    assert torch.get_num_threads() == 1


def test_threads_change_with_the_machine_and_a_resumed_run_repeats_that(
    sft_job: Job, monkeypatch: pytest.MonkeyPatch, threads: None
) -> None:
    """Busy after step 1, idle after step 3: a run that breaks off in step 5 goes on from step 4, with two threads."""
    monkeypatch.setattr(cpu_speed, "_most_threads", lambda: 2)
    monkeypatch.setattr(cpu_speed, "_SELDOM", 0.0)
    gains = [2.0, 0.3, 0.3, 2.0, 2.0, *[0.3] * 9]  # at the start, then after each step
    monkeypatch.setattr(cpu_speed, "_gain_of_threads", lambda: gains.pop(0))
    monkeypatch.setattr(cpu_speed._Look, "due", 0.0)
    name, events, used = "sft-busy", list[object](), list[int]()

    def report(event: object) -> None:
        events.append(event)
        if isinstance(event, StepFinished):
            used.append(torch.get_num_threads())
            if event.step == 5:
                raise Crash

    with pytest.raises(Crash):
        sft_job.train(name, report=report)
    state = Run(sft_job.folder / name).recall()
    assert (state["resolved"]["threads"], state["threads"]) == (2, [[1, 1], [3, 2], [5, 1]])
    notices = [event.text for event in events if isinstance(event, Notice) and "From here on" in event.text]
    assert ["1 thread instead of 2" in text for text in notices] == [True, False, True]
    gains[:] = [2.0] * 9
    used.clear()
    sft_job.train(name, resume=True, report=lambda event: used.append(torch.get_num_threads()))
    assert set(used) == {2}
    assert Run(sft_job.folder / name).recall()["threads"] == [[1, 1], [3, 2]]


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_finished_run_is_left_alone(job: Job) -> None:
    name = f"{job.task}-whole"
    run = job.folder / name
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    events: list[object] = []
    result = job.train(name, resume=True, report=events.append)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert (result.steps, result.adapter) == (6, run / "adapter")
    (notice,) = events
    assert isinstance(notice, Notice)
    assert "finished" in notice.text


def test_killed_before_the_adapter_was_saved(job: Job) -> None:
    name = f"{job.task}-no-adapter"
    shutil.copytree(job.folder / f"{job.task}-whole", job.folder / name)
    shutil.rmtree(job.folder / name / "adapter")
    (job.folder / name / "recipe.yaml").write_text(job.recipe(name).dump(), encoding="utf-8")
    job.train(name, resume=True)
    assert_whole(job, name)


def test_old_checkpoints_go_only_when_the_new_one_is_complete(sft_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = Run.mark_complete

    def crash_at_four(self: Run, step: int) -> Path:
        if step == 4:
            raise Crash
        return mark(self, step)

    with monkeypatch.context() as broken:
        broken.setattr(Run, "mark_complete", crash_at_four)
        with pytest.raises(Crash):
            sft_job.train("sft-mark", train={"keep": 1})
    run = Run(sft_job.folder / "sft-mark")
    assert run.last_checkpoint() == run.checkpoints / "checkpoint-2"
    sft_job.train("sft-mark", resume=True, train={"keep": 1})
    assert_whole(sft_job, "sft-mark")
    assert [path.name for path in run.checkpoints.iterdir()] == ["checkpoint-6"]


@pytest.mark.parametrize(
    ("writer", "error"),
    [
        ("torch.save", RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 35904 vs 35792")),
        ("torch.save", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        ("peft.peft_model.safe_save_file", Exception("I/O error: No space left on device (os error 28)")),
        ("ragr1_lite.training.run_folder.Run.log", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    ],
    ids=["torch", "torch-os", "safetensors", "metrics"],
)
def test_disk_full(
    sft_job: Job, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, writer: str, error: Exception
) -> None:
    """The errors are those that a full tmpfs gave."""
    name = f"sft-full-{request.node.callspec.id}"

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as broken, pytest.raises(StorageError, match="disk is full.*--resume"):
        sft_job.train(name, report=at_step(3, lambda: broken.setattr(writer, fail)))
    run = Run(sft_job.folder / name)
    assert run.last_checkpoint() == run.checkpoints / "checkpoint-2"
    sft_job.train(name, resume=True)
    assert_whole(sft_job, name)


def test_other_errors_stay_what_they_are(sft_job: Job) -> None:
    def lost() -> None:
        raise FileNotFoundError(errno.ENOENT, "lost")

    with pytest.raises(FileNotFoundError):
        sft_job.train("sft-lost", report=at_step(1, lost))


def test_nothing_to_resume(sft_job: Job) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        sft_job.train("sft-none", resume=True)
