"""Questions made unanswerable: the passages that hold their facts are hidden, and the right answer is to say so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from ragr1_lite.config import WORLD
from ragr1_lite.core.errors import DataError
from ragr1_lite.core.protocol import NOT_FOUND
from ragr1_lite.core.types import Example, GoldPlan

_HIDDEN = "#hidden"


def with_hidden(examples: Sequence[Example], data: str, share: float, seed: int) -> list[Example]:
    """The examples, a share of them followed by itself with its gold passages hidden.

    A question asked both ways is refused for what was found, not for how it is worded. Which ones they are follows from
    the arguments alone. ``data`` is where they are from: the world knows every passage that holds a fact, other sets
    name gold titles. What names none, or needs no search, is asked once.

    Raises:
        DataError: There is a share, and no question names its gold passages.
    """
    if not share:
        return list(examples)
    gold = [_gold(example, data) for example in examples]
    able = [at for at, passages in enumerate(gold) if passages]
    if not able:
        hint = "Take a set with gold titles, which `ragr1-lite data inspect` shows, or leave out `unanswerable`."
        raise DataError("No question names its gold passages, so none can be hidden", hint)
    wanted = min(len(able), max(1, round(share * len(examples))))
    chosen = {*random.Random(f"unanswerable {seed}").sample(able, wanted)}
    twins = {at: _hide(examples[at], gold[at]) for at in chosen}
    return [one for at, example in enumerate(examples) for one in (example, twins.get(at)) if one is not None]


def unhidden(example: Example) -> str:
    """The id of the question as it is asked with nothing hidden."""
    return example.id.removesuffix(_HIDDEN) if example.hidden else example.id


def _gold(example: Example, data: str) -> tuple[str, ...]:
    if data != WORLD:
        return example.titles
    from ragr1_lite.world import gold_passages

    return gold_passages(example.id)


def _hide(example: Example, passages: tuple[str, ...]) -> Example:
    """The question without its gold passages, which have then no titles to be found by."""
    return replace(example, id=example.id + _HIDDEN, answers=(NOT_FOUND,), titles=(), hidden=passages)


def as_hidden(examples: Sequence[Example], plans: Sequence[GoldPlan]) -> list[GoldPlan]:
    """The plans of the examples, refusals where their gold passages are hidden."""
    return [refusal(plan) if one.hidden else plan for one, plan in zip(examples, plans, strict=True)]


def refusal(plan: GoldPlan) -> GoldPlan:
    """What a perfect run writes where the gold passages are hidden: as planned up to its first search, which fails.

    A plan that does not search, as the question itself is searched for, says so at once.
    """
    missing = [f"Not found: {'; '.join(step.queries)}." for step in plan.steps[:1]]
    return GoldPlan(plan.steps[:1], " ".join([*missing, "The documents do not say it."]), NOT_FOUND)
