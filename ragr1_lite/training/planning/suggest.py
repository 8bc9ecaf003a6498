"""The nearest settings that fit into a memory, as recipe keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ragr1_lite.config import Recipe

KEYS = ("train.micro_batch", "rollout.batch_size", "rollout.max_length")
"""What a suggestion may change. ``grpo.group_size`` is not among them: rows are sampled and trained in lots of the
first two, so a group takes time but no memory of its own."""
STEP = 64
"""Lengths are tried in multiples of it."""


def suggest(
    recipe: Recipe, room: float, peak: Callable[[Recipe], float], *, grow: bool, shorten: bool
) -> dict[str, int] | None:
    """The keys to change, and their values: fewer at once, then shorter; or, where there is room, more at once.

    Args:
        recipe: As it stands.
        room: What the peak must stay below.
        peak: What a recipe takes.
        grow: Whether room that is left is to be used.
        shorten: Whether ``rollout.max_length`` may change.

    Returns:
        Nothing to change is an empty mapping; None where nothing fits.
    """
    fitted, taken = recipe, peak(recipe)
    for smaller in (_micro_batches, _rows, *([_lengths] if shorten else [])):
        for candidate in smaller(fitted):
            if taken <= room:
                break
            if (less := peak(candidate)) < taken:
                fitted, taken = candidate, less
    if taken > room:
        return None
    for larger in (_more_micro, _more_rows) if grow else ():
        for candidate in larger(fitted):
            if peak(candidate) > room:
                break
            fitted = candidate
    return {key: value for key in KEYS if (value := _value(fitted, key)) != _value(recipe, key)}


def changed(recipe: Recipe, key: str, value: object) -> Recipe:
    """The recipe with one key of a section set."""
    section, _, name = key.partition(".")
    fields: dict[str, Any] = recipe.model_dump()
    fields[section][name] = value
    return Recipe.model_validate(fields)


def _value(recipe: Recipe, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(recipe, section), name)


def _micro_batches(recipe: Recipe) -> Iterator[Recipe]:
    """Smaller and smaller divisors of the batch."""
    for micro in range(recipe.train.micro_batch - 1, 0, -1):
        if recipe.train.batch_size % micro == 0:
            yield changed(recipe, "train.micro_batch", micro)


def _more_micro(recipe: Recipe) -> Iterator[Recipe]:
    for micro in range(recipe.train.micro_batch + 1, recipe.train.batch_size + 1):
        if recipe.train.batch_size % micro == 0:
            yield changed(recipe, "train.micro_batch", micro)


def _rows(recipe: Recipe) -> Iterator[Recipe]:
    """Half as many rows again and again, from those that there are."""
    rows = min(recipe.rollout.batch_size, recipe.train.batch_size)
    while recipe.task == "grpo" and rows > 1:
        rows //= 2
        yield changed(recipe, "rollout.batch_size", rows)


def _more_rows(recipe: Recipe) -> Iterator[Recipe]:
    """Twice as many, up to a step's whole batch."""
    rows = recipe.rollout.batch_size
    while recipe.task == "grpo" and rows < recipe.train.batch_size:
        rows = min(2 * rows, recipe.train.batch_size)
        yield changed(recipe, "rollout.batch_size", rows)


def _lengths(recipe: Recipe) -> Iterator[Recipe]:
    """Shorter and shorter, as long as a prompt and one generation still have room."""
    least = recipe.rollout.max_new_tokens + 4 * STEP
    for length in range((recipe.rollout.max_length - 1) // STEP * STEP, least - 1, -STEP):
        yield changed(recipe, "rollout.max_length", length)
