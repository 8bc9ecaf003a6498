from __future__ import annotations

import pytest

from ragr1_lite.core.types import Example
from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.questions import hold_out


def about(number: int, *subjects: str, by_title: bool = False) -> Question:
    example = Example(str(number), f"{number}?", ("a",), titles=subjects if by_title else ("Everything",))
    return Question(example, triples=() if by_title else tuple((one, "relation", "a") for one in subjects))


@pytest.mark.parametrize("by_title", [False, True])
def test_whole_subjects_are_held_out(by_title: bool) -> None:
    pairs = [(f"s{n % 20}", f"s{(n + n // 20) % 20}") for n in range(100)]
    questions = [about(n, *pair, by_title=by_title) for n, pair in enumerate(pairs)]
    train, held = hold_out(questions, share=0.2, most=60)
    numbers = [[int(one.example.id) for one in part] for part in (train, held)]
    assert sorted(numbers[0] + numbers[1]) == list(range(100)) and all(part == sorted(part) for part in numbers)
    trained = {subject for n in numbers[0] for subject in pairs[n]}
    assert 10 <= len(held) <= 30 and not [n for n in numbers[1] if set(pairs[n]) <= trained]
    assert hold_out(questions, share=0.2, most=60) == (train, held)
    assert hold_out(questions, share=0.2, most=60, seed=1)[1] != held


def test_most_bounds_what_is_held_out() -> None:
    train, held = hold_out([about(n, f"s{n}") for n in range(100)], share=0.5, most=7)
    assert (len(train), len(held)) == (93, 7)


def test_where_one_subject_is_in_all_questions_are_drawn() -> None:
    train, held = hold_out([about(n, "s", f"s{n % 3}") for n in range(50)], share=0.2, most=60)
    assert (len(train), len(held)) == (40, 10)


def test_none_are_divided_into_none() -> None:
    assert hold_out([], share=0.2, most=60) == ([], [])
