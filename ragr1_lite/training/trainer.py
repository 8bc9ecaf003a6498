"""What SFT and GRPO share: TRL's arguments from a recipe, a trainer without side effects, checkpoints, Ctrl-C."""

from __future__ import annotations

import errno
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ConfigError, RunError, StorageError, out_of_memory
from ragr1_lite.core.events import CheckpointSaved, Notice, Report, StepFinished
from ragr1_lite.evaluation.resources import Resources, forget_peak, most_held
from ragr1_lite.models.loading import Policy, import_unsloth_first
from ragr1_lite.models.lora import name_base, save_adapter
from ragr1_lite.models.processes import anywhere, is_main, processes, sharded, together, wait
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trackers import after_the_others

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
        resources: What the run took, its earlier parts included; ``None`` where nothing was metered.
    """

    run: Run
    adapter: Path
    seconds: float
    steps: int
    resources: Resources | None = None


def import_in_order(recipe: Recipe) -> None:
    """Imports unsloth before TRL, unless the recipe does without it."""
    if recipe.model.engine != "transformers":
        import_unsloth_first()


def seed(recipe: Recipe) -> None:
    """Seeds what a fresh adapter is drawn from: torch begins with another seed in each process."""
    import torch

    torch.manual_seed(recipe.train.seed)


def finished(run: Run, recipe: Recipe, report: Report) -> TrainResult | None:
    """The result of a run that is already done; its adapter is the last thing a run writes."""
    if not run.adapter.is_dir():
        return None
    report(Notice(f"This run is finished: its {recipe.train.steps} steps are done. Nothing was changed."))
    return TrainResult(run, run.adapter, 0.0, recipe.train.steps)


def trainer_arguments(recipe: Recipe, run: Run, policy: Policy) -> dict[str, Any]:
    """The keyword arguments SFTConfig and GRPOConfig share.

    Raises:
        ConfigError: The processes cannot share a batch evenly, or a model that is needed whole.
    """
    train = recipe.train
    on_cpu = policy.device == "cpu"
    return {
        "output_dir": str(run.checkpoints),
        "max_steps": train.steps,
        "per_device_train_batch_size": train.micro_batch,
        "gradient_accumulation_steps": _passes(recipe),
        "ddp_find_unused_parameters": False,  # every pass uses the whole adapter
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
        "report_to": list(train.report_to) or "none",
        "run_name": recipe.output.name,
        "disable_tqdm": True,
        "use_cpu": on_cpu,
        "bf16": policy.dtype != "fp32",
        "gradient_checkpointing": not on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
    }


def _passes(recipe: Recipe) -> int:
    """Forward passes per step in each process."""
    train, together = recipe.train, processes()
    if sharded() and (recipe.task == "grpo" or recipe.eval.every):
        raise ConfigError(
            "grpo and eval.every need the whole model in each process, and this launch cuts it up",
            "Launch with distributed_type MULTI_GPU, or DEEPSPEED with zero_stage 2.",
        )
    if train.batch_size % (train.micro_batch * together):
        raise ConfigError(
            f"train.batch_size {train.batch_size} cannot be shared by {together} processes in passes of "
            f"train.micro_batch {train.micro_batch}",
            f"Make train.batch_size a multiple of {train.micro_batch * together}, or train.micro_batch smaller.",
        )
    return train.batch_size // (train.micro_batch * together)


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

    Attributes:
        interrupted: Whether the user pressed Ctrl-C.
        updating: Whether the weights are being changed just now.
        recipe: What is trained by.
    """

    def __init__(self, run: Run, policy: Policy, recipe: Recipe, report: Report) -> None:
        self.interrupted = self.updating = self._due = False
        self._run, self._policy, self.recipe, self._report = run, policy, recipe, report
        self._step_began, self._seconds, self._tokens = time.perf_counter(), 0.0, 0.0
        self._chance: dict[str, Any] | None = None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Starts the step's clock and its count of memory."""
        self._step_began = time.perf_counter()
        if self._policy.device == "cuda":
            forget_peak("cuda")

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Gradients are ready."""
        self.updating = True

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Stops the step's clock: what comes now is not training. From here a state could be saved."""
        self.updating = False
        self._seconds = round(time.perf_counter() - self._step_began, 3)
        self._chance = _random_state()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Stops after this step when the user asked to, in whichever process.

        A checkpoint holds no rollouts: where they serve several steps, it waits until they have.
        """
        self.interrupted = anywhere(self.interrupted)
        self._due = self._due or control.should_save or self.interrupted
        if self._due and (state.global_step % self.recipe.grpo.iterations == 0 or state.global_step == state.max_steps):
            self._due, control.should_save = False, True
            control.should_training_stop = control.should_training_stop or self.interrupted
        else:
            control.should_save = False
        return control

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        """Writes the step's figures, those of the trainer and our own, which trackers shall see as well."""
        if "loss" not in logs:
            return
        known = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
        ours = self._measured(known)
        logs.update(ours)
        metrics = {ours: known[theirs] for theirs, ours in _RENAMED.items() if theirs in known}
        metrics |= {key.removeprefix("rollout/"): value for key, value in known.items() if key.startswith("rollout/")}
        metrics |= {key: value for key, value in known.items() if key.startswith("eval_")} | ours
        self._run.log(state.global_step, metrics)
        self._report(StepFinished(state.global_step, state.max_steps, metrics))

    def _measured(self, logged: dict[str, float]) -> dict[str, float]:
        """Tokens per second of an SFT step (its whole batch, trained or not), the peak of memory in GiB, seconds.

        That of a card is the step's, that of the process the training's, where the system tells.
        """
        figures: dict[str, float] = {}
        if self.recipe.task == "sft" and "num_tokens" in logged:  # counted by TRL from the start of the process
            figures["tokens_per_second"] = round((logged["num_tokens"] - self._tokens) / max(self._seconds, 1e-3), 1)
            self._tokens = logged["num_tokens"]
        figures["memory_gb"] = round(most_held("cuda" if self._policy.device == "cuda" else "cpu") / 2**30, 3)
        return figures | {"seconds": self._seconds}

    def save_last_state(self, trainer: Any) -> None:
        """Writes a checkpoint of the last finished step, unless there is one.

        A step that broke off has changed no weight yet, but it may have drawn random numbers: those from before are
        put back.
        """
        if self._chance is None:  # no step since the start: the newest checkpoint is the state
            return
        last = self._run.last_checkpoint()
        if last is None or _step_of(last) < trainer.state.global_step:
            _set_random_state(self._chance)
            trainer._save_checkpoint(trainer.model, trial=None)
            trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Declares the checkpoint complete, then drops the oldest."""
        wait()  # each process writes the state of its random numbers
        if not is_main():
            return
        written = self._run.checkpoints / f"checkpoint-{state.global_step}"
        name_base(written / "adapter_config.json", self._policy.spec.name)
        checkpoint = self._run.mark_complete(state.global_step)
        (self._run.checkpoints / "README.md").unlink(missing_ok=True)  # TRL's empty card
        for old in sorted(self._run.checkpoints.glob("checkpoint-*"), key=_step_of)[: -self.recipe.train.keep]:
            shutil.rmtree(old)
        self._report(CheckpointSaved(str(checkpoint), state.global_step))


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def fit(
    trainer: Any,
    policy: Policy,
    recipe: Recipe,
    run: Run,
    report: Report,
    *,
    resume: bool,
    callbacks: Sequence[Any] = (),
) -> TrainResult:
    """Trains to the end, or to Ctrl-C, from the newest checkpoint where there is one.

    Args:
        trainer: From :func:`build_trainer`.
        policy: What it trains.
        recipe: What it was built by.
        run: Where everything is written.
        report: Receives :class:`~ragr1_lite.core.events.StepFinished`, checkpoints and notices.
        resume: Whether the user expects a checkpoint to go on from.
        callbacks: Callbacks of the trainer; what they add to a step's log under ``eval_…`` is told with the step.

    Raises:
        KeyboardInterrupt: After the checkpoint was written.
        StorageError: Something cannot be written; earlier checkpoints are intact.
        RuntimeError: The memory ran out, see :func:`~ragr1_lite.core.errors.out_of_memory`; the last state was written.
        RunError: It ran out where the state is lost, or on one of several GPUs.
    """
    from transformers import TrainerCallback

    class Callback(Progress, TrainerCallback):  # type: ignore[misc]
        """Progress, as the trainer wants it."""

    progress = Callback(run, policy, recipe, report)
    for callback in (*callbacks, progress):
        trainer.add_callback(callback)
    after_the_others(trainer)
    model: Any = policy.model
    checkpoint = run.last_checkpoint()
    if resume and checkpoint is None:
        report(Notice("There is no complete checkpoint yet: starting from the beginning."))
    if checkpoint:
        # the trainer itself forgets it where the reference adapter lies in the checkpoint, too
        model.load_adapter(str(checkpoint), "default", is_trainable=True)
    began = time.perf_counter()
    try:
        with _interruptible(progress, report), _storage_errors(run), _memory_errors(trainer, progress), together():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        for reference in set(model.peft_config) - {"default"}:
            model.delete_adapter(reference)
    if progress.interrupted and trainer.state.global_step < recipe.train.steps:
        raise KeyboardInterrupt
    # every process has a part of what the main one writes
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded() else None
    if is_main():
        save_adapter(policy, run.adapter, dtype=recipe.lora.saved_as, weights=weights)
    wait()
    return TrainResult(run, run.adapter, time.perf_counter() - began, trainer.state.global_step)


@contextmanager
def _memory_errors(trainer: Any, progress: Progress) -> Iterator[None]:
    """Saves the last state when the memory runs out, where it is whole."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        step = trainer.state.global_step + 1
        if progress.updating or processes() > 1:
            where = "while the weights were changed" if progress.updating else "on one of the GPUs"
            raise RunError(f"The memory ran out in step {step} {where}", memory_hint(progress.recipe)) from error
        progress.save_last_state(trainer)
        if progress.interrupted:
            raise KeyboardInterrupt from error
        raise


