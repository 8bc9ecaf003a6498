"""What SFT and GRPO share: TRL's arguments from a recipe, a trainer without side effects, checkpoints, Ctrl-C."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import platform
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ragr1_lite.config import Recipe
from ragr1_lite.errors import RunError, StorageError
from ragr1_lite.events import CheckpointSaved, Notice, Report, StepFinished
from ragr1_lite.models import LoraSpec, ModelSpec, Policy, import_unsloth_first, save_adapter
from ragr1_lite.runs import Run, write_atomic

if TYPE_CHECKING:  # at run time transformers is imported after unsloth, which patches it
    from transformers import TrainerControl, TrainerState, TrainingArguments

_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_HIDDEN = re.compile(r"\(os error (28|122|30|13)\)|unexpected pos|PytorchStreamWriter failed")
"""The same as safetensors and torch.save tell it, in errors of their own."""
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


def finished(run: Run, recipe: Recipe, report: Report) -> TrainResult | None:
    """The result of a run that is already done; its adapter is the last thing a run writes."""
    if not run.adapter.is_dir():
        return None
    report(Notice(f"This run is finished: its {recipe.train.steps} steps are done. Nothing was changed."))
    return TrainResult(run, run.adapter, 0.0, recipe.train.steps)


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
        "save_total_limit": None,  # Progress drops old ones, once the new one is marked complete
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": on_cpu,
        "bf16": policy.dtype != "fp32",
        "gradient_checkpointing": not on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
    }


def build_trainer(trainer_class: Any, policy: Policy, **arguments: Any) -> Any:
    """Constructs one of TRL's trainers for the policy, without what TRL does on the side.

    It sends telemetry, prints each step, and rounds the adapter of a quantized model to bf16, in which small updates
    vanish.
    """
    from huggingface_hub import constants
    from transformers import PrinterCallback

    constants.HF_HUB_DISABLE_TELEMETRY = True
    _align_special_tokens(policy)
    # peft looks at the base model's config in each save; under the name of the spec it would ask the hub for it
    policy.model.peft_config["default"].base_model_name_or_path = policy.model.name_or_path
    weights = [(weight, weight.data) for weight in policy.model.parameters() if weight.requires_grad]
    trainer = trainer_class(model=policy.model, processing_class=policy.tokenizer.hf, **arguments)
    for weight, data in weights:
        weight.data = data
    trainer.remove_callback(PrinterCallback)
    return trainer


def _align_special_tokens(policy: Policy) -> None:
    """Gives the model's configs the tokenizer's special tokens, which the trainer would do with a warning."""
    model: Any = policy.model
    tokenizer = policy.tokenizer.hf
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.pad_token_id = tokenizer.bos_token_id, tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.eos_token_id = list(policy.tokenizer.eos_ids)


class Progress:
    """Logs each step, marks checkpoints complete, and turns Ctrl-C into a checkpoint and a clean stop.

    Mixed into transformers' TrainerCallback, whose events it takes.
    """

    def __init__(self, run: Run, policy: Policy, keep: int, report: Report) -> None:
        self.interrupted = False
        self._run, self._base, self._keep, self._report = run, policy.spec.name, keep, report
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
        if "loss" not in logs:
            return
        known = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
        metrics = {ours: known[theirs] for theirs, ours in _RENAMED.items() if theirs in known}
        metrics |= {key.removeprefix("rollout/"): value for key, value in known.items() if key.startswith("rollout/")}
        metrics["seconds"] = round(time.perf_counter() - self._step_began, 3)
        self._run.log(state.global_step, metrics)
        self._report(StepFinished(state.global_step, state.max_steps, metrics))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Declares the checkpoint complete, then drops the oldest."""
        written = self._run.checkpoints / f"checkpoint-{state.global_step}"
        _name_base(written / "adapter_config.json", self._base)
        checkpoint = self._run.mark_complete(state.global_step)
        (self._run.checkpoints / "README.md").unlink(missing_ok=True)  # TRL's empty card
        for old in sorted(self._run.checkpoints.glob("checkpoint-*"), key=_step_of)[: -self._keep]:
            shutil.rmtree(old)
        self._report(CheckpointSaved(str(checkpoint), state.global_step))


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _name_base(config: Path, base: str) -> None:
    """Writes the base model's name over its folder's, so that a checkpoint can be used as an adapter anywhere."""
    fields = json.loads(config.read_text(encoding="utf-8"))
    write_atomic(config, json.dumps(fields | {"base_model_name_or_path": base}, indent=2) + "\n")


def fit(trainer: Any, policy: Policy, recipe: Recipe, run: Run, report: Report, *, resume: bool) -> TrainResult:
    """Trains to the end, or to Ctrl-C, from the newest checkpoint when resuming.

    Raises:
        KeyboardInterrupt: After the checkpoint was written.
        StorageError: Something cannot be written; earlier checkpoints are intact.
    """
    from transformers import TrainerCallback

    class Callback(Progress, TrainerCallback):  # type: ignore[misc]
        """Progress, as the trainer wants it."""

    progress = Callback(run, policy, recipe.train.keep, report)
    trainer.add_callback(progress)
    model: Any = policy.model
    checkpoint = run.last_checkpoint() if resume else None
    if resume and checkpoint is None:
        report(Notice("There is no complete checkpoint yet: starting from the beginning."))
    if checkpoint:
        # the trainer itself forgets it where the reference adapter lies in the checkpoint, too
        model.load_adapter(str(checkpoint), "default", is_trainable=True)
    began = time.perf_counter()
    with _interruptible(progress, report), _storage_errors(run):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if progress.interrupted and trainer.state.global_step < recipe.train.steps:
        raise KeyboardInterrupt
    for reference in set(model.peft_config) - {"default"}:
        model.delete_adapter(reference)
    save_adapter(policy, run.adapter, dtype=recipe.lora.saved_as)
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


@contextmanager
def _storage_errors(run: Run) -> Iterator[None]:
    """Turns a full or read-only disk into StorageError."""
    try:
        yield
    except Exception as error:
        if not (error.errno in _NOT_WRITABLE if isinstance(error, OSError) else _HIDDEN.search(str(error))):
            raise
        raise StorageError(
            f"Nothing more can be written to {run.folder}: the disk is full or not writable",
            "Free some space and go on with --resume; earlier checkpoints are kept.",
        ) from error


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
