"""The published scores, restated and checked by hand; and intervals, of one run and of two."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.rewards import SCORERS, official_normalize
from ragr1_lite.evaluation import (
    intervals,
)
from ragr1_lite.evaluation.intervals import bootstrap, paired

PAIRS = list(map(json.loads, Path(__file__).with_name("normalisation.jsonl").read_text(encoding="utf-8").splitlines()))


# --- the published scores -----------------------------------------------------------------------------------------


def restated(text: str) -> list[str]:
    """The published normalisation, written once more in other ways: the words that are left."""
    kept = "".join(character for character in text.lower() if character not in set(string.punctuation))
    words: list[str] = []
    for chunk in kept.split():
        parts, word = [], ""
        for character in [*chunk, " "]:
            if character.isalnum():
                word += character
                continue
            parts += [" " if word in ("a", "an", "the") else word, character]
            word = ""
        words += "".join(parts).split()
    return words


def restated_scores(answer: str | None, gold: Sequence[str], closed: set[str]) -> tuple[int, Fraction]:
    """EM, and F1 by precision and recall, exact."""
    if answer is None:
        return 0, Fraction(0)
    ours, ems, f1s = restated(answer), [], []
    for one in map(restated, gold):
        ems.append(int(ours == one))
        left = list(one)
        for word in ours:
            if word in left:
                left.remove(word)
        same = len(one) - len(left)
        apart = ours != one and (" ".join(ours) in closed or " ".join(one) in closed)
        if same == 0 or apart:
            f1s.append(Fraction(0))
            continue
        precision, recall = Fraction(same, len(ours)), Fraction(same, len(one))
        f1s.append(2 * precision * recall / (precision + recall))
    return max(ems), max(f1s)


def expected(row: list[Any]) -> dict[str, tuple[int, Fraction]]:
    """What each scorer should say of a pair; ours differs from HotpotQA's where the pair says why."""
    _, _, _, em, f1, *rest = row
    more = rest[0] if rest else {}
    hotpotqa = (em, Fraction(more.get("hotpotqa", f1)))
    ours = (more["ours"][0], Fraction(more["ours"][1])) if "ours" in more else hotpotqa
    return {"squad": (em, Fraction(f1)), "hotpotqa": hotpotqa, "ours": ours}


@pytest.mark.parametrize("name", ["ours", "squad", "hotpotqa"])
def test_hand_checked_pairs(name: Any) -> None:
    scorer, wrong = SCORERS[name], []
    for row in PAIRS:
        _, answer, gold, *_ = row
        scores = (scorer.exact_match(answer, gold), scorer.f1(answer, gold))
        em, f1 = expected(row)[name]
        if scores != (em, pytest.approx(float(f1))):
            wrong.append((row, scores))
    assert wrong == []


def test_the_pairs_are_as_published() -> None:
    assert len(PAIRS) >= 200 and len({(row[1], *row[2]) for row in PAIRS}) == len(PAIRS)
    assert {row[0] for row in PAIRS} >= {
        "articles",
        "punctuation",
        "unicode",
        "numbers",
        "yes and no",
        "empty",
        "aliases",
    }
    for row in PAIRS:
        _, answer, gold, *_ = row
        assert restated_scores(answer, gold, set()) == expected(row)["squad"], row
        assert restated_scores(answer, gold, {"yes", "no", "noanswer"}) == expected(row)["hotpotqa"], row


def test_every_difference_is_named() -> None:
    for row in PAIRS:
        figures = row[5] if len(row) > 5 else {}
        assert ("ours" in figures) == ("why" in figures), row
        of = expected(row)
        assert ("ours" in figures) == (of["ours"] != of["hotpotqa"]), row
    assert {row[0] for row in PAIRS if len(row) > 5} == {
        *(
            "articles",
            "articles alone",
            "punctuation",
            "quotes and dashes",
            "numbers",
            "unicode",
            "empty",
            "yes and no",
        ),
    }


