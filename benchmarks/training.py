"""A step of SFT and one of GRPO against plain TRL's on the same work, and against what this machine can do at most."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks import plain
from benchmarks.hardware import machine
from benchmarks.interleave import Clock, process_clock, take_turns, timed
from benchmarks.limit import Costs, Limit, Row, Work, distinct, limit, of_rows, probes, require_cpu, rollout_passes
from ragr1_lite.config import SHIPPED, GuardConfig, Recipe, RewardConfig, load_recipe
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import Trajectory
from ragr1_lite.data.sets import load_examples, training_trajectories
from ragr1_lite.models.adapter_folder import shipped_adapter
from ragr1_lite.models.loading import Policy
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import as_callback, load_trainable

Task = Literal["sft", "grpo"]
Built = tuple[Policy, tuple[Any, Any], Sequence[Row]]
"""A policy, our trainer and plain TRL's, and the rows they train where those are known beforehand."""


def training(
    task: Task, model: str | None = None, *, rows: int | None = None, rounds: int = 3, report: Report = ignore
) -> dict[str, Any]:
    """:func:`steps` of the recipe of ``quickstart --full`` for a model.

    Args:
        task: ``sft`` or ``grpo``.
        model: A built-in name, a folder or a hub id; GRPO goes on from the adapter that ships for it, if any.
        rows: Trajectories in a step; by default the recipe's.
        rounds: As in :func:`steps`.
        report: Receives notices and phases.

    Raises:
        RagR1Error: As :func:`steps`, or ``rows`` do not make whole groups and micro-batches.
    """
    with tempfile.TemporaryDirectory() as folder:
        recipe = load_recipe(f"quickstart-full-{task}")
        name = model or recipe.model.name
        adapter = SHIPPED if task == "grpo" and shipped_adapter(name) else None
        changes = {
            "output": Path(folder) / "run",
            "model": recipe.model.model_dump() | {"name": name, "adapter": adapter, "engine": "transformers"},
            "train": recipe.train.model_dump() | {"batch_size": rows or recipe.train.batch_size},
        }
        return steps(Recipe.model_validate(recipe.model_dump() | changes), rounds=rounds, report=report)


def steps(recipe: Recipe, *, rounds: int = 3, report: Report = ignore) -> dict[str, Any]:
    """First steps of a recipe both ways, by turns in one process, which shares threads and allocator.

    Plain TRL is :mod:`benchmarks.plain`: the same rows in the same order through the same batches, the same weights.
    In SFT both sides train the same trajectories. In GRPO both ask the same questions and draw their own rollouts: TRL
    rolls out turn by turn, all rows prefilled anew by ``generate`` through LoRA layers that are not merged, and then
    updates by its own loss. Two things are better for it than its own tool loop: ``generate`` stops at closing tags,
    and no text is encoded twice. What both sides drew differs in length, so a side's seconds are taken per sampled
    token of its rollouts and per token of its update, and multiplied by our numbers of them. Rewards are 0 and 1 by
    turns, so that every row has an advantage: our side leaves out rows that have none, as many as there happen to be.

    Args:
        recipe: Its whole batch is one step, without warm-up, guard and rewards; its output folder is written.
        rounds: How often a step is measured on each side; medians count. One more comes before, unmeasured.
        report: Receives notices and phases.

    Returns:
        ``{"machine", "model", "task", "rows", "tokens", "distinct_tokens", "limit", "loss_difference", "parts": {NAME:
        {"ratio", "plain_seconds", "seconds", "tokens_per_second", "floor", "share"}}}``: ratios are plain TRL's seconds
        over ours, the rest is ours, see :mod:`benchmarks.limit`. Names are ``step``, and for GRPO also ``rollouts`` and
        ``update``. Tokens per second are those of the trajectories, for ``rollouts`` the sampled ones. The difference
        of the first step's losses is relative, and None for GRPO. Wall time, on one thread the processor's.

    Raises:
        RagR1Error: The model cannot be used, or is on a card, whose limit is not measured.
    """
    import torch

    from ragr1_lite.models import precision
    from ragr1_lite.training.planning.shapes import find_shape

    train = recipe.train.model_copy(update={"steps": 1, "warmup_steps": 0})
    reward = RewardConfig(em=0.0, function=f"{__name__}:{alternating.__name__}")
    recipe = recipe.model_copy(update={"train": train, "guard": GuardConfig(enabled=False), "reward": reward})
    policy, trainers, batch = (_sft if recipe.task == "sft" else _grpo)(recipe, report)
    require_cpu(policy.device)
    threads = torch.get_num_threads()
    clock = process_clock() if threads == 1 else time.perf_counter
    shape, dtype = find_shape(policy.spec.name), precision.to_torch(policy.compute)
    limits = {name: timed(probe, clock, 0.2) for name, probe in probes(shape, dtype).items()}
    ours, theirs = (Side(trainer, clock, batch) for trainer in trainers)
    ways = limits | {"ours": ours.step, "plain": theirs.step}
    seconds = take_turns(ways, rounds, report, name=f"Measuring {recipe.task} steps")
    reached = limit({name: seconds[name] for name in limits})
    rank = policy.model.peft_config["default"].r  # an adapter's own, whatever the recipe's
    works = _works(Costs(shape, dtype.itemsize, rank), recipe.task, ours.batch)
    return {
        "machine": machine("torch", "transformers", "peft", "trl", threads=threads),
        "model": f"{policy.spec.name} in {policy.dtype} on {policy.device}",
        "task": recipe.task,
        "rows": recipe.train.batch_size,
        "tokens": of_rows(ours.batch).count,
        "distinct_tokens": distinct(ours.batch).count,
        "limit": reached.to_json(),
        "loss_difference": abs(ours.losses[0] / theirs.losses[0] - 1) if recipe.task == "sft" else None,
        "parts": _parts(ours, theirs, works, reached),
    }


