"""Retrieval-augmented RL: our rollouts inside TRL's GRPOTrainer.

TRL repeats each prompt ``group_size`` times and hands the batch to ``rollout_func``; what comes back are the ids
exactly as sampled and retrieved, and an ``env_mask`` by which retrieved tokens carry no loss, no KL and no share of the
token count.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from ragr1_lite import answer
from ragr1_lite.config import WORLD, Recipe
from ragr1_lite.core import Example, Reward, Sampler, Searcher, Trajectory
from ragr1_lite.data.curriculum import schedule
from ragr1_lite.data.sets import load_examples
from ragr1_lite.errors import ModelError
from ragr1_lite.events import Notice, Report, ignore
from ragr1_lite.models import Policy, load_policy, merged_for_sampling
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.rewards import score
from ragr1_lite.rollout import run_rollouts
from ragr1_lite.runs import Run
from ragr1_lite.sampling import TransformersSampler
from ragr1_lite.training import (
    TrainResult,
    build_trainer,
    check_trainable,
    finished,
    fit,
    import_in_order,
    lora_spec,
    model_spec,
    trainer_arguments,
)

SHIPPED = "shipped"
"""As ``model.adapter``: the adapter that comes with the package for the model."""


def train(recipe: Recipe, *, resume: bool = False, overwrite: bool = False, report: Report = ignore) -> TrainResult:
    """Trains an adapter by reward on its own rollouts.

    Args:
        recipe: A recipe with ``task: grpo``; ``model.adapter`` names the SFT adapter to start from, or is ``shipped``.
        resume: Go on with the run in the recipe's output folder.
        overwrite: Replace the run in it.
        report: Receives notices, :class:`~ragr1_lite.events.StepFinished` and checkpoints.

    Raises:
        RagR1Error: A problem of recipe, data, model or disk.
        KeyboardInterrupt: After Ctrl-C; a checkpoint was written.
    """
    import_in_order(recipe)
    start = starting_point(recipe)
    run = Run.start(recipe.output, recipe.dump(), resume=resume, overwrite=overwrite)
    if resume and (result := finished(run, recipe, report)):
        return result
    searcher = open_searcher(recipe.retrieval.index, report)
    policy = load_policy(model_spec(start), lora=lora_spec(recipe), report=report)
    check_trainable(policy)
    if recipe.model.adapter is None:
        report(Notice("No model.adapter is given: small models rarely find a reward without SFT first.", "warning"))
    examples = load_examples(
        recipe.data.train,
        "train",
        limit=questions_read(recipe),
        seed=recipe.train.seed,
        mix=recipe.data.mix,
        report=report,
    )
    trainer = make_trainer(policy, examples, searcher, recipe, run)
    return fit(trainer, policy, recipe, run, report, resume=resume)


def starting_point(recipe: Recipe) -> Recipe:
    """The recipe with the folder of the adapter that comes with the package, where ``model.adapter`` is ``shipped``.

    Raises:
        ModelError: There is none for this model.
    """
    if recipe.model.adapter != SHIPPED:
        return recipe
    folder = answer.shipped_adapter(recipe.model.name)
    if folder is None:
        raise ModelError(f"No adapter ships for {recipe.model.name}", "Set model.adapter to the folder of an SFT run.")
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"adapter": str(folder)})})


def questions_needed(recipe: Recipe) -> int:
    """The groups of the whole training."""
    train, grpo = recipe.train, recipe.grpo
    return math.ceil(train.steps / grpo.iterations) * (train.batch_size // grpo.group_size)


def questions_read(recipe: Recipe) -> int | None:
    """How many questions are loaded: no more than training meets, unless weights are to choose among a file's."""
    weighted = recipe.data.weights != "even" and recipe.data.train != WORLD
    return recipe.data.limit or (None if weighted else questions_needed(recipe))


