"""The private and unstable names of other libraries: all that this package touches of them.

A release may change any of them without notice. Each entry names the version that it was read from; on a new version,
read them again. ``training/grpo/proof.py`` also reads the keys of the batch that TRL hands to ``compute_loss``, and
stops a training in which they mean something else.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def attention(model: Any, name: str) -> Iterator[None]:
    """Has a model compute attention by the registered function of this name while the block runs.

    transformers 5.17.0, ``config._attn_implementation``.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = base.config._attn_implementation
    base.set_attn_implementation(name)
    try:
        yield
    finally:
        base.set_attn_implementation(before)


def has_amx() -> bool:
    """Whether this processor multiplies tiles of bf16. torch 2.13.0."""
    import torch

    return torch.cpu._is_amx_tile_supported()


def lost_connection(error: RuntimeError) -> bool:
    """Whether the connection between processes broke. torch 2.13.0: gloo's errors have no type of their own."""
    import torch

    return isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)


def compute_4bit_in(model: Any, dtype: Any) -> None:
    """Has 4-bit layers compute in a torch dtype, and stay trainable on a CPU. bitsandbytes 0.50.2, ``Linear4bit``.

    Weights that were stored in 4 bits name a dtype of their own. And on CPUs with AVX512-BF16 the first forward in eval
    mode repacks the weights for inference, and every later training step goes on without a gradient, silently.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.compute_dtype = dtype
            module.support_avx512bf16_for_cpu = False


def lora_layers(model: Any) -> Sequence[Any]:
    """The layers that carry an adapter. peft 0.21.2, ``BaseTunerLayer``."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def plain_lora_layers(model: Any) -> Sequence[Any]:
    """The layers with LoRA on a plain, frozen linear layer. peft 0.21.2, ``Linear``."""
    import torch
    from peft.tuners.lora import Linear

    def frozen(layer: Any) -> bool:
        base = layer.get_base_layer()
        return type(base) is torch.nn.Linear and not base.weight.requires_grad

    return [layer for layer in lora_layers(model) if type(layer) is Linear and frozen(layer)]


def lora_parts(layer: Any) -> tuple[Any, Any, float] | None:
    """A layer's A, B and scale, where its output is ``base(x) + scale x A' B'``. peft 0.21.2, ``Linear.forward``."""
    if layer.merged or layer.disable_adapters or len(layer.active_adapters) != 1:
        return None
    (name,) = layer.active_adapters
    plain = name in layer.lora_A and name not in layer.lora_variant and not layer.lora_bias[name]
    if not plain or layer.fan_in_fan_out or (layer.training and getattr(layer.lora_dropout[name], "p", 0.0)):
        return None
    return layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]


def adapted_ends(model: Any) -> list[str]:
    """Names of input and output embeddings that carry LoRA, and of tokens trained singly. peft 0.21.2, TRL 1.14.2.

    Both ends may share a weight, to which the adapter of one is not to be added for the other, and TRL's chunked losses
    multiply by the output's weight past its adapter.
    """
    from peft.tuners.lora import Embedding
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    carriers = {id(layer): layer for layer in lora_layers(model)}
    output = model.get_base_model().get_output_embeddings()
    return [
        name.removeprefix("base_model.model.").removesuffix(".token_adapter")
        for name, layer in model.named_modules()
        if id(layer) in carriers and (layer is output or isinstance(layer, Embedding | TrainableTokensLayer))
    ]


def has_lora_bias(model: Any) -> bool:
    """Whether LoRA layers have a bias, which merging adds to the model's own. peft 0.21.2, ``lora_bias``."""
    return any(any(getattr(layer, "lora_bias", {}).values()) for layer in lora_layers(model))


def of_adapter(weight: str) -> bool:
    """Whether a weight is an adapter's, by its name in the model: LoRA, a whole layer or a token that is trained.

    peft 0.21.2.
    """
    return any(part in weight for part in ("lora_", ".modules_to_save.", ".trainable_tokens_delta."))


def whole_layers(model: Any) -> Sequence[Any]:
    """The layers that an adapter replaces as a whole. peft 0.21.2, ``ModulesToSaveWrapper``."""
    from peft.utils.other import ModulesToSaveWrapper

    wrappers = (module for module in model.modules() if isinstance(module, ModulesToSaveWrapper))
    return [wrapper.modules_to_save["default"] for wrapper in wrappers]


