"""TRL's own trainers as its manual has them: transformers' model, peft's adapter, nothing of ours patched into them.

They are the other side of the training benchmark. Whatever of the recipe makes the work the same is kept: batches and
their order, LoRA and its first weights, precision, learning rate. Gradient checkpointing, which TRL switches on by
default and which costs a second forward pass, is off as on our side. All else is TRL's default.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragr1_lite.config import Recipe
from ragr1_lite.core.rollout import run_rollouts
from ragr1_lite.core.types import Example, Searcher
from ragr1_lite.data.curriculum import schedule
from ragr1_lite.models.hub import find_folder
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.precision import to_torch
from ragr1_lite.models.sampler import TransformersSampler
from ragr1_lite.training.grpo.rollouts import to_trl


def twin(policy: Policy) -> Policy:
    """The same base model loaded once more by transformers, with a copy of the adapter attached by peft."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()  # its trainer announces each special token that it aligns
    base = AutoModelForCausalLM.from_pretrained(find_folder(policy.spec.name), dtype=to_torch(policy.compute))
    model = peft.get_peft_model(base, copy.deepcopy(policy.model.peft_config["default"]))
    ours = dict(policy.model.named_parameters())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                weight.copy_(ours[name])
    return replace(policy, model=model)


def sft_trainer(policy: Policy, rows: Sequence[dict[str, list[int]]], recipe: Recipe, folder: Path) -> Any:
    """SFTTrainer over ids and labels, in their order."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        **_arguments(policy, recipe, folder),
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
    dataset = Dataset.from_list(list(rows))
    return _quiet(
        SFTTrainer(model=policy.model, args=arguments, train_dataset=dataset, processing_class=policy.tokenizer.hf)
    )


def grpo_trainer(policy: Policy, examples: Sequence[Example], searcher: Searcher, recipe: Recipe, folder: Path) -> Any:
    """GRPOTrainer whose ``rollout_func`` searches by turns, everything prefilled anew in each by ``generate``.

    The adapter stays LoRA layers while it samples, as in TRL's own generation. Rewards are 0 and 1 by turns.
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    grpo, rollout, passes = recipe.grpo, recipe.rollout, recipe.train.batch_size // recipe.train.micro_batch
    arguments = GRPOConfig(
        **_arguments(policy, recipe, folder),
        num_generations=grpo.group_size,
        steps_per_generation=passes,
        max_completion_length=rollout.max_length,
        temperature=grpo.temperature,
        beta=grpo.beta,
        loss_type=grpo.loss_type,
        shuffle_dataset=False,
    )
    sampler = TransformersSampler(policy, temperature=grpo.temperature, batch_size=rollout.batch_size, ragged=False)
    protocol, limits = rollout.protocol(), rollout.limits(recipe.retrieval.k)

    def roll(prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        asked = [examples[int(prompt)] for prompt in prompts]
        made = run_rollouts(asked, sampler, searcher, protocol=protocol, limits=limits)
        return to_trl(made, policy.tokenizer.eos_ids[0]) | {"reward": [float(row % 2) for row in range(len(made))]}

    order = schedule(examples, recipe.groups_needed, recipe.train.seed, recipe.data)  # our own trainer's

    def reward(*, reward: list[float], **_: Any) -> list[float]:
        return reward

    return _quiet(
        GRPOTrainer(
            model=policy.model,
            args=arguments,
            processing_class=policy.tokenizer.hf,
            reward_funcs=reward,
            train_dataset=Dataset.from_list([{"prompt": str(number)} for number in order]),
            rollout_func=roll,
        )
    )


def _quiet(trainer: Any) -> Any:
    """A trainer that prints nothing."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(policy: Policy, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """What both trainers are given of a recipe."""
    train = recipe.train
    return {
        "output_dir": str(folder),
        "max_steps": train.steps,
        "per_device_train_batch_size": train.micro_batch,
        "gradient_accumulation_steps": train.batch_size // train.micro_batch,
        "learning_rate": train.learning_rate,
        "warmup_steps": train.warmup_steps,
        "lr_scheduler_type": train.schedule,
        "max_grad_norm": train.max_grad_norm,
        "weight_decay": train.weight_decay,
        "seed": train.seed,
        "use_cpu": policy.device == "cpu",
        "bf16": policy.compute == "bf16",
        "fp16": policy.compute == "fp16",
        "gradient_checkpointing": policy.device != "cpu",
        "remove_unused_columns": False,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
