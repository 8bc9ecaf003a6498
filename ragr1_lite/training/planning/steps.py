"""Two real training steps on sequences of a given length, and the most memory they took.

Run in a process of its own, since a process keeps the peak of all it ever held::

    python -m ragr1_lite.training.planning.steps LENGTH < recipe.json

It prints :class:`Steps` as JSON.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import RagR1Error
from ragr1_lite.core.events import StepFinished
from ragr1_lite.core.rollout import session_of
from ragr1_lite.core.types import Example, Passage, Sampler, SampleRequest, Segment, Trajectory, Turn
from ragr1_lite.evaluation.resources import forget_peak, most_held
from ragr1_lite.training.run_folder import Run

if TYPE_CHECKING:
    from ragr1_lite.models.loading import Policy

DRAWN = 16
"""Tokens that each row really samples; the cache is as large as the planned length whatever their number."""
QUESTION = Example("q", "Is 3 more than 2?", ("yes",))


@dataclass(frozen=True, slots=True)
class Steps:
    """What was measured; bytes and seconds."""

    device: str  # ``cuda`` or ``cpu``
    dtype: str  # that of the weights, ``auto`` resolved
    sampling: int  # the most while rollouts were sampled; 0 for SFT
    peak: int  # the most of all; 0 where the system does not report it
    trained: int  # trajectories per step
    train_seconds: float  # of the second step, sampling aside
    sampled: int  # tokens drawn in a step
    sample_seconds: float  # for them, prefill included


def small(recipe: Recipe, output: Path) -> Recipe:
    """The recipe as two steps of two micro-batches each: what accumulates over more of them takes no more memory."""
    train = {"steps": 2, "batch_size": 2 * recipe.train.micro_batch, "warmup_steps": 0, "report_to": ()}
    grpo = {"group_size": 2, "resample": 0, "iterations": 1}
    changes = {
        "output": output,
        "data": {},
        "train": recipe.train.model_dump() | train,
        "grpo": recipe.grpo.model_dump() | grpo,
        "eval": {},
        "guard": {"enabled": False},
    }
    return Recipe.model_validate(recipe.model_dump() | changes)


def measure(recipe: Recipe, length: int) -> Steps:
    """Trains two steps on sequences of ``length`` tokens."""
    from ragr1_lite.training.trainer import fit, import_in_order

    import_in_order(recipe)
    seconds: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, StepFinished):
            seconds.append(event.metrics["seconds"])

    with tempfile.TemporaryDirectory() as folder:
        full = FullRollouts(length, min(recipe.rollout.batch_size, recipe.train.batch_size))
        recipe = small(recipe, Path(folder) / "run")
        run = Run.start(recipe)
        policy, trainer = _build(recipe, run, full)
        fit(trainer, policy, recipe, run, listen, resume=False)
    return Steps(
        device=policy.device,
        dtype=policy.dtype,
        sampling=full.sampling,
        peak=max(full.peak, _most_held()),
        trained=recipe.train.batch_size,
        train_seconds=seconds[-1] - full.seconds,
        sampled=full.sampled,
        sample_seconds=full.seconds,
    )


def _most_held() -> int:
    """Bytes held at most since the peak was forgotten, on the device that trains; 0 where nothing reports it."""
    import torch

    return int(torch.cuda.max_memory_reserved()) if torch.cuda.is_available() else most_held("cpu")


def _build(recipe: Recipe, run: Run, full: FullRollouts) -> tuple[Policy, Any]:
    from ragr1_lite.models.loading import load_policy, model_spec
    from ragr1_lite.training import grpo, sft

    policy = load_policy(model_spec(recipe), lora=recipe.lora)
    if recipe.task == "grpo":
        rollouts: Any = import_module("ragr1_lite.training.grpo.rollouts")
        rollouts.run_rollouts = full  # in this process alone
        return policy, grpo.make_trainer(policy, [QUESTION] * recipe.groups_needed, full, recipe, run)
    prompt = policy.tokenizer.render_chat(recipe.rollout.protocol().render_prompt(QUESTION.question))
    rows = [full.trajectory(QUESTION, prompt, number) for number in range(recipe.train.batch_size)]
    return policy, sft.make_trainer(policy, rows, recipe, run)


class FullRollouts:
    """Stands in for :func:`~ragr1_lite.core.rollout.run_rollouts`: rows as they are before their last, full generation.

    Args:
        length: Tokens of a whole trajectory.
        rows: Rows sampled in one batch.
    """

    def __init__(self, length: int, rows: int) -> None:
        self._length, self._rows = length, rows
        self._numbers = itertools.count()
        self.peak = self.sampling = 0  # bytes held at most, in all and while rows were sampled
        self.seconds, self.sampled = 0.0, 0  # of the last sampling: its time and its tokens

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        """Finds nothing: it stands in for the searcher, too."""
        return [() for _ in queries]

    def __call__(self, examples: Sequence[Example], sampler: Sampler, searcher: object, **options: Any) -> Any:
        """Samples a few tokens for all rows at once, then returns trajectories of the planned length."""
        import torch

        question = options["protocol"].render_prompt(examples[0].question)
        prompt = sampler.tokenizer.render_chat(question)
        drawn = min(DRAWN, options["limits"].max_new_tokens)
        ids = self.trajectory(examples[0], prompt, 0).token_ids[: self._length - drawn]
        began = time.perf_counter()
        requests = [SampleRequest(row, ids) for row in range(self._rows)]
        with session_of(sampler):
            before = _most_held()
            forget_peak("cuda" if torch.cuda.is_available() else "cpu")
            completions = sampler.sample(requests, stop=(), max_new_tokens=drawn, report=lambda event: None)
        self.seconds = time.perf_counter() - began
        self.sampling = max(self.sampling, _most_held())
        self.peak = max(self.peak, before, self.sampling)
        self.sampled = sum(len(completion.token_ids) for completion in completions)
        return [self.trajectory(example, prompt, next(self._numbers)) for example in examples]

    def trajectory(self, example: Example, prompt: Sequence[int], number: int) -> Trajectory:
        """One of the planned length that shares nothing with the others.

        Every other is a token shorter and answers wrongly, so that there is padding and each of a group's rows teaches.
        """
        odd = number % 2
        ids = tuple(random.Random(number).choices(prompt, k=self._length - 1 + odd))
        asked, end = len(prompt), len(ids)
        found, read = asked + (end - asked) // 8, asked + (end - asked) * 3 // 4
        segments = (
            Segment("prompt", ids[:asked]),
            Segment("model", ids[asked:found]),
            Segment("env", ids[found:read]),
            Segment("model", ids[read:]),
        )
        turns = (Turn("search", queries=("3",), passages=((),)), Turn("answer", answer="yes" if odd else "no"))
        return Trajectory(example, segments, turns, "answer")


def main() -> None:
    """Reads the recipe from standard input and prints what was measured, or the error that a user can fix."""
    recipe = Recipe.model_validate_json(sys.stdin.read())
    try:
        with redirect_stdout(sys.stderr):
            steps = measure(recipe, int(sys.argv[1]))
    except RagR1Error as error:
        sys.stdout.write(json.dumps({"message": error.message, "hint": error.hint}))
        sys.exit(1)
    sys.stdout.write(json.dumps(asdict(steps)))


if __name__ == "__main__":
    main()
