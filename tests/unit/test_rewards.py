"""What an answer earns: one normaliser, exact match and F1 over aliases, the weighted sum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.core import Mode
from ragr1_lite.protocol import Protocol
from ragr1_lite.rewards import exact_match, f1, normalize, score, well_formed
from ragr1_lite.rollout import Limits, run_rollouts
from tests.scripted import NoSearcher, ScriptedSampler, ScriptedSearcher, example

SEARCH = "<think>I need facts.</think><search>chad, mali</search>"
ANSWER = "<think>Now I know.</think><answer>Chad</answer>"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Beatles!", "beatles"),
        ("an apple, a pear & the plum", "apple pear plum"),
        ("Theatre Another Anna", "theatre another anna"),
        ("the", "the"),
        ("The The", "the the"),
        ("A", "a"),
        ("Vitamin A", "vitamin"),
        ("U.S.A.", "usa"),
        ("twenty-one", "twentyone"),
        ("1914–1918", "19141918"),
        ("1,234,567", "1234567"),
        ("‘quoted’ “quoted” «quoted»", "quoted quoted quoted"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("ﬁne x²", "fine x2"),
        ("Zu\u0308rich", "zürich"),
        ("São Tomé", "são tomé"),
        ("\t tabs \n and lines ", "tabs and lines"),
        ("...", ""),
        ("", ""),
    ],
)
def test_normalize(text: str, normal: str) -> None:
    assert normalize(text) == normal


@given(st.text())
def test_normalizing_is_done_in_one_go(text: str) -> None:
    normal = normalize(text)
    assert normal == " ".join(normal.split())
    assert exact_match(text, [text]) == float(normal != "")
    assert f1(text, [text]) == pytest.approx(float(normal != ""))


@pytest.mark.parametrize(
    ("answer", "gold", "em", "best_f1"),
    [
        ("Paris", ["Paris"], 1, 1),
        ("paris", ["Paris"], 1, 1),
        ("The Paris.", ["Paris"], 1, 1),
        ("Paris, France", ["Paris"], 0, 2 / 3),
        ("Paris", ["Paris, France"], 0, 2 / 3),
        ("Paris France", ["Paris, France"], 1, 1),
        ("France Paris", ["Paris, France"], 0, 1),
        ("London", ["Paris"], 0, 0),
        ("Parisian", ["Paris"], 0, 0),
        ("It is Paris", ["Paris"], 0, 1 / 2),
        ("Paris Paris", ["Paris"], 0, 2 / 3),
        ("Paris", ["Paris Paris"], 0, 2 / 3),
        ("New York City", ["New York"], 0, 4 / 5),
        ("a b c d", ["c d e f"], 0, 2 * 2 / (3 + 4)),
        ("yes", ["yes"], 1, 1),
        ("Yes.", ["yes"], 1, 1),
        ("yes it is", ["yes"], 0, 0),
        ("no", ["yes"], 0, 0),
        ("no", ["no one"], 0, 0),
        ("No one", ["no"], 0, 0),
        ("noanswer", ["noanswer given"], 0, 0),
        ("no doubt", ["no doubt"], 1, 1),
        ("12", ["12"], 1, 1),
        ("12.0", ["12"], 0, 0),
        ("1,200", ["1200"], 1, 1),
        ("twelve", ["12"], 0, 0),
        ("1200 km", ["1200"], 0, 2 / 3),
        ("São Tomé", ["Sao Tome"], 0, 0),
        ("São Tomé", ["Sao Tome", "são tomé"], 1, 1),
        ("Sa\u0303o Tomé", ["São Tomé"], 1, 1),
        ("東京", ["東京"], 1, 1),
        ("USA", ["United States", "U.S.A."], 1, 1),
        ("United States", ["United States of America", "USA"], 0, 2 * 2 / (2 + 4)),
        ("the United States of America", ["United States of America", "USA"], 1, 1),
        ("A", ["A"], 1, 1),
        ("the", ["A"], 0, 0),
        ("The The", ["The The"], 1, 1),
        ("Blood type A", ["A"], 0, 0),
        ("", ["Paris"], 0, 0),
        (" \n", ["Paris"], 0, 0),
        ("?", ["Paris"], 0, 0),
        ("", [""], 0, 0),
        ("...", ["!!!"], 0, 0),
        ("", [], 0, 0),
        ("Paris", [], 0, 0),
        (None, ["Paris"], 0, 0),
        (None, [""], 0, 0),
        (None, [], 0, 0),
    ],
)
def test_exact_match_and_f1(answer: str | None, gold: list[str], em: float, best_f1: float) -> None:
    assert exact_match(answer, gold) == em
    assert f1(answer, gold) == pytest.approx(best_f1)
    assert exact_match(answer, reversed(gold)) == em
    assert f1(answer, iter(gold)) == pytest.approx(best_f1)


@given(st.text("abc "), st.text("abc "))
def test_f1_is_even_handed_and_no_less_than_exact_match(one: str, other: str) -> None:
    assert f1(one, [other]) == f1(other, [one])
    assert 0 <= exact_match(one, [other]) <= f1(one, [other]) <= 1


@pytest.mark.parametrize(
    ("mode", "lines", "well"),
    [
        ("multi", [SEARCH, ANSWER], True),
        ("multi", [ANSWER], True),
        ("multi", ["<answer>Chad</answer>"], False),
        ("multi", ["<think></think><answer>Chad</answer>"], False),
        ("multi", ["<think> \n </think><answer>Chad</answer>"], False),
        ("multi", ["<search>chad</search>", ANSWER], False),
        ("multi", [SEARCH, "<answer>Chad</answer>"], False),
        ("multi", [SEARCH, "nonsense"], False),
        ("multi", [SEARCH], False),
        ("direct", [ANSWER], True),
        ("rag", [ANSWER], True),
        ("rag", ["<answer>Chad</answer>"], False),
        ("rag", [SEARCH], False),
    ],
)
def test_well_formed_is_a_thought_before_every_tag_and_an_answer_at_the_end(
    mode: Mode, lines: list[str], well: bool
) -> None:
    searcher = NoSearcher() if mode == "direct" else ScriptedSearcher()
    [trajectory] = run_rollouts(
        [example()], ScriptedSampler(lines), searcher, protocol=Protocol(mode), limits=Limits(max_rounds=2)
    )
    assert well_formed(trajectory) is well


def test_a_rag_rollout_that_could_not_begin_is_not_well_formed() -> None:
    limits = Limits(max_length=64, max_new_tokens=60)
    [trajectory] = run_rollouts(
        [example()], ScriptedSampler([ANSWER]), ScriptedSearcher(), protocol=Protocol("rag"), limits=limits
    )
    assert not well_formed(trajectory)
    assert score(trajectory, {"em": 1.0, "format": 1.0}).total == 0.0


@pytest.mark.parametrize(
    ("weights", "total"),
    [
        ({"em": 1.0}, 0.0),
        ({"em": 1.0, "f1": 0.5, "format": 0.1}, 0.5 * 2 / 3 + 0.1),
        ({"f1": 1.0}, 2 / 3),
        ({"format": 0.2}, 0.2),
        ({"format": -0.2}, -0.2),
        ({}, 0.0),
    ],
)
def test_the_reward_is_a_weighted_sum_with_unweighted_parts(weights: dict[str, float], total: float) -> None:
    sampler = ScriptedSampler(["<think>t</think><answer>Lake Chad</answer>"])
    [trajectory] = run_rollouts([example()], sampler, NoSearcher(), protocol=Protocol(), limits=Limits())
    reward = score(trajectory, weights)
    assert reward.total == pytest.approx(total)
    assert reward.parts == {"em": 0.0, "f1": pytest.approx(2 / 3), "format": 1.0}


def test_trap_10_aliases_count_in_the_reward() -> None:
    sampler = ScriptedSampler(["<think>t</think><answer>the republic of Chad</answer>"])
    asked = example("Which?", "Chad", "Republic of Chad")
    [trajectory] = run_rollouts([asked], sampler, NoSearcher(), protocol=Protocol(), limits=Limits())
    assert score(trajectory, {"em": 1.0}).total == 1.0
