"""Which questions a training draws, how often and in which order, by how hard they are."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate

from ragr1_lite.config import DataConfig
from ragr1_lite.core.errors import DataError
from ragr1_lite.core.types import Example

SUREST = 0.05
"""Pass rates are taken to be at least this far from 0 and 1: a few rollouts do not show that a question is hopeless."""


def schedule(examples: Sequence[Example], needed: int, seed: int, data: DataConfig) -> list[int]:
    """The numbers of exactly ``needed`` questions: as many epochs of them as it takes, each drawn anew.

    An epoch has as many draws as there are questions: each question once, or by ``data.weights`` as often as its weight
    says, rounded up or down by chance. By ``data.order`` all the draws are then sorted, equals staying as they were
    drawn. The schedule follows from the arguments alone: a resumed run finds the same.

    Raises:
        DataError: There is no question, or a pass rate or number of hops that is needed is not known.
    """
    if not examples:
        raise DataError("There is nothing to train on", "Check data.train, data.limit and rollout.max_length.")
    weights, chance = weights_of(examples, data), random.Random(seed)
    drawn: list[int] = []
    while len(drawn) < needed:
        drawn += _epoch(weights, len(examples), chance)
    if data.order == "random":
        return drawn[:needed]
    values: Callable[[Sequence[Example], str], list[float]] = _hops if data.order == "few-hops-first" else _pass_rates
    known = values(examples, f"data.order={data.order}")
    return sorted(drawn[:needed], key=lambda number: known[number], reverse=data.order == "easy-first")


def weights_of(examples: Sequence[Example], data: DataConfig) -> list[float] | None:
    """How often each question is drawn, relative to the others; ``None`` where all are drawn alike."""
    if data.weights == "even":
        return None
    needed_by = f"data.weights={data.weights}"
    if data.weights == "hops":
        return _hops(examples, needed_by)
    rates = (min(max(rate, SUREST), 1 - SUREST) for rate in _pass_rates(examples, needed_by))
    return [rate * (1 - rate) for rate in rates]


def _pass_rates(examples: Sequence[Example], needed_by: str) -> list[float]:
    rates = [example.pass_rate for example in examples if example.pass_rate is not None]
    if len(rates) < len(examples):
        raise DataError(
            f"{len(examples) - len(rates)} of {len(examples)} questions have no pass rate, which {needed_by} needs",
            "Measure them with `ragr1-lite data select --by pass-rate`, and train on its file.",
        )
    return rates


def _hops(examples: Sequence[Example], needed_by: str) -> list[float]:
    known = [float(example.hops) for example in examples if example.hops > 0]
    if len(known) < len(examples):
        unknown = f"{len(examples) - len(known)} of {len(examples)}"
        raise DataError(
            f"{unknown} questions do not say their `hops`, which {needed_by} needs",
            "Add them to the lines, or train on what `ragr1-lite data select` wrote from a set that knows them.",
        )
    return known


def _epoch(weights: Sequence[float] | None, count: int, chance: random.Random) -> list[int]:
    """As many draws as there are questions, by systematic sampling, which spreads the rounding evenly."""
    order = list(range(count))
    chance.shuffle(order)
    if weights is None:
        return order
    ends = list(accumulate(weights[number] for number in order))
    step, start = ends[-1] / count, chance.random()
    drawn = [order[min(bisect(ends, (start + turn) * step), count - 1)] for turn in range(count)]
    chance.shuffle(drawn)
    return drawn
