"""The order of a training's questions, and how often each comes."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.config import DataConfig, load_recipe
from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.types import Example
from ragr1_lite.data.curriculum import schedule, weights_of
from ragr1_lite.world import questions

RATES = (0.5, 0.0, 1.0, 0.25, 0.75, 0.5, 0.1, 0.9)
EXAMPLES = [Example(f"q{n}", "?", ("a",), hops=1 + n % 4, pass_rate=rate) for n, rate in enumerate(RATES)]
UNKNOWN = [Example("q", "?", ("a",))]


def drawn(needed: int, seed: int = 0, examples: list[Example] = EXAMPLES, **data: Any) -> list[int]:
    return schedule(examples, needed, seed, DataConfig(**data))


def test_by_default_every_epoch_has_each_question_once_shuffled_anew() -> None:
    numbers = drawn(20)
    epochs = [numbers[:8], numbers[8:16]]
    assert [sorted(epoch) for epoch in epochs] == [list(range(8))] * 2 and epochs[0] != epochs[1]
    assert len({*numbers[16:]}) == 4
    shuffle, expected = random.Random(0), list(range(8))
    shuffle.shuffle(expected)
    assert epochs[0] == expected, "what earlier versions drew"


@given(
    st.integers(0, 40),
    st.integers(0, 5),
    st.sampled_from(["random", "easy-first", "hard-first", "few-hops-first"]),
    st.sampled_from(["even", "signal", "hops"]),
)
def test_an_order_changes_nothing_but_the_order(needed: int, seed: int, order: str, weights: str) -> None:
    numbers = drawn(needed, seed, order=order, weights=weights)
    assert len(numbers) == needed
    assert numbers == drawn(needed, seed, order=order, weights=weights)
    assert sorted(numbers) == sorted(drawn(needed, seed, weights=weights))
    key = {
        "easy-first": lambda n: -RATES[n],
        "hard-first": lambda n: RATES[n],
        "few-hops-first": lambda n: EXAMPLES[n].hops,
    }
    if order in key:
        assert [key[order](n) for n in numbers] == sorted(key[order](n) for n in numbers)


def test_equals_stay_shuffled() -> None:
    alike = [Example(f"q{n}", "?", ("a",), hops=1 + n // 20, pass_rate=0.5) for n in range(40)]
    for order in ("easy-first", "hard-first"):
        assert drawn(40, examples=alike, order=order) == drawn(40, examples=alike)
    ones = drawn(40, examples=alike, order="few-hops-first")[:20]
    assert sorted(ones) == list(range(20)) != ones


@pytest.mark.parametrize("weights", ["signal", "hops"])
def test_weights_say_how_often_within_a_draw(weights: str) -> None:
    by_number = weights_of(EXAMPLES, DataConfig(weights=weights))
    assert by_number
    epochs = 400
    counts = Counter(drawn(8 * epochs, weights=weights))
    for number, weight in enumerate(by_number):
        share = 8 * weight / sum(by_number)
        assert abs(counts[number] - epochs * share) <= 0.1 * epochs
        each = [Counter(drawn(8, seed, weights=weights))[number] for seed in range(20)]
        assert {*each} <= {int(share), int(share) + 1}, "an epoch rounds up or down"


def test_copies_of_a_question_are_spread() -> None:
    heavy = [Example("heavy", "?", ("a",), hops=60), *(Example(f"q{n}", "?", ("a",), hops=1) for n in range(59))]
    places = [place for place, number in enumerate(drawn(60, examples=heavy, weights="hops")) if number == 0]
    assert 28 <= len(places) <= 32 and places[-1] - places[0] > 45


def test_signal_prefers_what_is_undecided_and_forgets_nobody() -> None:
    by_number = weights_of(EXAMPLES, DataConfig(weights="signal"))
    assert by_number
    assert by_number[0] == by_number[5] == max(by_number) == 0.25
    assert by_number[1] == pytest.approx(by_number[2]) and min(by_number) == pytest.approx(0.0475)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"order": "easy-first"}, "1 of 9 questions have no pass rate, which data.order=easy-first needs.*data select"),
        ({"weights": "signal"}, "1 of 9 questions have no pass rate, which data.weights=signal needs.*data select"),
        ({"order": "few-hops-first"}, "1 of 9 questions do not say their `hops`.*data.order=few-hops.*data select"),
        ({"weights": "hops"}, "1 of 9 questions do not say their `hops`.*data.weights=hops.*data select"),
    ],
)
def test_what_is_not_known_is_not_guessed(data: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        drawn(3, examples=[*EXAMPLES, *UNKNOWN], **data)
    assert len(drawn(3, examples=UNKNOWN)) == 3


def test_no_question() -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        drawn(3, examples=[])


def test_recipes_name_a_curriculum() -> None:
    recipe = load_recipe("grpo-smollm2-135m", ["data.order=few-hops-first", "data.weights=hops"])
    assert (recipe.data.order, recipe.data.weights) == ("few-hops-first", "hops")
    with pytest.raises(ConfigError, match="data.order"):
        load_recipe("grpo-smollm2-135m", ["data.order=hardest"])


def test_the_world_knows_its_hops() -> None:
    hops = {kind: {one.example.hops for one in questions("dev", kinds=[kind])} for kind in ("bridge", "compare-3")}
    assert hops == {"bridge": {2}, "compare-3": {3}}
    for one in questions("dev"):
        assert one.example.hops == max(1, len(one.searches))