def forget_merge(layer: Any) -> None:
    """Has an adapter's layer count as unmerged, whose base weight was put back. peft 0.21.2, ``merged_adapters``."""
    layer.merged_adapters.clear()


def settle_unsloth(folder: Path) -> None:
    """Has unsloth write the trainers that it generates into a folder, and send no statistics.

    unsloth 2026.10.7, before it is imported; else it writes them into the working folder and imports them from there.
    """
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(folder))
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")


def unsloth_kernels(model: Any) -> Any:
    """Has a model of unsloth's train its adapter by unsloth's kernels and checkpointing, whoever attached it.

    unsloth 2026.10.7: what its loader does where it finds an adapter.
    """
    if os.environ.get("UNSLOTH_USE_NEW_MODEL") == "1":
        from unsloth.models.vision import FastBaseModel

        return FastBaseModel.post_patch_model(model, "unsloth")
    from unsloth import FastLanguageModel

    return FastLanguageModel.patch_peft_model(model, "unsloth")


@contextmanager
def unsloth_mode_kept(model: Any) -> Iterator[None]:
    """Puts a model of unsloth's back in training mode after the block, its checkpointing as it was.

    unsloth 2026.10.7: its ``generate`` switches checkpointing off, and puts it back only where it came to its end. It
    also passes on what transformers warns of in each call.
    """
    training, warns = model.training, logging.getLogger("transformers.generation.utils")
    level = warns.level
    warns.setLevel(logging.ERROR)
    checkpointing = next(
        (one for module in model.modules() if (one := getattr(module, "gradient_checkpointing", False))), False
    )
    try:
        yield
    finally:
        warns.setLevel(level)
        if training:
            model.for_training(use_gradient_checkpointing=checkpointing)


def silence() -> None:
    """Switches telemetry off, and warnings that nobody here can act on.

    TRL 1.14.2 says that ``rollout_func`` may change, bitsandbytes 0.50.2 that an optional kernel is missing,
    transformers 5.23.0 that peft and TRL use an old name. huggingface_hub 1.33.0.
    """
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)


def trackers() -> dict[str, Any]:
    """The callback classes of transformers' trackers, by their names. transformers 5.17.0."""
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    return dict(INTEGRATION_TO_CALLBACK)


def move_trackers_last(trainer: Any) -> None:
    """Moves the trackers behind a trainer's other callbacks, so that they see what those add to a log.

    transformers 5.17.0.
    """
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    for tracker in get_reporting_integration_callbacks(trainer.args.report_to):
        trainer.add_callback(trainer.pop_callback(tracker))


def save_checkpoint(trainer: Any) -> None:
    """Writes a checkpoint now and tells the callbacks. transformers 5.17.0, ``Trainer._save_checkpoint``."""
    trainer._save_checkpoint(trainer.model, trial=None)
    trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)


def with_learning_rates(trainer_class: type[Any], share: Callable[[int], float]) -> type[Any]:
    """A Trainer whose steps have the learning rate times ``share(steps done)``, whatever its arguments say of it.

    transformers 5.17.0: ``create_scheduler`` is there to be replaced, and deepspeed asks it, too; by
    ``_created_lr_scheduler`` a second training makes a new one.
    """

    def create_scheduler(self: Any, num_training_steps: int, optimizer: Any = None) -> Any:
        from torch.optim.lr_scheduler import LambdaLR

        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(self.optimizer if optimizer is None else optimizer, share)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    return type(trainer_class.__name__, (trainer_class,), {"create_scheduler": create_scheduler})


def halve_learning_rate(optimizer: Any, scheduler: Any) -> float:
    """Halves the rate of this and all later steps and returns it; checkpoints hold what is changed here.

    torch 2.13.0, whose schedulers compute rates from ``base_lrs``; accelerate 1.15.0 wraps one as ``scheduler``.
    """
    scheduler = getattr(scheduler, "scheduler", scheduler)
    for group in optimizer.param_groups:
        group["lr"] /= 2
    scheduler.base_lrs = [rate / 2 for rate in scheduler.base_lrs]
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]
    return float(scheduler._last_lr[0])