def memory_hint(recipe: Recipe) -> str:
    """How a training gets along with less memory."""
    grpo = " or a smaller grpo.group_size" if recipe.task == "grpo" else ""
    return f"Set a shorter rollout.max_length{grpo}; `ragr1-lite plan` shows what fits."


@contextmanager
def _interruptible(progress: Progress, report: Report) -> Iterator[None]:
    """The first Ctrl-C asks for a checkpoint after the current step, the second one stops at once.

    A launcher of several processes passes the first one on to them once more, and kills them half a minute later.
    """

    def ask(signum: int, frame: FrameType | None) -> None:
        if progress.interrupted and processes() > 1:
            return
        if progress.interrupted:
            raise KeyboardInterrupt
        progress.interrupted = True
        again = "" if processes() > 1 else "; press Ctrl-C again to stop at once"
        report(Notice(f"Stopping after this step with a checkpoint{again}.", "warning"))

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


def _random_state() -> dict[str, Any]:
    """The state of every generator that training draws from."""
    import numpy
    import torch

    return {
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }


def _set_random_state(state: dict[str, Any]) -> None:
    import numpy
    import torch

    random.setstate(state["python"])
    numpy.random.set_state(state["numpy"])
    torch.set_rng_state(state["cpu"])
    torch.cuda.set_rng_state_all(state["cuda"])


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
