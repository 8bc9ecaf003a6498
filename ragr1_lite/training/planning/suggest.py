"""The nearest settings that fit into a memory, as recipe keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ragr1_lite.config import Recipe

STEP = 64  # lengths are tried in multiples of it
MICRO_BATCH, ROWS, LENGTH = "train.micro_batch", "rollout.batch_size", "rollout.max_length"


def suggest(
    recipe: Recipe, room: float, peak: Callable[[Recipe], float], *, grow: bool, shorten: bool
) -> dict[str, int] | None:
    """The keys to change, and their values: fewer at once, then shorter; or, where there is room, more at once.

    ``grpo.group_size`` is never changed: rows are sampled and trained in batches of other sizes, so a group takes time
    but no memory of its own.

    The peak must stay below ``room``; with ``grow`` room that is left is used, with ``shorten`` ``rollout.max_length``
    may change.

    Returns:
        Nothing to change is an empty mapping; None where nothing fits.
    """
    fitted, taken = recipe, peak(recipe)
    batch, samples = recipe.train.batch_size, recipe.task == "grpo"
    divisors = [size for size in range(1, batch + 1) if batch % size == 0]
    halves = [min(recipe.rollout.batch_size, batch)]
    while halves[-1] > 1:
        halves.append(halves[-1] // 2)
    least = recipe.rollout.max_new_tokens + 4 * STEP  # a prompt and one generation still have room
    smaller: dict[str, Iterable[int]] = {
        MICRO_BATCH: [size for size in reversed(divisors) if size < recipe.train.micro_batch],
        ROWS: halves[1:] if samples else (),
        LENGTH: range((recipe.rollout.max_length - 1) // STEP * STEP, least - 1, -STEP) if shorten else (),
    }
    for key, value in ((key, value) for key, values in smaller.items() for value in values):
        if taken > room and (less := peak(candidate := changed(fitted, key, value))) < taken:
            fitted, taken = candidate, less
    if taken > room:
        return None
    doubles = [fitted.rollout.batch_size]
    while doubles[-1] < batch:
        doubles.append(min(2 * doubles[-1], batch))
    larger: dict[str, Iterable[int]] = {
        MICRO_BATCH: [size for size in divisors if size > fitted.train.micro_batch],
        ROWS: doubles[1:] if samples else (),
    }
    for key, values in larger.items() if grow else ():
        for value in values:
            if peak(candidate := changed(fitted, key, value)) > room:
                break
            fitted = candidate
    return {key: value for key in smaller if (value := _value(fitted, key)) != _value(recipe, key)}


def changed(recipe: Recipe, key: str, value: object) -> Recipe:
    """The recipe with one key of a section set."""
    section, _, name = key.partition(".")
    fields: dict[str, Any] = recipe.model_dump()
    fields[section][name] = value
    return Recipe.model_validate(fields)


def _value(recipe: Recipe, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(recipe, section), name)
