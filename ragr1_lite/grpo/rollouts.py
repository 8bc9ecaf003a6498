"""TRL's ``rollout_func`` and its reward function, by :func:`~ragr1_lite.rollout.run_rollouts`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from ragr1_lite.config import Recipe
from ragr1_lite.core import Example, Reward, Sampler, Searcher, Trajectory
from ragr1_lite.events import Report, RolloutsFinished, ignore
from ragr1_lite.models import Policy, merged_for_sampling
from ragr1_lite.rewards import score
from ragr1_lite.rollout import run_rollouts


class Rollouts:
    """TRL's ``rollout_func`` and its reward function: one batch of trajectories, and what they earned.

    Args:
        policy: The model in training.
        sampler: Samples from it.
        searcher: Answers the searches.
        examples: The training questions.
        recipe: Protocol, budgets and reward weights.
        report: Receives :class:`~ragr1_lite.events.RolloutsFinished`.
    """

    def __init__(
        self,
        policy: Policy,
        sampler: Sampler,
        searcher: Searcher,
        examples: Sequence[Example],
        recipe: Recipe,
        report: Report = ignore,
    ) -> None:
        self._policy, self._sampler, self._searcher = policy, sampler, searcher
        self._examples, self._report = examples, report
        self._protocol, self._limits = recipe.rollout.protocol(), recipe.rollout.limits(recipe.retrieval.k)
        self._weights = recipe.reward.weights
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
        seconds = time.perf_counter() - began
        self._metrics["rollout_seconds"] = seconds
        self._report(RolloutsFinished(tuple(self.trajectories), tuple(rewards), seconds))
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
