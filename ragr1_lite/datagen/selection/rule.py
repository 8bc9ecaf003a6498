"""Which questions are kept, by the outcomes of their rollouts.

``first-right`` is the paper's rule: it keeps the questions that are wrong at first and right in one of several rollouts
at a higher temperature, hard yet answerable, and a share of those that are right at first. ``pass-rate`` keeps those
that are neither always right nor always wrong: groups of equal rewards teach GRPO nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ragr1_lite.config import GrpoConfig
from ragr1_lite.core.errors import ConfigError

By = Literal["first-right", "pass-rate"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A question's rollouts: whether the first one was right, how many there were, and how many were right."""

    first: bool
    tries: int
    right: int

    @property
    def pass_rate(self) -> float:
        """The share of right rollouts."""
        return self.right / self.tries


@dataclass(frozen=True, slots=True)
class Rule:
    """How questions are measured and which are kept. Defaults are the paper's.

    Attributes:
        by: ``first-right``: a greedy rollout, then others until one is right; ``pass-rate``: equally many of each.
        tries: Rollouts of a question at most, without the greedy one.
        temperature: Of these rollouts; by default 1.2 for ``first-right``, that of GRPO recipes for ``pass-rate``.
        rounds: Retrieval rounds of a rollout, at most.
        seed: Of rollouts and draws.
        easy_share: Share that is kept of the questions that are right at first; ``first-right`` only.
        between: The lowest and the highest pass rate that are kept, ``pass-rate`` only; by default all but 0 and 1.
        validation: Share of the kept questions that is set aside.

    Raises:
        ConfigError: ``temperature``, ``tries`` or ``between`` is of no use.
    """

    by: By = "first-right"
    tries: int = 10
    temperature: float | None = None
    rounds: int = 10
    seed: int = 0
    easy_share: float = 0.25
    between: tuple[float, float] | None = None
    validation: float = 0.05

    def __post_init__(self) -> None:
        if not self.resolved_temperature > 0:
            raise ConfigError("At temperature 0 every rollout is the same", "Choose a --temperature above 0.")
        if self.by == "pass-rate" and self.tries < 2 and self.between is None:
            raise ConfigError("With --tries 1 every pass rate is 0 or 1: none is kept", "Choose more --tries.")
        if self.between is None:
            return
        if self.by != "pass-rate":
            raise ConfigError("--keep-between is about pass rates", "Add --by pass-rate.")
        low, high = self.between
        if not 0 <= low <= high <= 1:
            raise ConfigError(f"--keep-between {low:g} {high:g} is no range of pass rates", "Write it as 0.1 0.9.")

    @property
    def resolved_temperature(self) -> float:
        """The temperature, or its default."""
        if self.temperature is not None:
            return self.temperature
        return 1.2 if self.by == "first-right" else GrpoConfig().temperature

    @property
    def rollouts(self) -> int:
        """Rollouts of a question at most, with the greedy one."""
        return self.tries + (self.by == "first-right")

    def keeps(self, outcome: Outcome) -> bool:
        """Whether a question may be kept; of those that are right at first, ``first-right`` then draws a share."""
        if self.by == "first-right":
            return outcome.right > 0
        if self.between is None:
            return 0 < outcome.right < outcome.tries
        return self.between[0] <= outcome.pass_rate <= self.between[1]


def choose(outcomes: Sequence[Outcome], rule: Rule) -> tuple[list[int], list[int]]:
    """The numbers of the questions that are kept for training and for validation, each in order."""
    kept = {number for number, outcome in enumerate(outcomes) if rule.keeps(outcome)}
    if rule.by == "first-right":
        easy = [number for number in sorted(kept) if outcomes[number].first]
        kept -= {*easy} - {*_draw(easy, rule.easy_share, f"{rule.seed}:easy")}
    validation = _draw(sorted(kept), rule.validation, f"{rule.seed}:validation")
    return sorted(kept - {*validation}), validation


def _draw(numbers: Sequence[int], share: float, seed: str) -> list[int]:
    return sorted(random.Random(seed).sample(numbers, round(share * len(numbers))))


def histogram(outcomes: Sequence[Outcome], rule: Rule) -> dict[str, int]:
    """How many questions were right at first, in try 1, 2, …, never; by ``pass-rate``, in 0, 1, … of the rollouts."""
    if rule.by == "first-right":
        names = ["at first", *(f"in try {attempt}" for attempt in range(1, rule.tries + 1)), "never"]
        places = Counter(outcome.tries - 1 if outcome.right else rule.tries + 1 for outcome in outcomes)
    else:
        names = [f"{right} of {rule.tries}" for right in range(rule.tries + 1)]
        places = Counter(outcome.right for outcome in outcomes)
    return {name: places[place] for place, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Selection:
    """One outcome per question, the numbers of those that are kept, and the seconds without an interrupted run's."""

    outcomes: tuple[Outcome, ...]
    train: tuple[int, ...]
    validation: tuple[int, ...]
    histogram: Mapping[str, int]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON; the hard questions are those that were wrong in their first rollout."""
        kept = [self.outcomes[number] for number in (*self.train, *self.validation)]
        easy = sum(outcome.first for outcome in kept)
        return {
            "kept": len(kept),
            "histogram": list(self.histogram.values()),
            "questions": len(self.outcomes),
            "right_first": sum(outcome.first for outcome in self.outcomes),
            "hard_kept": len(kept) - easy,
            "easy_kept": easy,
            "train": len(self.train),
            "validation": len(self.validation),
            "seconds": round(self.seconds, 1),
        }
