"""Gold trajectories: plans through the real rollout."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Example, GoldPlan, Mode, Passage, Step, Trajectory
from ragr1_lite.data.gold import gold_trajectories
from tests.support.scripted import EOS, ByteTokenizer, ScriptedSearcher, example, passage

KNOWN = GoldPlan((), "I know.", "Paris")
ONE = GoldPlan((Step("I need it.", ("area of Chad", "area of Mali")),), "Chad is larger.", "Chad")
TWO = GoldPlan((Step("First who.", ("mayor of Washington, D.C.",)), Step("Then when.", ("her birth",))), "So.", "1972")
LIMITS = Limits(max_rounds=3, max_new_tokens=300)


def compose(
    plans: list[GoldPlan], mode: Mode = "multi", limits: Limits = LIMITS, searcher: ScriptedSearcher | None = None
) -> list[Trajectory]:
    examples: list[Example] = [example(id=str(i)) for i in range(len(plans))]
    return gold_trajectories(
        examples, plans, ByteTokenizer(), searcher or ScriptedSearcher(), protocol=Protocol(mode), limits=limits
    )


def said(trajectory: Trajectory, source: str = "model") -> list[str]:
    tokenizer = ByteTokenizer()
    return [tokenizer.decode(segment.token_ids) for segment in trajectory.segments if segment.source == source]


def test_plans_become_trajectories_with_what_the_search_finds() -> None:
    searcher = ScriptedSearcher()
    known, one, two = compose([KNOWN, ONE, TWO], searcher=searcher)
    assert said(known) == ["<think>I know.</think><answer>Paris</answer>"]
    assert said(one)[0] == "<think>I need it.</think><search>area of Chad, area of Mali</search>"
    assert said(two) == [
        '<think>First who.</think><search>"mayor of Washington, D.C."</search>',
        "<think>Then when.</think><search>her birth</search>",
        "<think>So.</think><answer>1972</answer>",
    ]
    assert [trajectory.answer for trajectory in (known, one, two)] == ["Paris", "Chad", "1972"]
    assert searcher.calls == [(("area of Chad", "area of Mali", "mayor of Washington, D.C."), 3), (("her birth",), 3)]
    assert one.turns[0].passages == ((passage("area of Chad"),), (passage("area of Mali"),))


def test_the_end_token_is_said_once_after_the_answer_and_trained() -> None:
    for trajectory in compose([KNOWN, ONE, TWO]):
        assert trajectory.token_ids.count(EOS) == 1
        assert (trajectory.token_ids[-1], trajectory.loss_mask[-1]) == (EOS, 1)


def test_no_target_holds_retrieved_text() -> None:
    secret = Passage("1", "SECRET", "SECRET " * 50)
    for trajectory in compose([KNOWN, ONE, TWO], searcher=ScriptedSearcher(default=[secret])):
        targets = [token for token, trained in zip(trajectory.token_ids, trajectory.loss_mask, strict=True) if trained]
        assert "SECRET" not in ByteTokenizer().decode(targets)
        assert "<information>" not in ByteTokenizer().decode(targets)
        assert ("SECRET" in "".join(said(trajectory, "env"))) == bool(trajectory.rounds)


@pytest.mark.parametrize(
    ("plan", "mode", "limits"),
    [
        (TWO, "multi", replace(LIMITS, max_rounds=1)),
        (ONE, "multi", replace(LIMITS, max_length=700)),
        (ONE, "direct", LIMITS),
        (ONE, "rag", LIMITS),
        (ONE, "single", LIMITS),
        (GoldPlan((Step("t", ("a", "b", "c", "d")),), "t", "x"), "multi", LIMITS),
        (GoldPlan((Step("t", ("a", "A")),), "t", "x"), "multi", LIMITS),
        (GoldPlan((Step("t", ("?",)),), "t", "x"), "multi", LIMITS),
        (GoldPlan((), "t", ""), "multi", LIMITS),
        (GoldPlan((), "t", "see <answer>"), "multi", LIMITS),
    ],
)
def test_plans_that_cannot_be_followed_are_left_out(plan: GoldPlan, mode: Mode, limits: Limits) -> None:
    searcher = ScriptedSearcher()
    assert [one.answer for one in compose([KNOWN, plan, KNOWN], mode, limits, searcher)] == ["Paris", "Paris"]


def test_trajectories_whose_evidence_was_cut_away_are_left_out() -> None:
    long = Passage("1", "Chad", "It is a country. " * 20 + "Its capital is N'Djamena.")
    plan = GoldPlan((Step("t", ("chad",)),), "t", "N'Djamena")
    for titles, answer, tokens, kept in [
        ((), "N'Djamena", 1000, True),
        ((), "N'Djamena", 100, False),
        ((), "yes", 100, True),
        (("Chad",), "yes", 100, True),
        (("Chad",), "yes", 10, False),
    ]:
        asked = Example("1", "What is it?", (answer,), titles=titles)
        trajectories = gold_trajectories(
            [asked],
            [replace(plan, answer=answer)],
            ByteTokenizer(),
            ScriptedSearcher(default=[long]),
            protocol=Protocol(),
            limits=replace(LIMITS, document_tokens=tokens),
        )
        assert len(trajectories) == kept, (titles, answer, tokens)


def test_single_mode_plain_documents() -> None:
    [trajectory] = compose([TWO], "single")
    assert said(trajectory, "env")[1] == "\n<information>Doc 1: Her Birth. All about her birth.</information>\n"
    assert trajectory.turns[0].queries == ("mayor of Washington, D.C.",)