def test_official_normalisation_of_random_texts() -> None:
    generator = random.Random(0)
    letters = "ab tTnhe.,'_-\t\u00a0é²ﬁ“1"
    texts = ("".join(generator.choices(letters, k=generator.randrange(14))) for _ in range(3000))
    wrong = [text for text in texts if official_normalize(text).split() != restated(text)]
    assert wrong == []


def test_covering() -> None:
    for name in ("squad", "hotpotqa"):
        covers = SCORERS[name].covers
        assert covers("It is Lake Chad.", ["Niger", "the Chad"]) == 1.0
        assert covers("Chadian", ["Chad"]) == covers("Chad", [""]) == covers(None, ["Chad"]) == covers("x", []) == 0.0


# --- intervals ----------------------------------------------------------------------------------------------------


def test_an_interval_covers_what_it_should() -> None:
    interval = bootstrap([1.0] * 72 + [0.0] * 28)
    assert interval.mean == 0.72 and interval.n == 100
    half = 1.96 * (0.72 * 0.28 / 100) ** 0.5
    assert interval.bounds == [pytest.approx(0.72 - half, abs=0.012), pytest.approx(0.72 + half, abs=0.012)]
    assert bootstrap([1.0] * 72 + [0.0] * 28) == interval
    generator = random.Random(0)
    samples = [[float(generator.random() < 0.4) for _ in range(80)] for _ in range(120)]
    covered = sum(1 for one in samples if bootstrap(one).low <= 0.4 <= bootstrap(one).high)
    assert 104 <= covered <= 120


def test_an_interval_of_many_different_values_is_that_of_plain_resampling() -> None:
    import numpy as np

    values = np.random.default_rng(1).random(300)
    drawn = np.random.default_rng(2).choice(values, size=(10_000, 300)).mean(axis=1)
    assert bootstrap(list(values)).bounds == pytest.approx(list(np.quantile(drawn, (0.025, 0.975))), abs=0.002)


def test_intervals_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn for a resample is one number for each different value, not one for each question."""
    widths: list[int] = []
    portions = intervals._portions
    monkeypatch.setattr(intervals, "_portions", lambda width: widths.append(width) or portions(width))
    values = [index % 200 / 200 for index in range(5000)]
    paired(values, values[::-1])
    assert len(widths) == 2 and max(widths) < 400


def test_a_difference_is_told_only_where_there_is_one() -> None:
    same = paired([1.0, 0.0] * 50, [1.0, 0.0] * 50)
    assert (same.interval.bounds, same.p, same.significant) == ([0, 0], 1.0, False)
    better = paired([0.0] * 30 + [1.0] * 70, [1.0] * 25 + [0.0] * 5 + [1.0] * 65 + [0.0] * 5)
    assert better.significant and better.interval.low > 0 and better.p < 0.01
    worse = paired([1.0] * 25 + [0.0] * 75, [0.0] * 100)
    assert worse.significant and worse.interval.high < 0
    assert not paired([0.0] * 12 + [1.0] * 8, [1.0] * 12 + [0.0] * 8).significant


def test_the_sign_flips_are_the_sign_test_for_exact_match() -> None:
    """Twelve questions gained and three lost: twice the tail of a fair coin."""
    tail = 2 * sum(Fraction(n) for n in (1, 15, 105, 455)) / 2**15
    p = paired([0.0] * 12 + [1.0] * 3 + [1.0] * 40, [1.0] * 12 + [0.0] * 3 + [1.0] * 40).p
    assert p == pytest.approx(float(tail), abs=0.006)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_handful_of_questions_tells_nothing(n: int) -> None:
    found = paired([0.0] * n, [1.0] * n)
    assert found.interval.low == 1.0 and found.p > 0.05 and not found.significant


def test_chance_is_not_called_better() -> None:
    generator = random.Random(1)
    runs = [[[float(generator.random() < 0.5) for _ in range(60)] for _ in range(2)] for _ in range(100)]
    assert sum(paired(*run).significant for run in runs) <= 10
