"""What SFT and GRPO share: TRL's arguments from a recipe, a trainer without side effects, the training itself."""

from __future__ import annotations

import errno
import math
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ConfigError, RunError, StorageError, out_of_memory
from ragr1_lite.core.events import Notice, Report
from ragr1_lite.evaluation.resources import Resources
from ragr1_lite.models import upstream
from ragr1_lite.models.loading import Policy, import_unsloth_first, load_policy, model_spec
from ragr1_lite.models.lora import save_adapter
from ragr1_lite.models.processes import is_main, processes, sharded, together, wait
from ragr1_lite.training.packed_pass import unpack
from ragr1_lite.training.progress import Progress
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.thread_watch import ThreadWatch, resolved

_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_HIDDEN = re.compile(r"\(os error (28|122|30|13|5|116)\)|unexpected pos|PytorchStreamWriter failed")
"""The same in the errors of safetensors and torch.save, which have no number."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training run left."""

    run: Run  # its folder
    adapter: Path  # the adapter's folder
    seconds: float  # wall time of the training itself
    steps: int  # optimizer steps done
    resources: Resources | None = None  # what the run took, its earlier parts included, where it was metered


def import_in_order(recipe: Recipe) -> None:
    """Imports unsloth before TRL, unless the recipe does without it."""
    if recipe.model.engine != "transformers":
        import_unsloth_first()


def finished(recipe: Recipe, report: Report) -> TrainResult | None:
    """The result of a recipe's run that is already done: the adapter is the last thing a run writes.

    Raises:
        RunError: That run was started with another recipe.
    """
    run = Run(recipe.output)
    if not run.adapter.is_dir():
        return None
    run.require_same(recipe)
    report(Notice(f"This run is finished: its {recipe.train.steps} steps are done. Nothing was changed."))
    spent = run.summary().get("resources")
    resources = Resources.from_json(spent) if spent else None
    return TrainResult(run, run.adapter, resources.seconds if resources else 0.0, recipe.train.steps, resources)


def load_trainable(recipe: Recipe, run: Run, report: Report) -> Policy:
    """The recipe's model with an adapter to train, in the precision and with the threads that the run began with.

    What the recipe leaves to the machine is resolved and kept at the run's start, so that a run that is resumed on
    another machine trains on as it did.

    Raises:
        RagR1Error: It cannot be loaded.
        RunError: A base weight is trainable, or nothing is.
    """
    import torch

    torch.manual_seed(recipe.train.seed)  # a fresh adapter is drawn; torch begins with another seed in each process
    spec = replace(model_spec(recipe), **resolved(run))
    policy = load_policy(spec, lora=recipe.lora, report=report)
    run.remember(resolved={name: getattr(policy.spec, name) for name in ("dtype", "compute", "threads")})
    trainable = [name for name, weight in policy.model.named_parameters() if weight.requires_grad]
    foreign = [name for name in trainable if not upstream.of_adapter(name)]
    if foreign or not trainable:
        raise RunError(
            f"{foreign[0]} would be trained next to the adapter" if foreign else "No adapter weight is trainable",
            "Install the versions that `pip install ragr1-lite` asks for, and report this if it stays.",
        )
    return policy


