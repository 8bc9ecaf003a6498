"""What an index can reach: which answers come up, for which searches, and how sure the figures are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.core.events import PhaseFinished, PhaseStarted
from ragr1_lite.core.types import Example, Passage
from ragr1_lite.data.questions import Hop, Question
from ragr1_lite.evaluation.ceiling import ceiling, gold_queries
from ragr1_lite.evaluation.intervals import Interval, bootstrap, wilson

PASSAGES = {
    "chad": (Passage("c", "Chad", "A country. Its highest point is Emi Koussi, 3,415 m."),),
    "niger": (Passage("n", "Niger (country)", "A country with an artful name."),),
    "emi": (Passage("e", "Emi Koussi", "A mountain with a caldera."), Passage("t", "Tibesti", "Mountains.")),
}


class Scripted:
    """Finds what stands under a query's first word, and counts its calls."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        self.calls.append(list(queries))
        return [PASSAGES.get(query.split()[0].lower().strip("?"), ())[:k] for query in queries]


def asked(question: str, *answers: str, queries: Sequence[str] = (), **known: Any) -> Question:
    """A question; ``queries`` are its hops' questions."""
    hops = tuple(Hop(query, "") for query in queries)
    return Question(Example("1", question, answers, **known), hops=hops)


def answer(one: Question, k: int = 3) -> tuple[float | None, float | None]:
    [reach] = ceiling(Scripted(), [one], k).reaches
    return reach.answer["question"], reach.answer["gold_queries"]


@pytest.mark.parametrize(
    ("question", "answers", "found"),
    [
        ("chad?", ["emi KOUSSI"], 1.0),
        ("chad?", ["nothing", "The Emi-Koussi"], 0.0),
        ("chad?", ["nothing", "an Emi Koussi."], 1.0),
        ("chad?", ["3415 m"], 1.0),
        ("chad?", ["Chad"], 1.0),
        ("chad?", ["count"], 0.0),
        ("chad?", ["Chad country"], 0.0),
        ("niger?", ["art"], 0.0),
        ("quagga?", ["Chad"], 0.0),
        ("chad?", ["Yes"], None),
        ("chad?", ["?!"], None),
    ],
)
def test_an_answer_is_found_at_word_bounds_under_any_alias(
    question: str, answers: list[str], found: float | None
) -> None:
    assert answer(asked(question, *answers))[0] == found


def test_gold_queries_count_together_and_apart_from_the_question() -> None:
    one = asked("Niger?", "caldera", queries=["quagga", "emi koussi"])
    assert answer(one) == (0.0, 1.0)
    assert answer(asked("Niger?", "caldera")) == (0.0, None)
    assert answer(asked("Emi?", "mountains", queries=["emi"]), k=1) == (0.0, 0.0)


def test_everything_is_one_call() -> None:
    searcher = Scripted()
    events: list[object] = []
    both = [asked("chad?", "x", queries=["emi", "emi"]), asked("niger?", "x")]
    ceiling(searcher, both, 3, report=events.append)
    assert searcher.calls == [["chad?", "emi", "niger?"]]
    assert events[0] == PhaseStarted("Searching questions and gold queries", 3, "queries")
    assert isinstance(events[1], PhaseFinished)


def test_figures_add_up_by_kind() -> None:
    questions = [
        asked("Chad?", "Emi Koussi", kind="bridge", titles=("Chad", "Emi Koussi")),
        asked("Niger?", "caldera", kind="bridge", titles=("Niger (country)", "Emi Koussi")),
        asked("Niger?", "no", kind="comparison", titles=("Niger (country)",)),
    ]
    result = ceiling(Scripted(), questions, 3)
    figures = json.loads(json.dumps(result.to_json()))
    assert (figures["k"], figures["questions"], figures["yes_no"]) == (3, 3, 1)
    assert {way: (one["n"], one["mean"]) for way, one in figures["answer"].items()} == {
        "question": (2, 0.5),
        "gold_queries": (2, 1.0),
    }
    assert figures["titles"]["question"]["mean"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["all_titles"]["question"]["mean"] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["all_titles"]["gold_queries"]["mean"] == 1
    assert list(figures["by_kind"]) == ["bridge", "comparison"]
    assert figures["by_kind"]["bridge"]["answer"]["question"]["n"] == 2
    assert figures["by_kind"]["comparison"]["answer"] == {}
    rows = result.rows()
    assert rows["an answer in the top 3 of the question"] == "0.500 (0.095 to 0.905) of 2"
    assert rows["bridge: an answer in"] == {"the question": 0.5, "its gold queries": 1.0}
    assert "comparison: an answer in" not in rows


def test_a_set_without_gold_has_the_questions_alone() -> None:
    figures = ceiling(Scripted(), [asked("Chad?", "Emi Koussi")], 3).to_json()
    assert list(figures["answer"]) == ["question"]
    assert figures["titles"] == figures["all_titles"] == figures["by_kind"] == {}


@pytest.mark.parametrize(
    ("known", "queries"),
    [
        ({}, ()),
        ({"titles": ("A (x)", "B")}, ("A", "B")),
        ({"titles": ("A (x)", "A (y)")}, ("A",)),
        ({"titles": ("(1)",)}, ("(1)",)),
        ({"titles": ("A",), "triples": (("A", "author", "B"), ("B", "born", "C"))}, ("A author", "B born")),
        (
            {
                "hops": (
                    Hop("Hello Love >> performer", "Hank Snow", "Hello Love"),
                    Hop("Where did #1 die in #7?", "Tennessee"),
                ),
                "triples": (("A", "b", "c"),),
            },
            ("Hello Love performer", "Where did Hank Snow die in #7?"),
        ),
    ],
)
def test_what_a_set_says_about_a_perfect_search(known: dict[str, Any], queries: tuple[str, ...]) -> None:
    example = Example("1", "?", ("x",), titles=known.pop("titles", ()))
    assert gold_queries(Question(example, **known)) == queries


def test_wilson_is_the_published_interval() -> None:
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for hits, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)]:
        found = wilson([1.0] * hits + [0.0] * (n - hits))
        assert (found.n, found.mean) == (n, hits / n)
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60))
def test_intervals_hold_their_mean(values: list[float]) -> None:
    for interval in (bootstrap(values), wilson([float(value == 1) for value in values])):
        assert 0 <= interval.low <= interval.mean + 1e-12
        assert interval.mean <= interval.high + 1e-12 <= 1 + 1e-9
        assert isinstance(interval, Interval)


def test_bootstrap_is_as_wide_as_theory_says() -> None:
    interval = bootstrap([0.0, 0.5, 1.0] * 200)
    error = (1 / 6 / 600) ** 0.5
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.06)
    assert interval == bootstrap([0.0, 0.5, 1.0] * 200)
