"""The nearest settings that fit into a memory, as recipe keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ragr1_lite.config import Recipe

STEP = 64
"""Lengths are tried in multiples of it."""


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
    batch, micro = recipe.train.batch_size, recipe.train.micro_batch
    divisors = [size for size in range(1, batch + 1) if batch % size == 0]
    smaller: dict[str, Iterable[int]] = {
        "train.micro_batch": [size for size in reversed(divisors) if size < micro],
        "rollout.batch_size": _halves(recipe),
    }
    if shorten:
        smaller["rollout.max_length"] = _lengths(recipe)
    for key, values in smaller.items():
        for value in values:
            if taken <= room:
                break
            candidate = changed(fitted, key, value)
            if (less := peak(candidate)) < taken:
                fitted, taken = candidate, less
    if taken > room:
        return None
    larger: dict[str, Iterable[int]] = {
        "train.micro_batch": [size for size in divisors if size > fitted.train.micro_batch],
        "rollout.batch_size": _doubles(fitted),
    }
    for key, values in larger.items() if grow else ():
        for value in values:
            if peak(candidate := changed(fitted, key, value)) > room:
                break
            fitted = candidate
    keys = ("train.micro_batch", "rollout.batch_size", "rollout.max_length")
    return {key: value for key in keys if (value := _value(fitted, key)) != _value(recipe, key)}


def changed(recipe: Recipe, key: str, value: object) -> Recipe:
    """The recipe with one key of a section set."""
    section, _, name = key.partition(".")
    fields: dict[str, Any] = recipe.model_dump()
    fields[section][name] = value
    return Recipe.model_validate(fields)


def _value(recipe: Recipe, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(recipe, section), name)


def _halves(recipe: Recipe) -> Iterable[int]:
    rows = min(recipe.rollout.batch_size, recipe.train.batch_size)
    while recipe.task == "grpo" and rows > 1:
        rows //= 2
        yield rows


def _doubles(recipe: Recipe) -> Iterable[int]:
    rows = recipe.rollout.batch_size
    while recipe.task == "grpo" and rows < recipe.train.batch_size:
        rows = min(2 * rows, recipe.train.batch_size)
        yield rows


def _lengths(recipe: Recipe) -> Iterable[int]:
    """Shorter and shorter, as long as a prompt and one generation still have room."""
    least = recipe.rollout.max_new_tokens + 4 * STEP
    return range((recipe.rollout.max_length - 1) // STEP * STEP, least - 1, -STEP)
