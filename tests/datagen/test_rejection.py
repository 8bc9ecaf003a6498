"""What is kept and what is not, and for which reason."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ragr1_lite.core.protocol import Protocol, render_turn
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Mode, StopReason
from ragr1_lite.datagen import rejection
from ragr1_lite.datagen.rejection import Criteria, why_rejected
from tests.support.scripted import ScriptedSampler, ScriptedSearcher, example, passage

LIMITS = Limits(max_rounds=2, max_new_tokens=500, max_length=20_000, document_tokens=5000, total_document_tokens=10_000)
FOUND = {
    "chad": [
        passage(
            "Chad",
            "Its capital is N'Djamena. It covers 1,284,000 km². The war (1780–1784) was Idriss Deby’s, he told us.",
        )
    ],
    "niger": [passage("Niger", "Its capital is Niamey, not far from Washington, D.C. Road.")],
    "none": [],
}
SEARCH = "<think>I need them.</think><search>chad, niger</search>"


def say(answer: str, think: str = "So.") -> str:
    return f"<think>{think}</think><answer>{answer}</answer>"


def judged(
    *lines: str,
    answers: tuple[str, ...] = ("N'Djamena",),
    question: str = "What is the capital?",
    mode: Mode = "multi",
    criteria: Criteria | None = None,
    limits: Limits = LIMITS,
) -> str | None:
    protocol, sampler = Protocol(mode), ScriptedSampler(lines)
    asked = example(question, *answers)
    [trajectory] = run_rollouts([asked], sampler, ScriptedSearcher(FOUND), protocol=protocol, limits=limits)
    said = [completion.text for completion in sampler.said[0]]
    return why_rejected(trajectory, said, protocol=protocol, criteria=criteria or Criteria())


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((SEARCH, say("N'Djamena")), None),
        ((SEARCH, say("the n'djamena.")), None),
        ((say("N'Djamena"),), None),
        ((SEARCH, "I do not know."), rejection.NO_ANSWER["invalid"]),
        (("",), rejection.NO_ANSWER["invalid"]),
        ((SEARCH, "<think>t</think><search>oil</search>"), rejection.NO_ANSWER["budget"]),
        ((SEARCH, say("Niamey")), rejection.WRONG),
        ((SEARCH, "<answer>N'Djamena</answer>"), rejection.NO_THOUGHT),
        (("<search>chad</search>", say("N'Djamena")), rejection.NO_THOUGHT),
        (("<think> </think><search>chad</search>", say("N'Djamena")), rejection.NO_THOUGHT),
        (("<think>t</think><search>chad, niger, a, b</search>", say("N'Djamena")), rejection.TOO_MANY),
        (("<think>t</think><search>chad, Chad ,chad</search>", say("N'Djamena")), rejection.TWICE),
        (('<think>t</think><search>chad, "chad"</search>', say("N'Djamena")), rejection.TWICE),
        (('<think>t</think><search>chad, ,"niger, x",</search>', say("N'Djamena")), None),
        ((SEARCH, "<think>t</think><search>oil, Niger</search>", say("N'Djamena")), rejection.AGAIN),
        ((SEARCH, "<think>t</think><search>oil, niger river</search>", say("N'Djamena")), None),
        (
            ("<think>t</think><information>N'Djamena</information><search>chad</search>", say("N'Djamena")),
            rejection.OWN_INFORMATION,
        ),
        ((SEARCH, say("N'Djamena", "It says <information>N'Djamena</information>")), rejection.OWN_INFORMATION),
        (("<think>t</think><search>niger</search>", say("N'Djamena")), rejection.UNSUPPORTED),
        (("<think>t</think><search>none</search>", say("N'Djamena")), rejection.NOTHING_FOUND),
    ],
)
def test_reasons(lines: tuple[str, ...], reason: str | None) -> None:
    assert judged(*lines) == reason


def test_other_ends_without_an_answer() -> None:
    sampler = ScriptedSampler([])
    cut = sampler.cut("<think>endless")
    for lines, limits, reason in (
        ([cut], LIMITS, "length"),
        ([SEARCH], Limits(max_length=1200, max_new_tokens=400), "context"),
    ):
        trajectory = run_rollouts(
            [example()], ScriptedSampler(lines), ScriptedSearcher(), protocol=Protocol(), limits=limits
        )[0]
        said = ["" for turn in trajectory.turns]
        assert trajectory.stop_reason == reason
        assert why_rejected(trajectory, said, protocol=Protocol(), criteria=Criteria()) == rejection.NO_ANSWER[reason]  # type: ignore[index]


def test_every_end_has_a_reason() -> None:
    assert set(rejection.NO_ANSWER) == set(get_args(StopReason)) - {"answer"}


def test_in_single_mode_commas_belong_to_the_query() -> None:
    line = "<think>t</think><search>chad, chad, chad, chad</search>"
    reason = judged(line, "<think>t</think><search>chad</search>", say("N'Djamena"), mode="single")
    assert reason is None


@pytest.mark.parametrize(
    ("answer", "answers", "question", "kept"),
    [
        ("yes", ("yes",), "Is it so?", True),
        ("No.", ("no",), "Is it so?", True),
        ("Chad", ("Chad",), "Which has the larger area, Chad or Niger?", True),
        ("Ndola", ("Ndola",), "What is the capital?", False),
        ("mey", ("mey",), "What is the capital?", False),
        ("1,284,000", ("1,284,000 km",), "How large?", True),
        ("Capital of Chad", ("Capital of Chad", "N'Djamena"), "Which city?", True),
        ("N'Djamena, Niamey", ("N'Djamena, Niamey",), "List the capitals.", True),
        ("N'Djamena, Bamako", ("N'Djamena, Bamako",), "List the capitals.", False),
        ("1780", ("1780",), "When did the war begin?", True),
        ("Idriss Déby", ("Idriss Deby",), "Who ruled it?", True),
        ("US", ("US",), "Who?", False),
        ("Washington, D.C.", ("Washington, D.C.",), "Which city?", True),
    ],
)
def test_support(answer: str, answers: tuple[str, ...], question: str, kept: bool) -> None:
    reason = judged(SEARCH, say(answer), answers=answers, question=question, criteria=Criteria("f1", 0.5))
    assert reason == (None if kept else rejection.UNSUPPORTED)


@pytest.mark.parametrize("answer", ["N'Djamena", "yes"])
def test_what_the_budget_cut_away_supports_nothing(answer: str) -> None:
    def reason(tokens: int) -> str | None:
        limits = replace(LIMITS, document_tokens=tokens)
        return judged(SEARCH, say(answer), answers=(answer,), limits=limits)

    assert reason(5000) is None
    assert reason(5) == rejection.UNSUPPORTED
    assert (reason(20) is None) == (answer == "yes")


@pytest.mark.parametrize("answer", ["yes", "Chad"])
def test_even_yes_and_names_of_the_question_need_something_found(answer: str) -> None:
    lines = ("<think>t</think><search>none</search>", say(answer))
    assert judged(*lines, answers=(answer,), question="Is it Chad?") == rejection.NOTHING_FOUND


def test_which_answers_are_right() -> None:
    lines = (SEARCH, say("capital N'Djamena"))
    assert judged(*lines) == rejection.WRONG
    assert judged(*lines, criteria=Criteria("f1", 0.6)) is None, "an alias is supported"
    assert judged(*lines, criteria=Criteria("f1", 0.7)) == rejection.WRONG
    assert judged(*lines, criteria=Criteria("any")) == rejection.UNSUPPORTED, "what it says itself has to be"
    assert judged(SEARCH, say("Niamey"), criteria=Criteria("any")) is None


WORDS = st.text('ab c,"<é\n', max_size=12)


@given(st.lists(WORDS, min_size=1, max_size=3, unique_by=lambda text: "".join(re.findall(r"\w", text)).casefold()))
def test_what_is_well_written_is_no_breach(queries: list[str]) -> None:
    text = render_turn("t", queries=queries)
    assume(Protocol().parse_turn(text).kind == "search")
    sampler, searcher = ScriptedSampler([text, say("Chad")]), ScriptedSearcher(default=[passage("Chad")])
    [trajectory] = run_rollouts([example("Which?", "Chad")], sampler, searcher, protocol=Protocol(), limits=LIMITS)
    said = [one.text for one in sampler.said[0]]
    assert why_rejected(trajectory, said, protocol=Protocol(), criteria=Criteria()) is None
