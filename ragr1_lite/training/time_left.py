"""How long a training goes on, from what its steps took here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ragr1_lite.config import Recipe
from ragr1_lite.core.timing import Pace

_PROOF = 3  # passes of the proof before GRPO's first step, see :mod:`ragr1_lite.training.grpo.proof`


class TimeLeft:
    """Seconds to the end of a training; what it took until now says it, from the second step on, in GRPO the first.

    An update takes as long as it has tokens, where those of all steps are known beforehand, as in SFT. The first step
    of SFT is short and much of it happens only once; from GRPO's the proof is taken out, which is counted in passes.

    Args:
        recipe: What is trained by.
        tokens: Those of each step's rows, from the first step on; where none are given, steps are alike.
    """

    def __init__(self, recipe: Recipe, tokens: Sequence[int] = ()) -> None:
        self._recipe, self._steps = recipe, recipe.train.steps
        self._work = list(accumulate(tokens or [1] * self._steps, initial=0))
        self._proves = recipe.task == "grpo"
        self._updates = Pace(first_counts=self._proves)
        self._rollouts, self._evaluations = Pace(), Pace()

    def after(self, step: int, seconds: float, *, rollouts: float = 0.0, evaluation: float = 0.0) -> float | None:
        """What is left after a step.

        Args:
            step: Its number, from 1.
            seconds: Since the step before ended, checkpoints included.
            rollouts: Of those, while rollouts were made.
            evaluation: And while held-out questions were answered.

        Returns:
            ``None`` while a part that is still to come was never measured.
        """
        if rollouts:
            self._rollouts.add(1, rollouts)
        if evaluation:
            self._evaluations.add(1, evaluation)
        update = seconds - rollouts - evaluation
        if self._proves:
            passes = self._recipe.train.batch_size // self._recipe.train.micro_batch
            update, self._proves = update * passes / (passes + _PROOF), False
        self._updates.add(self._work[step] - self._work[step - 1], update)
        every, iterations = self._recipe.eval.every, self._recipe.grpo.iterations
        parts = [self._updates.seconds(self._work[-1] - self._work[step])]
        if self._recipe.task == "grpo" and (batches := -(-self._steps // iterations) - -(-step // iterations)):
            parts.append(self._rollouts.seconds(batches))
        if every and step < self._steps:
            parts.append(self._evaluations.seconds(-(-self._steps // every) - step // every))
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None
