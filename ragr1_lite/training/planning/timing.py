"""Seconds per step from operations and bytes: what a step takes at least where every sequence is as long as planned."""

from __future__ import annotations

import math

from ragr1_lite.config import Recipe
from ragr1_lite.training.planning.machine import Rate
from ragr1_lite.training.planning.memory import Setting, kv_cache, weights
from ragr1_lite.training.planning.steps import Steps


def estimate(recipe: Recipe, setting: Setting, rate: Rate) -> float:
    """Seconds of a step: training's operations and, for ``grpo``, sampling's operations or bytes, whichever is more."""
    return train_operations(recipe, setting) / rate.operations + _sampling(recipe, setting, rate)


def train_operations(recipe: Recipe, s: Setting) -> float:
    """Forward and backward, which costs a frozen base as much as forward does, since its weights need no gradients.

    Gradient checkpointing adds a forward pass, the KL's reference another.
    """
    passes = 2 + (s.device == "cuda") + s.reference
    return recipe.train.batch_size * s.padded * passes * forward_operations(s)


def forward_operations(s: Setting) -> float:
    """Of one token at the middle of a sequence: twice the weights it meets, and its attention to what is before it."""
    shape = s.shape
    met = shape.linear_parameters + shape.vocab_size * shape.hidden_size
    return 2 * met + 2 * shape.num_hidden_layers * shape.queries * s.length


def sampled_tokens(recipe: Recipe, s: Setting) -> int:
    """What the model may write in one trajectory."""
    return min((recipe.rollout.max_rounds + 1) * recipe.rollout.max_new_tokens, s.length)


def _sampling(recipe: Recipe, s: Setting, rate: Rate) -> float:
    """Prefill by its operations; decoding token by token, each reading all weights and half of a full cache."""
    if s.task == "sft":
        return 0.0
    batches, written = math.ceil(recipe.train.batch_size / s.rows), sampled_tokens(recipe, s)
    work = s.rows * forward_operations(s) / rate.operations
    decode = written * max(work, (weights(s) + kv_cache(s) / 2) / rate.bytes)
    return batches * ((s.length - written) * work + decode) / recipe.grpo.iterations


def by_probe(recipe: Recipe, s: Setting, steps: Steps) -> float:
    """Seconds of a step whose trajectories cost what the probe's did, token by token."""
    seconds = steps.train_seconds * recipe.train.batch_size / steps.trained
    if s.task == "grpo":
        written = recipe.train.batch_size * sampled_tokens(recipe, s)
        seconds += written * steps.sample_seconds / steps.sampled / recipe.grpo.iterations
    return seconds