_REWARDS = itertools.cycle((0.0, 1.0))


def alternating(trajectory: Trajectory) -> float:
    """A reward of 0 and 1 by turns."""
    return next(_REWARDS)


@dataclass
class Side:
    """A trainer whose steps are measured, each a training of its own over the same first batch.

    Attributes:
        batch: The rows that the last step trained.
        seconds: Of each step's parts, by their names, for each of their tokens.
        losses: Of each step.
    """

    trainer: Any
    clock: Clock
    batch: Sequence[Row] = ()
    seconds: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clocked = as_callback(_Clocked, self.clock)
        self._rolling = 0.0
        self._roll = getattr(self.trainer, "rollout_func", None)
        self.trainer.add_callback(self._clocked)
        if self._roll:
            self.trainer.rollout_func = self._timed_rollouts

    def step(self) -> float:
        """Trains a step and returns its seconds; what a training does before and after its steps does not count."""
        self.losses.append(self.trainer.train().training_loss)
        step: float = self._clocked.seconds
        tokens = self.tokens
        parts = {"update": step - self._rolling, "rollouts": self._rolling} if self._roll else {"step": step}
        self.seconds.append({name: taken / tokens[name] for name, taken in parts.items()})
        return step

    @property
    def tokens(self) -> dict[str, int]:
        """Those of the last batch that a part's speed is measured by."""
        counted = of_rows(self.batch)
        return {"step": counted.count, "update": counted.count, "rollouts": counted.logits}

    def medians(self) -> dict[str, float]:
        """Seconds for each token of a part; the first step does not count."""
        return {name: statistics.median(step[name] for step in self.seconds[1:]) for name in self.seconds[0]}

    def _timed_rollouts(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        began = self.clock()
        made: dict[str, Any] = self._roll(prompts, trainer)  # type: ignore[misc]
        self._rolling = self.clock() - began
        texts = zip(made["prompt_ids"], made["completion_ids"], made["env_mask"], strict=True)
        self.batch = [([*prompt, *rest], [0] * len(prompt) + mask) for prompt, rest, mask in texts]
        return made


class _Clocked:
    """A callback that keeps the time of the last step."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = self._began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._began = self._clock()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds = self._clock() - self._began


def _works(costs: Costs, task: Task, batch: Sequence[Row]) -> dict[str, list[Work]]:
    """What each part needs at least, beginnings that rows share computed once."""
    update = [costs.training(distinct(batch))]
    if task == "sft":
        return {"step": update}
    prefills, steps = rollout_passes(batch)
    return {"update": update, "rollouts": [*map(costs.forward, prefills), *map(costs.step, steps)]}


def _parts(ours: Side, theirs: Side, works: Mapping[str, list[Work]], reached: Limit) -> dict[str, dict[str, float]]:
    """Ratio and share of each part, and of the whole step, whose tokens are those of the update."""
    tokens, mine, other = ours.tokens, ours.medians(), theirs.medians()
    rows = [(name, tokens[name], mine[name] * tokens[name], other[name] * tokens[name], works[name]) for name in works]
    if len(rows) > 1:
        _, _, taken, plains, needed = zip(*rows, strict=True)
        rows.append(("step", tokens["step"], sum(taken), sum(plains), [*itertools.chain(*needed)]))
    return {
        name: {
            "ratio": round(plain / seconds, 2),
            "plain_seconds": round(plain, 4),
            **reached.share(seconds, needed, count),
        }
        for name, count, seconds, plain, needed in rows
    }


def _sft(recipe: Recipe, report: Report) -> Built:
    from ragr1_lite.training.sft import arrange, make_trainer, to_features

    run = Run.start(recipe)
    policy = load_trainable(recipe, run, report)
    twin = plain.twin(policy)
    trajectories = training_trajectories(recipe, policy.tokenizer, report)
    batch = arrange(trajectories, recipe)
    ours = make_trainer(policy, trajectories, recipe, run)
    theirs = plain.sft_trainer(twin, [to_features(one) for one in batch], recipe, run.folder / "plain")
    return policy, (ours, theirs), [(one.token_ids, one.loss_mask) for one in batch]


def _grpo(recipe: Recipe, report: Report) -> Built:
    from ragr1_lite.training.grpo import make_trainer

    run = Run.start(recipe)
    policy = load_trainable(recipe, run, report)
    twin = plain.twin(policy)
    examples = load_examples(
        recipe.data.train, "train", limit=recipe.groups_needed, seed=recipe.train.seed, mix=recipe.data.mix
    )
    searcher = open_searcher(recipe.retrieval.index, report)
    ours = make_trainer(policy, examples, searcher, recipe, run, report)
    theirs = plain.grpo_trainer(twin, examples, searcher, recipe, run.folder / "plain")
    return policy, (ours, theirs), ()
