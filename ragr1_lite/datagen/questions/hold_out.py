"""Questions to train on, and others to measure by."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.text import words

_ROOM = 1.5
"""How many times the wanted number whole subjects may bring."""


def hold_out(
    questions: Sequence[Question], *, share: float, most: int, seed: int = 0
) -> tuple[list[Question], list[Question]]:
    """Divides questions into those to train on and those held out, each in their order.

    Whole subjects are held out, with every question that touches one of them, so that each held-out question is about
    something that no trained one is about. Where a few subjects are in all questions, they are drawn one by one.

    Args:
        questions: With the triples they are made of or, as a teacher writes them, the titles of their passages.
        share: About how many of them are held out.
        most: About how many at most.
        seed: Of the draw.
    """
    wanted, draw = min(most, round(share * len(questions))), random.Random(seed)
    touching: dict[str, set[int]] = defaultdict(set)
    for number, question in enumerate(questions):
        for subject in [triple[0] for triple in question.triples] or question.example.titles:
            touching[words(subject)].add(number)
    held: set[int] = set()
    for subject in draw.sample(sorted(touching), len(touching)):
        more = held | touching[subject]
        if len(held) < wanted and len(more) <= _ROOM * wanted:
            held = more
    if len(held) < wanted / 2:
        held = set(draw.sample(range(len(questions)), wanted))
    return (
        [one for number, one in enumerate(questions) if number not in held],
        [one for number, one in enumerate(questions) if number in held],
    )