def make_trainer(policy: Policy, examples: Sequence[Example], searcher: Searcher, recipe: Recipe, run: Run) -> Any:
    """TRL's GRPOTrainer with :class:`Rollouts` as its ``rollout_func``.

    To TRL a prompt is the number of its question: two questions may share their text.

    Raises:
        DataError: There is no question, or the recipe's curriculum needs what the questions do not say.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func warns that it may change
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    order = schedule(examples, questions_needed(recipe), recipe.train.seed, recipe.data)
    sampler = TransformersSampler(policy, temperature=recipe.grpo.temperature, batch_size=recipe.rollout.batch_size)
    rollouts = Rollouts(policy, sampler, searcher, examples, recipe)
    arguments = trainer_arguments(recipe, run, policy) | {
        "num_generations": recipe.grpo.group_size,
        "steps_per_generation": recipe.train.batch_size // recipe.train.micro_batch,
        "num_iterations": recipe.grpo.iterations,
        "max_completion_length": recipe.rollout.max_length,
        "temperature": recipe.grpo.temperature,
        "beta": recipe.grpo.beta,
        "epsilon": recipe.grpo.epsilon,
        "loss_type": recipe.grpo.loss_type,
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


class Rollouts:
    """TRL's ``rollout_func`` and its reward function: one batch of trajectories, and what they earned.

    Args:
        policy: The model in training.
        sampler: Samples from it.
        searcher: Answers the searches.
        examples: The training questions.
        recipe: Protocol, budgets and reward weights.
    """

    def __init__(
        self,
        policy: Policy,
        sampler: Sampler,
        searcher: Searcher,
        examples: Sequence[Example],
        recipe: Recipe,
    ) -> None:
        self._policy, self._sampler, self._searcher = policy, sampler, searcher
        self._examples = examples
        self._protocol, self._limits = recipe.rollout.protocol(), recipe.rollout.limits(recipe.retrieval.k)
        self._weights = recipe.reward.model_dump()
        self._group_size = recipe.grpo.group_size
        self._metrics: dict[str, float] = {}
        self.trajectories: list[Trajectory] = []

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """Rolls out every prompt.

        Args:
            prompts: The questions' numbers, each repeated for its group.
            trainer: TRL's trainer, which lends its model.

        Returns:
            ``prompt_ids``, ``completion_ids`` and ``env_mask`` (1 where the model wrote), a list of ids a prompt;
            ``logprobs`` is ``None``; ``total_reward`` reaches :meth:`reward`.
        """
        from trl.trainer import grpo_trainer

        began = time.perf_counter()
        examples = [self._examples[int(prompt)] for prompt in prompts]
        with (
            # looked up at call time: unsloth replaces the attribute
            grpo_trainer.unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator),
            merged_for_sampling(self._policy),
        ):
            self.trajectories = run_rollouts(
                examples, self._sampler, self._searcher, protocol=self._protocol, limits=self._limits
            )
        rewards = [score(trajectory, self._weights) for trajectory in self.trajectories]
        self._metrics = describe(self.trajectories, rewards, self._group_size)
        self._metrics["rollout_seconds"] = time.perf_counter() - began
        return to_trl(self.trajectories, self._policy.tokenizer.eos_ids[0]) | {
            "total_reward": [reward.total for reward in rewards]
        }

    def reward(self, *, total_reward: list[float], log_metric: Callable[[str, float], None], **_: Any) -> list[float]:
        """TRL's reward function: hands over what the trajectories earned and logs their figures."""
        for name, value in self._metrics.items():
            log_metric(f"rollout/{name}", value)
        return total_reward


def to_trl(trajectories: Sequence[Trajectory], eos_id: int) -> dict[str, Any]:
    """Trajectories in TRL's form; a rollout that could not even begin becomes one untrained end token.

    A trajectory of prompt ``[5, 6]``, model ``[7, 8]``, env ``[9]``, model ``[10]`` becomes completion
    ``[7, 8, 9, 10]`` with env mask ``[1, 1, 0, 1]``.
    """
    prompts = [list(trajectory.prompt_ids) for trajectory in trajectories]
    completions = [list(t.token_ids[len(t.prompt_ids) :]) or [eos_id] for t in trajectories]
    masks = [list(t.loss_mask[len(t.prompt_ids) :]) or [0] for t in trajectories]
    return {"prompt_ids": prompts, "completion_ids": completions, "env_mask": masks, "logprobs": None}


def describe(trajectories: Sequence[Trajectory], rewards: Sequence[Reward], group_size: int) -> dict[str, float]:
    """Means of a batch of rollouts, and the share of groups with signal: those whose rewards are not all equal."""
    totals = [reward.total for reward in rewards]
    groups = [totals[start : start + group_size] for start in range(0, len(totals), group_size)]
    return {
        "reward": statistics.fmean(totals),
        **{name: statistics.fmean(reward.parts[name] for reward in rewards) for name in rewards[0].parts},
        "signal": statistics.fmean(float(max(group) > min(group)) for group in groups),
        "rounds": statistics.fmean(trajectory.rounds for trajectory in trajectories),
        "queries": statistics.fmean(trajectory.queries for trajectory in trajectories),
        "tokens": statistics.fmean(trajectory.sampled_tokens for trajectory in trajectories),
    }