def trainer_arguments(recipe: Recipe, run: Run, policy: Policy) -> dict[str, Any]:
    """The keyword arguments SFTConfig and GRPOConfig share.

    Some are TRL's defaults, because unsloth has others.

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
        "optim": "adamw_torch_fused",
        "torch_empty_cache_steps": None,
        "seed": train.seed,
        "logging_steps": 1,
        "logging_strategy": "steps",
        "logging_nan_inf_filter": True,
        "save_strategy": "steps",
        "save_steps": train.save_every,
        "save_total_limit": None,  # Progress drops old ones, once the new one is marked complete
        "report_to": list(train.report_to) or "none",
        "run_name": recipe.output.name,
        "disable_tqdm": True,
        "use_cpu": on_cpu,
        "bf16": policy.compute == "bf16",
        "fp16": policy.compute == "fp16",
        "gradient_checkpointing": not on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
    }


def _passes(recipe: Recipe) -> int:
    train, count = recipe.train, processes()
    if sharded() and (recipe.task == "grpo" or recipe.eval.every):
        raise ConfigError(
            "grpo and eval.every need the whole model in each process, and this launch cuts it up",
            "Launch with distributed_type MULTI_GPU, or DEEPSPEED with zero_stage 2.",
        )
    if train.batch_size % (train.micro_batch * count):
        raise ConfigError(
            f"train.batch_size {train.batch_size} cannot be shared by {count} processes in passes of "
            f"train.micro_batch {train.micro_batch}",
            f"Make train.batch_size a multiple of {train.micro_batch * count}, or train.micro_batch smaller.",
        )
    return train.batch_size // (train.micro_batch * count)


def as_callback(ours: type[Any], *arguments: Any) -> Any:
    """One of our classes made a TrainerCallback as well, which is not to be imported before unsloth."""
    from transformers import TrainerCallback

    return type(ours.__name__, (ours, TrainerCallback), {})(*arguments)


def build_trainer(trainer_class: Any, policy: Policy, **arguments: Any) -> Any:
    """Constructs one of TRL's trainers for the policy, without its side effects.

    It sends telemetry, prints each step, begins with a step of learning rate 0, and rounds the adapter of a quantized
    model to bf16, in which small updates vanish.
    """
    from transformers import PrinterCallback

    _align_special_tokens(policy)
    unpack(policy)  # an earlier trainer's; TRL looks at the model's own forward
    # peft looks at the base model's config in each save; under the name of the spec it would ask the hub for it
    policy.model.peft_config["default"].base_model_name_or_path = policy.model.name_or_path
    weights = [(weight, weight.data) for weight in policy.model.parameters() if weight.requires_grad]
    trainer_class = upstream.with_learning_rates(trainer_class, partial(_share_of_rate, arguments["args"]))
    trainer = trainer_class(model=policy.model, processing_class=policy.tokenizer.hf, **arguments)
    for weight, data in weights:
        weight.data = data
    trainer.remove_callback(PrinterCallback)
    return trainer


def _share_of_rate(args: Any, done: int) -> float:
    """The share of ``args.learning_rate`` after ``done`` steps, by ``args``' schedule, warm-up and steps.

    The warm-up's steps rise evenly to the full rate, which the first step after them has: step i has i/(warm-up + 1)
    of it. From there on it is that of transformers' schedules, whose own warm-up begins with a step of rate 0.
    """
    if done < args.warmup_steps:
        return float((done + 1) / (args.warmup_steps + 1))
    left: float = (args.max_steps - done) / max(1, args.max_steps - args.warmup_steps)
    if args.lr_scheduler_type == "cosine":
        return (1 - math.cos(math.pi * left)) / 2
    return 1.0 if args.lr_scheduler_type == "constant_with_warmup" else left


def _align_special_tokens(policy: Policy) -> None:
    """Gives the model's configs the tokenizer's special tokens, which the trainer would do with a warning.

    The trainer's end token is the end of a turn: by it TRL sees which completions are whole.
    """
    model: Any = policy.model
    tokenizer = policy.tokenizer.hf
    ends = policy.tokenizer.eos_ids
    tokenizer.eos_token, tokenizer.pad_token = tokenizer.convert_ids_to_tokens([ends[0], policy.tokenizer.pad_id])
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.pad_token_id = tokenizer.bos_token_id, tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.eos_token_id = list(ends)


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

    What ``callbacks`` add to a step's log under ``eval_…`` is reported with the step.

    Raises:
        KeyboardInterrupt: After the checkpoint was written.
        StorageError: Something cannot be written; earlier checkpoints are intact.
        RuntimeError: The memory ran out, see :func:`~ragr1_lite.core.errors.out_of_memory`; the last state was written.
        RunError: It ran out where the state is lost, or on one of several GPUs.
    """
    progress = as_callback(Progress, run, policy, recipe, report)
    for callback in (*callbacks, as_callback(ThreadWatch, run, report), progress):
        trainer.add_callback(callback)
    upstream.move_trackers_last(trainer)
    model: Any = policy.model
    checkpoint = run.last_checkpoint()
    if resume and checkpoint is None:
        report(Notice("There is no complete checkpoint yet: starting from the beginning."))
    if checkpoint:
        # the trainer itself does not do it where the reference adapter lies in the checkpoint, too
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
    try:
        yield
    except Exception as error:
        if not (error.errno in _NOT_WRITABLE if isinstance(error, OSError) else _HIDDEN.search(str(error))):
            raise
        raise StorageError(
            f"Nothing more can be written to {run.folder}: the disk is full, not writable, or fails",
            "Free some space or check the disk, and go on with --resume; earlier checkpoints are kept.",
        ) from error
