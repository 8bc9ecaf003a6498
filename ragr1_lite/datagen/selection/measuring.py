"""A model's rollouts of a batch of questions, and how many of them are right."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from ragr1_lite.core.rewards import exact_match
from ragr1_lite.core.rollout import run_rollouts
from ragr1_lite.core.types import Example
from ragr1_lite.datagen.selection.rule import Outcome, Rule
from ragr1_lite.datagen.teachers import Teacher


def measure(
    examples: Sequence[Example],
    teacher: Teacher,
    *,
    rule: Rule,
    piece: int,
    advance: Callable[[int], None] = lambda through: None,
) -> list[Outcome]:
    """Rolls out one piece of the questions, all of them side by side, one try after the other.

    By ``first-right`` a question leaves with its first right rollout. A try's seed follows from the rule's seed, the
    piece and the try alone, so that a piece comes out the same whatever was done before it.

    Args:
        examples: The questions of the piece.
        teacher: Whose rollouts they are.
        rule: How many tries, how warm and how long.
        piece: The piece's number.
        advance: Told after each try how much of the piece is done, in questions.
    """
    limits = replace(teacher.limits, max_rounds=rule.rounds)
    results: list[list[bool]] = [[] for _ in examples]
    live = list(range(len(examples)))
    for attempt in range(rule.rollouts):
        greedy = rule.by == "first-right" and attempt == 0
        seed = random.Random(f"{rule.seed}:{piece}:{attempt}").getrandbits(31)
        trajectories = run_rollouts(
            [examples[number] for number in live],
            teacher.sampler(seed, 0.0 if greedy else rule.warmth),
            teacher.searcher,
            protocol=teacher.protocol,
            limits=limits,
        )
        for number, trajectory in zip(live, trajectories, strict=True):
            results[number].append(exact_match(trajectory.answer, trajectory.example.answers) == 1)
        if rule.by == "first-right":
            live = [number for number in live if not results[number][-1]]
        advance(max(len(examples) - len(live), len(examples) * (attempt + 1) // rule.rollouts))
        if not live:
            break
    return [Outcome(tries[0], len(tries), sum(tries)) for tries in results]
