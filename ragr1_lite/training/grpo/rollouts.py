"""TRL's ``rollout_func`` and its reward function, by :func:`~ragr1_lite.core.rollout.run_rollouts`."""

from __future__ import annotations

import importlib.metadata
import itertools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import RunError
from ragr1_lite.core.events import Notice, Report, RolloutFinished, RolloutsFinished, ignore, phase
from ragr1_lite.core.rewards import score
from ragr1_lite.core.rollout import continue_rollouts, run_rollouts
from ragr1_lite.core.types import Example, Reward, Sampler, Searcher, Trajectory
from ragr1_lite.models import upstream
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.lora import merged_for_sampling
from ragr1_lite.training.grpo import by_unsloth
from ragr1_lite.training.grpo.places import Place, describe, has_signal, row_of, to_continue
from ragr1_lite.training.grpo.user_reward import load_user_reward
from ragr1_lite.versions import pip_line, tested_versions

PHASE = "rollouts"


class Rollouts:
    """TRL's ``rollout_func`` and its reward function: one batch of trajectories, and what they earned.

    ``report`` receives the phase of each batch and :class:`~ragr1_lite.core.events.RolloutsFinished`. ``experts`` are
    each question's gold trajectories, which take the first places of its groups.

    Attributes:
        trajectories: The batch that the trainer has now, of this process.

    Raises:
        ConfigError: The reward function that the recipe names cannot be used.
    """

    def __init__(
        self,
        policy: Policy,
        sampler: Sampler,
        searcher: Searcher,
        examples: Sequence[Example],
        recipe: Recipe,
        report: Report = ignore,
        experts: Sequence[Sequence[Trajectory]] = (),
    ) -> None:
        self._policy, self._sampler, self._searcher = policy, sampler, searcher
        self._examples, self._recipe, self._report = examples, recipe, report
        self._experts = experts or [()] * len(examples)
        self._protocol = recipe.rollout.protocol()
        self._limits = recipe.rollout.limits(recipe.retrieval.k)
        self._user_reward = load_user_reward(recipe.reward)
        if self._user_reward is not None:
            self._user_reward.rehearse(examples[0])
        self._metrics: dict[str, float] = {}
        self._sampled, self._weights = 0, recipe.reward.weights_at(0)
        self.trajectories: list[Trajectory] = []

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """Rolls out every prompt.

        Args:
            prompts: The questions' numbers, each repeated for its group.
            trainer: TRL's trainer, which lends its model.

        Returns:
            ``prompt_ids``, ``completion_ids`` and ``env_mask`` (1 where the model wrote), a list of ids a prompt;
            ``logprobs`` of the completions' tokens where the sampler gave them, else ``None``; ``total_reward``
            reaches :meth:`reward`.
        """
        began, self._sampled = time.perf_counter(), 0
        self._weights = self._recipe.reward.weights_at(trainer.state.global_step)
        numbers = [int(prompt) for prompt in prompts]
        with upstream.lend_model(trainer), merged_for_sampling(self._policy):
            batch = self._roll(numbers, trainer.accelerator.process_index * len(numbers))
            resampled = self._resample(numbers, batch, trainer)
        seconds = time.perf_counter() - began
        self.trajectories = [place.trajectory for place in batch]
        rewards = [place.reward for place in batch]
        self._metrics = self._figures(batch, resampled, seconds, trainer)
        self._report(RolloutsFinished(tuple(self.trajectories), tuple(rewards), seconds))
        return self.handed() | {"total_reward": [reward.total for reward in rewards]}

    def handed(self) -> dict[str, Any]:
        """The batch in TRL's form."""
        return to_trl(self.trajectories, self._policy.tokenizer.eos_ids[0], by_unsloth.padding_of(self._policy))

    def reward(
        self, *, log_metric: Callable[[str, float], None], total_reward: list[float] | None = None, **_: Any
    ) -> list[float]:
        """TRL's reward function: hands over what the trajectories earned and logs their figures.

        Raises:
            RunError: The trainer never called ``rollout_func``, or lost what came with the rollouts.
        """
        if total_reward is None:
            problem = "what the rollouts earned is lost" if self.trajectories else "rollout_func is never called"
            raise version_error(self._policy.engine, problem)
        for name, value in self._metrics.items():
            log_metric(f"rollout/{name}", value)
        return total_reward

    def _roll(self, numbers: Sequence[int], first: int = 0) -> list[Place]:
        """Rolls out the questions, those aside whose place in a group is an expert's; ``first`` is the first one's."""
        experts = [self._expert(number, place) for place, number in enumerate(numbers, start=first)]
        asked = [number for number, expert in zip(numbers, experts, strict=True) if expert is None]
        sampled = iter(self._sample(run_rollouts, [self._examples[number] for number in asked]))
        trajectories = [expert or next(sampled) for expert in experts]
        batch = [Place(one, self._score(one)) for one in trajectories]
        self._go_on(batch, first)
        return batch

    def _sample(self, run: Callable[..., list[Trajectory]], begun: Sequence[Any]) -> list[Trajectory]:
        """Rollouts by ``run``, counted as they finish."""
        done = itertools.count(1)

        def count(event: object) -> None:
            if isinstance(event, RolloutFinished):
                advance(next(done), part="going on")
            elif isinstance(event, Notice):
                self._report(event)

        with phase(self._report, PHASE, len(begun), "rollouts") as advance:
            roles = {"protocol": self._protocol, "limits": self._limits, "report": count}
            sampled = run(begun, self._sampler, self._searcher, **roles)
        self._sampled += sum(trajectory.sampled_tokens for trajectory in sampled)
        return sampled

    def _go_on(self, batch: list[Place], first: int) -> None:
        """Gives places of groups without a right answer to continuations of their best near miss."""
        size, wanted = self._recipe.grpo.group_size, self._recipe.grpo.continue_near_misses
        begun: dict[int, Trajectory] = {}
        for start in self._groups(first, len(batch)) if wanted else ():
            begun |= {start + place: one for place, one in to_continue(batch[start : start + size], wanted).items()}
        if begun:
            ended = self._sample(continue_rollouts, list(begun.values()))
            for place, one in zip(begun, ended, strict=True):
                batch[place] = Place(one, self._score(one), first=batch[place])

    def _groups(self, first: int, rows: int) -> range:
        """Where the groups begin that lie in these rows as a whole; ``first`` is the first row's place of all."""
        size = self._recipe.grpo.group_size
        return range(-first % size, rows - size + 1, size)

    def _expert(self, number: int, place: int) -> Trajectory | None:
        """The gold trajectory of a place of the batch; none where a rollout is sampled."""
        own, place = self._experts[number], place % self._recipe.grpo.group_size
        return own[place] if place < len(own) else None

    def _score(self, trajectory: Trajectory) -> Reward:
        reward = score(trajectory, self._weights)
        return self._user_reward.add_to(reward, trajectory) if self._user_reward else reward

    def _resample(self, numbers: Sequence[int], batch: list[Place], trainer: Any) -> int:
        """Replaces in the batch groups whose rewards are all equal by those of other questions; counts the places.

        Which questions is drawn from the seed and the step alone, so that a resumed run draws the same. Of several
        processes each replaces its own groups; one that is spread over two of them stays as it is.
        """
        size, rank = self._recipe.grpo.group_size, trainer.accelerator.process_index
        whole = self._groups(rank * len(batch), len(batch))
        met, replaced = set(numbers), set[int]()
        for attempt in range(self._recipe.grpo.resample):
            dead = [at for at in whole if not has_signal([one.reward.total for one in batch[at : at + size]])]
            others = [number for number in range(len(self._examples)) if number not in met]
            draw = random.Random(f"{self._recipe.train.seed}:{trainer.state.global_step}:{attempt}:{rank}")
            drawn = draw.sample(others, min(len(dead), len(others)))
            if not drawn:
                break
            met.update(drawn)
            fresh = self._roll([number for number in drawn for _ in range(size)])
            for place, start in enumerate(dead[: len(drawn)]):
                batch[start : start + size] = fresh[place * size : (place + 1) * size]
                replaced.add(start)
        return len(replaced)

    def _figures(self, batch: Sequence[Place], resampled: int, seconds: float, trainer: Any) -> dict[str, float]:
        """The figures of the step's whole batch, the same in every process."""
        rows = [row_of(place) for place in batch]
        took = [(resampled, self._sampled, seconds)]
        if trainer.accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            rows, took = gather_object(rows), gather_object(took)
        counts, sampled, times = zip(*took, strict=True)
        return describe(rows, self._recipe.grpo.group_size) | {
            "resampled": float(sum(counts)),
            "tokens_per_second": sum(sampled) / max(times),
            "rollout_seconds": max(times),
        }


