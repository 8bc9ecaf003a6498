"""TRL's GRPOTrainer as a recipe wants it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ragr1_lite.config import Recipe
from ragr1_lite.core import Example, Searcher
from ragr1_lite.data.curriculum import schedule
from ragr1_lite.events import Report, ignore
from ragr1_lite.grpo.rollouts import Rollouts
from ragr1_lite.models import Policy
from ragr1_lite.runs import Run
from ragr1_lite.sampling import TransformersSampler
from ragr1_lite.training import build_trainer, trainer_arguments


def make_trainer(
    policy: Policy, examples: Sequence[Example], searcher: Searcher, recipe: Recipe, run: Run, report: Report = ignore
) -> Any:
    """TRL's GRPOTrainer with :class:`Rollouts` as its ``rollout_func``.

    To TRL a prompt is the number of its question: two questions may share their text.

    Raises:
        DataError: There is no question, or the recipe's curriculum needs what the questions do not say.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func warns that it may change
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    order = schedule(examples, recipe.groups_needed, recipe.train.seed, recipe.data)
    sampler = TransformersSampler(policy, temperature=recipe.grpo.temperature, batch_size=recipe.rollout.batch_size)
    rollouts = Rollouts(policy, sampler, searcher, examples, recipe, report)
    arguments = trainer_arguments(recipe, run, policy) | {
        "num_generations": recipe.grpo.group_size,
        "steps_per_generation": recipe.train.batch_size // recipe.train.micro_batch,
        "num_iterations": recipe.grpo.iterations,
        "max_completion_length": recipe.rollout.max_length,
        "temperature": recipe.grpo.temperature,
        "beta": recipe.grpo.beta,
        "epsilon": recipe.grpo.epsilon,
        "loss_type": "grpo" if recipe.grpo.loss_type == "gspo" else recipe.grpo.loss_type,
        "importance_sampling_level": "sequence" if recipe.grpo.loss_type == "gspo" else "token",
        "scale_rewards": "group",
        "shuffle_dataset": False,
        "mask_truncated_completions": False,
        "log_completions": False,
    }
    return build_trainer(
        GRPOTrainer,
        policy,
        reward_funcs=rollouts.reward,
        args=GRPOConfig(**arguments),
        train_dataset=Dataset.from_list([{"prompt": str(number)} for number in order]),
        rollout_func=rollouts,
    )
