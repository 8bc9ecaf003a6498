"""From the tenth part of a training on its whole time is known to a quarter, on a machine as noisy as those we met."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import pytest

from ragr1_lite.config import Recipe, load_recipe
from ragr1_lite.training.time_left import TimeLeft

Step = dict[str, float]
"""Seconds of a step: ``seconds``, of which ``rollouts`` and ``evaluation``."""


def noise(draw: random.Random) -> float:
    """Other programs: most steps vary by a tenth, one of ten takes half as long again."""
    return draw.lognormvariate(0, 0.1) * (1.5 if draw.random() < 0.1 else 1.0)


def sft(recipe: Recipe, draw: random.Random, speed: float, shortest: int, longest: int) -> tuple[list[int], list[Step]]:
    """Steps that cost their tokens, a checkpoint and the start; evaluations where the recipe has them."""
    train, every = recipe.train, recipe.eval.every
    tokens = [sum(draw.randint(shortest, longest) for _ in range(train.batch_size)) for _ in range(train.steps)]
    steps = []
    for number, one in enumerate(tokens, start=1):
        update = one / speed * noise(draw) * (2.5 if number == 1 else 1.0)
        saved = 1.5 if number % train.save_every == 0 else 0.0
        asked = 60 * noise(draw) if every and (number % every == 0 or number == train.steps) else 0.0
        steps.append({"seconds": update + saved + asked, "evaluation": asked})
    return tokens, steps


def grpo(recipe: Recipe, draw: random.Random) -> list[Step]:
    """Rollouts and updates; the first one with the proof, and rollouts that get a fifth longer on the way."""
    train, steps = recipe.train, []
    for number in range(1, train.steps + 1):
        longer = 1 + 0.2 * number / train.steps
        rolls = (number - 1) % recipe.grpo.iterations == 0
        rollouts = 43 * longer * noise(draw) if rolls else 0.0
        proof = 3 * 80 / (train.batch_size // train.micro_batch) if number == 1 else 0.0
        steps.append({"seconds": rollouts + 80 * longer * noise(draw) + proof, "rollouts": rollouts})
    return steps


def errors(left: TimeLeft, steps: list[Step]) -> Iterator[tuple[float, float]]:
    """After each step from which the time left is known: the share of the whole that is over, and how wrong it is."""
    spent = list(accumulate(step["seconds"] for step in steps))
    for number, (step, now) in enumerate(zip(steps, spent, strict=True), start=1):
        found = left.after(number, **step)
        if found is not None:
            yield now / spent[-1], (now + found) / spent[-1] - 1


def quickstart_sft(draw: random.Random) -> tuple[Recipe, list[int], list[Step]]:
    recipe = load_recipe("quickstart-sft")
    return recipe, *sft(recipe, draw, speed=250, shortest=220, longest=520)


def measured_sft(draw: random.Random) -> tuple[Recipe, list[int], list[Step]]:
    recipe = load_recipe("sft-smollm2-135m", ["eval.every=20", "eval.questions=50"])
    return recipe, *sft(recipe, draw, speed=250, shortest=220, longest=520)


def coder_sft(draw: random.Random) -> tuple[Recipe, list[int], list[Step]]:
    """Sequences of documents of people's own differ more."""
    recipe = load_recipe("sft-qwen2.5-coder-0.5b", ["data.train=mine.jsonl", "retrieval.index=mine"])
    return recipe, *sft(recipe, draw, speed=60, shortest=250, longest=1400)


def small_grpo(draw: random.Random) -> tuple[Recipe, list[int], list[Step]]:
    recipe = load_recipe("grpo-smollm2-135m")
    return recipe, [], grpo(recipe, draw)


def twice_used_rollouts(draw: random.Random) -> tuple[Recipe, list[int], list[Step]]:
    recipe = load_recipe("grpo-smollm2-135m", ["grpo.iterations=2", "train.steps=30"])
    return recipe, [], grpo(recipe, draw)


@pytest.mark.parametrize("made", [quickstart_sft, measured_sft, coder_sft, small_grpo, twice_used_rollouts])
def test_the_whole_is_known_to_a_quarter_from_its_tenth_part_on(made: Callable[[random.Random], Any]) -> None:
    wrong: list[float] = []
    for seed in range(100):
        recipe, tokens, steps = made(random.Random(seed))
        found = list(errors(TimeLeft(recipe, tokens), steps))
        assert found[-1][1] == pytest.approx(0), "nothing is left after the last step"
        wrong += [abs(error) for over, error in found if over >= 0.1]
        unknown = next(over for over, _ in found)
        assert unknown < (0.25 if recipe.eval.every else 0.2), "the first two steps, or the first evaluation"
    within = sum(error <= 0.25 for error in wrong) / len(wrong)
    assert within >= 0.99, f"{1 - within:.1%} of {len(wrong)} were further off, the worst by {max(wrong):.0%}"


def test_nothing_is_said_before_all_that_is_to_come_was_measured_once() -> None:
    recipe = load_recipe("quickstart-sft", ["train.steps=4", "eval.every=3", "eval.questions=5"])
    left = TimeLeft(recipe, [100, 100, 200, 300])
    assert left.after(1, 9.0) is None, "the first step is not like the others"
    assert left.after(2, 1.0) is None, "how long an evaluation takes is not known"
    assert left.after(3, 7.0, evaluation=5.0) == 300 / 100 + 5
    assert left.after(4, 8.0, evaluation=5.0) == 0


def test_a_resumed_run_counts_its_own_steps() -> None:
    left = TimeLeft(load_recipe("quickstart-sft", ["train.steps=6"]), [1, 1, 1, 2, 3, 4])
    assert left.after(4, 60.0) is None
    assert left.after(5, 6.0) == 8