def version_error(engine: str, problem: str) -> RunError:
    """The error that names the versions at work, what they do wrong, and what helps.

    That is the tested versions, unless it is these.
    """
    names = ["trl", "transformers", *(["unsloth", "unsloth_zoo"] if engine == "unsloth" else []), "peft", "accelerate"]
    found, tested = {name: importlib.metadata.version(name) for name in names}, tested_versions()
    used = " with ".join(f"{name} {found[name]}" for name in names if name in ("trl", "transformers", "unsloth"))
    hint = f"Install the tested set: {pip_line(names)}"
    if all(found[name] == tested[name] for name in names):
        other = " and train with model.engine=transformers meanwhile" if engine == "unsloth" else ""
        hint = f"These are the tested versions: report it together with the recipe{other}."
    return RunError(f"{used}: {problem}", hint)


def to_trl(trajectories: Sequence[Trajectory], eos_id: int, padding: int | None = None) -> dict[str, Any]:
    """Trajectories in TRL's form; a rollout that could not even begin becomes one untrained end token.

    A trajectory of prompt ``[5, 6]``, model ``[7, 8]``, env ``[9]``, model ``[10]`` becomes completion
    ``[7, 8, 9, 10]`` with env mask ``[1, 1, 0, 1]`` and, where every sampled token of all trajectories has its
    log-probability, ``[-0.5, -0.1, 0.0, -0.2]``. One in which the model itself drew the ``padding`` is not trained.
    """
    prompts = [list(trajectory.prompt_ids) for trajectory in trajectories]
    completions = [list(t.token_ids[len(t.prompt_ids) :]) or [eos_id] for t in trajectories]
    masks = [list(t.loss_mask[len(t.prompt_ids) :]) or [0] for t in trajectories]
    masks = [[0] * len(mask) if padding in ids else mask for mask, ids in zip(masks, completions, strict=True)]
    logprobs = [_logprobs(trajectory) for trajectory in trajectories]
    return {
        "prompt_ids": prompts,
        "completion_ids": completions,
        "env_mask": masks,
        "logprobs": None if None in logprobs else logprobs,
    }


def _logprobs(trajectory: Trajectory) -> list[float] | None:
    """Those of the completion's tokens, 0.0 where nothing was sampled; ``None`` where a sampled token has none."""
    found: list[float] = []
    for segment in trajectory.segments[1:]:
        sampled = segment.source == "model" and not trajectory.expert
        logprobs = segment.logprobs if sampled else (0.0,) * len(segment.token_ids)
        if len(logprobs) != len(segment.token_ids):
            return None
        found += logprobs
    return found or [0.0]