def lend_model(trainer: Any) -> AbstractContextManager[Any]:
    """The trainer's model, ready to sample. TRL 1.14.2; unsloth replaces the name, so it is looked up in each call."""
    from trl.trainer import grpo_trainer

    lent: AbstractContextManager[Any] = grpo_trainer.unwrap_model_for_generation(
        trainer.model_wrapped, trainer.accelerator
    )
    return lent


def take_logits_in_chunks(trainer: Any) -> None:
    """Has GRPOTrainer never hold all logits at once. TRL 1.14.2; from 1.15 on it never does.

    It names the switch by a package, Liger, that this way does not need, and whose absence its configuration refuses.
    """
    from trl.models.utils import _ForwardRedirection

    if hasattr(trainer, "_chunked_logps"):
        trainer.use_liger_kernel, trainer._forward_redirection = True, _ForwardRedirection()


def score_by_labels(trainer: Any) -> None:
    """Has GRPOTrainer take log-probabilities and entropies from what the model returns for labels.

    TRL 1.14.2, ``_chunked_logps``; 1.16.0 does so itself.
    """

    def score(model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, **_: Any) -> tuple[Any, Any, None]:
        labels = input_ids.masked_fill(attention_mask == 0, -100)
        labels[:, :-logits_to_keep] = -100
        with trainer.accelerator.autocast():
            output = model(input_ids=input_ids, attention_mask=attention_mask, labels=labels)
        return output.log_probs[:, -logits_to_keep:], output.entropy[:, -logits_to_keep:], None

    if hasattr(trainer, "_chunked_logps"):
        take_logits_in_chunks(trainer)
        trainer._chunked_logps = score


def keep_groups_together(trainer: Any) -> None:
    """Has GRPOTrainer cut rollouts into passes in their order: a group's rows, which begin alike, are neighbours.

    TRL 1.14.2 and 1.16.0, ``shuffle_sequence_dict``: it shuffles them first, which changes no step's gradient, as all
    passes over the rollouts make one step.
    """
    from trl.trainer import grpo_trainer

    prepare = trainer._prepare_inputs

    def in_order(batch: Any) -> Any:
        shuffle = grpo_trainer.shuffle_sequence_dict
        grpo_trainer.shuffle_sequence_dict = lambda rows: rows
        try:
            return prepare(batch)
        finally:
            grpo_trainer.shuffle_sequence_dict = shuffle

    trainer._prepare_inputs = in_order


def scored(loss: Any, logprobs: Any, entropies: Any, likeliest: Any, known: Any) -> Any:
    """A model's output as TRL's trainers read it: the loss, and of each label, ``(rows, tokens)``, its figures.

    Log-probability, entropy, whether it is the likeliest, whether it counts. TRL 1.16.0; 1.14.2 reads sums of SFT's.
    """
    from transformers.utils import ModelOutput

    sums = {
        "entropy_sum": entropies.sum(),
        "num_correct_tokens": likeliest.sum().float(),
        "num_valid_tokens": known.sum(),
    }
    figures = {"log_probs": logprobs, "entropy": entropies, "is_top1": likeliest, "label_mask": known}
    return ModelOutput(loss=loss, **figures, **sums)


def keep_reference(model: Any) -> None:
    """Keeps a copy of the adapter as it is now, which the KL is measured to. TRL 1.14.2, its adapter ``ref``.

    TRL does so; from TRL, unsloth 2026.10.7 takes it out, and would measure the KL to the model without its adapter.
    """
    model.add_adapter("ref", model.peft_config["default"])
    weights = dict(model.named_parameters())
    for name, weight in weights.items():
        if ".ref." in name:
            weight.data.copy_(weights[name.replace(".ref.", ".default.")])


def last_kl(trainer: Any) -> float:
    """The mean KL per token of the pass that GRPOTrainer computed last. TRL 1.14.2, ``_metrics``."""
    return float(trainer._metrics["train"]["kl"][-1])


@contextmanager
def metrics_kept(trainer: Any) -> Iterator[None]:
    """Puts GRPOTrainer's collected metrics back after the block. TRL 1.14.2, ``_metrics``."""
    kept = {mode: {name: [*values] for name, values in found.items()} for mode, found in trainer._metrics.items()}
    try:
        yield
    finally:
        for mode, found in kept.items():
            trainer._metrics[mode].clear()
            trainer._metrics[mode].update(found)
