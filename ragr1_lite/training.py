"""What SFT and GRPO share: TRL's arguments from a recipe, progress, checkpoints, Ctrl-C, the result."""

from __future__ import annotations

import importlib.metadata
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ragr1_lite.config import Recipe
from ragr1_lite.errors import RunError
from ragr1_lite.events import CheckpointSaved, Notice, Report, StepFinished
from ragr1_lite.models import LoraSpec, ModelSpec, Policy, import_unsloth_first, save_adapter
from ragr1_lite.runs import Run

_RENAMED = {"loss": "loss", "grad_norm": "grad_norm", "learning_rate": "lr", "kl": "kl", "entropy": "entropy"}


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training run left.

    Attributes:
        run: Its folder.
        adapter: The adapter's folder.
        seconds: Wall time of the training itself.
        steps: Optimizer steps done.
    """

    run: Run
    adapter: Path
    seconds: float
    steps: int


def model_spec(recipe: Recipe) -> ModelSpec:
    """The model a recipe names, in the loader's terms."""
    model = recipe.model
    return ModelSpec(model.name, model.dtype, model.engine, model.adapter, recipe.rollout.max_length)


def lora_spec(recipe: Recipe) -> LoraSpec:
    """The adapter a recipe trains, in the loader's terms."""
    return LoraSpec(recipe.lora.r, recipe.lora.alpha, recipe.lora.dropout, recipe.lora.targets)


def import_in_order(recipe: Recipe) -> None:
    """Imports unsloth before TRL, unless the recipe does without it."""
    if recipe.model.engine != "transformers":
        import_unsloth_first()


def trainer_arguments(recipe: Recipe, run: Run, policy: Policy) -> dict[str, Any]:
    """The keyword arguments SFTConfig and GRPOConfig share."""
    train = recipe.train
    on_cpu = policy.device == "cpu"
    return {
        "output_dir": str(run.checkpoints),
        "max_steps": train.steps,
        "per_device_train_batch_size": train.micro_batch,
        "gradient_accumulation_steps": train.batch_size // train.micro_batch,
        "learning_rate": train.learning_rate,
        "warmup_steps": train.warmup_steps,
        "lr_scheduler_type": train.schedule,
        "max_grad_norm": train.max_grad_norm,
        "weight_decay": train.weight_decay,
        "seed": train.seed,
        "logging_steps": 1,
        "logging_strategy": "steps",
        "save_strategy": "steps",
        "save_steps": train.save_every,
        "save_total_limit": train.keep,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": on_cpu,
        "bf16": policy.dtype != "fp32",
        "gradient_checkpointing": not on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
    }


class Progress(TrainerCallback):  # type: ignore[misc]
    """Logs each step, marks checkpoints complete, and turns Ctrl-C into a checkpoint and a clean stop."""

    def __init__(self, run: Run, report: Report) -> None:
        self.interrupted = False
        self._run, self._report = run, report
        self._step_began = time.perf_counter()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Starts the step's clock."""
        self._step_began = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Stops after this step when the user asked to."""
        if self.interrupted:
            control.should_save = control.should_training_stop = True
        return control

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        """Writes the step's figures."""
        metrics = {ours: float(logs[theirs]) for theirs, ours in _RENAMED.items() if theirs in logs}
        metrics |= {key.removeprefix("rollout/"): float(logs[key]) for key in logs if key.startswith("rollout/")}
        if "loss" not in metrics:
            return
        metrics["seconds"] = round(time.perf_counter() - self._step_began, 3)
        self._run.log(state.global_step, metrics)
        self._report(StepFinished(state.global_step, state.max_steps, metrics))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Declares the checkpoint complete."""
        checkpoint = self._run.mark_complete(state.global_step)
        self._report(CheckpointSaved(str(checkpoint), state.global_step))


def fit(trainer: Any, policy: Policy, recipe: Recipe, run: Run, report: Report, *, resume: bool) -> TrainResult:
    """Trains to the end, or to Ctrl-C, from the newest checkpoint when resuming.

    Raises:
        KeyboardInterrupt: After the checkpoint was written.
    """
    progress = Progress(run, report)
    trainer.add_callback(progress)
    checkpoint = run.last_checkpoint() if resume else None
    if resume and checkpoint is None:
        report(Notice("There is no complete checkpoint yet: starting from the beginning."))
    began = time.perf_counter()
    with _interruptible(progress, report):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if progress.interrupted and trainer.state.global_step < recipe.train.steps:
        raise KeyboardInterrupt
    save_adapter(policy, run.adapter)
    return TrainResult(run, run.adapter, time.perf_counter() - began, trainer.state.global_step)


@contextmanager
def _interruptible(progress: Progress, report: Report) -> Iterator[None]:
    """The first Ctrl-C asks for a checkpoint after the current step, the second one stops at once."""

    def ask(signum: int, frame: FrameType | None) -> None:
        if progress.interrupted:
            raise KeyboardInterrupt
        progress.interrupted = True
        report(Notice("Stopping after this step with a checkpoint; press Ctrl-C again to stop at once.", "warning"))

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not the main thread: signals are the caller's business
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def versions() -> dict[str, str]:
    """The versions figures depend on."""
    names = ("torch", "transformers", "trl", "peft", "bm25s", "ragr1-lite")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def check_trainable(policy: Policy) -> None:
    """Makes sure that adapter weights, and nothing else, will move.

    Raises:
        RunError: A base weight is trainable, or nothing is.
    """
    trainable = [name for name, weight in policy.model.named_parameters() if weight.requires_grad]
    foreign = [name for name in trainable if "lora_" not in name]
    if foreign or not trainable:
        raise RunError(
            f"{foreign[0]} would be trained besides the adapter" if foreign else "No adapter weight is trainable",
            "Install the versions that `pip install ragr1-lite` asks for, and report this if it stays.",
        )
