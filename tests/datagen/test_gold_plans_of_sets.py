"""The gold teacher on real question sets: how much it keeps, and what holds for everything it keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ragr1_lite.core.protocol import Protocol, render_turn
from ragr1_lite.core.rewards import exact_match
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Mode, Searcher, Trajectory
from ragr1_lite.data.gold import ByteTokenizer, gold_trajectories
from ragr1_lite.data.questions import read_questions
from ragr1_lite.datagen.gold import Composed, compose_plans
from ragr1_lite.datagen.gold.text import stands_in
from ragr1_lite.datagen.gold.values import date, dated, spellings
from ragr1_lite.retrieval import build_index, open_searcher, read_corpus

SHARED = Path(os.environ.get("RAGR1_LITE_SHARED", Path(__file__).parents[3] / "shared")) / "data"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not (SHARED / "corpus_hotpotqa.jsonl.gz").is_file(), reason="needs shared data"),
]
LIMITS = Limits(max_rounds=8, document_tokens=10**6, total_document_tokens=10**8, max_length=10**9)
MODES: tuple[Mode, ...] = ("multi", "single")
LEAST = {"2wiki_train": 0.97, "musique_train": 0.75, "hotpotqa_train": 0.9}
"""Share of each set's questions that is kept."""

Plans = tuple[Searcher, dict[str, list[Composed]]]


@pytest.fixture(scope="module", params=LEAST)
def composed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Plans]:
    """A set's name, its searcher and what became of its questions, by mode."""
    name = request.param
    index = tmp_path_factory.mktemp(name) / "index"
    build_index(read_corpus([SHARED / f"corpus_{name.replace('qa_train', 'qa')}.jsonl.gz"]), index)
    searcher = open_searcher(str(index))
    questions = read_questions(SHARED / f"{name}.jsonl.gz")
    return name, (searcher, {mode: compose_plans(questions, searcher, Protocol(mode), k=3) for mode in MODES})


def test_most_questions_are_kept_and_every_other_has_its_reason(composed: tuple[str, Plans]) -> None:
    name, (_, by_mode) = composed
    for every in by_mode.values():
        assert sum(one.plan is not None for one in every) >= LEAST[name] * len(every)
        assert all((one.plan is None) == (one.reason is not None) for one in every)
        assert len({one.reason for one in every if one.reason}) <= 4


@pytest.mark.parametrize("mode", MODES)
def test_what_is_kept_is_right_and_keeps_the_protocol(composed: tuple[str, Plans], mode: str) -> None:
    protocol = Protocol(mode)  # type: ignore[arg-type]
    for one in composed[1][1][mode]:
        if one.plan is None:
            continue
        assert exact_match(one.plan.answer, one.question.example.answers) == 1.0
        last = protocol.parse_turn(render_turn(one.plan.think, answer=one.plan.answer))
        assert (last.kind, last.answer) == ("answer", one.plan.answer)
        for step in one.plan.steps:
            assert protocol.parse_turn(render_turn(step.think, queries=step.queries)).queries == step.queries
            assert 1 <= len(step.queries) <= (3 if mode == "multi" else 1)
        queries = [query.casefold() for step in one.plan.steps for query in step.queries]
        assert len(set(queries)) == len(queries)


def test_parallel_queries_spare_rounds_on_comparisons(composed: tuple[str, Plans]) -> None:
    by_mode = composed[1][1]
    for kind in ("comparison", "bridge_comparison"):
        rounds = [
            sum(len(one.plan.steps) for one in by_mode[mode] if one.plan and one.question.example.kind == kind)
            for mode in MODES
        ]
        assert rounds[0] <= 0.6 * rounds[1]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_said_or_asked_before_it_was_found(composed: tuple[str, Plans], mode: str) -> None:
    searcher, by_mode = composed[1]
    kept = [one for one in by_mode[mode] if one.plan]
    protocol, examples = Protocol(mode), [one.question.example for one in kept]  # type: ignore[arg-type]
    plans = [one.plan for one in kept if one.plan]
    replayed = gold_trajectories(examples, plans, ByteTokenizer(), searcher, protocol=protocol, limits=LIMITS)
    assert len(replayed) == len(kept), "every plan can be followed"
    assert not [early for one, trajectory in zip(kept, replayed, strict=True) for early in _early(one, trajectory)]


def _early(one: Composed, trajectory: Trajectory) -> list[str]:
    """The answers, of the question or of a step towards it, that stand in a turn before a passage said them."""
    question = one.question
    values = {trajectory.answer or "", *(hop.answer for hop in question.hops), *(last for *_, last in question.triples)}
    values -= {"yes", "no"}
    known, early = question.example.question, []
    for turn in trajectory.turns:
        early += [value for value in values if stands_in(value, turn.think) and not _known(value, known)]
        asked = " ".join(turn.queries)  # a name and the question's words may give an answer by chance: Riyadh, province
        early += [value for value in values if stands_in(value, asked) and not _of_known(value, known)]
        known += "".join(f" {passage.title}. {passage.text}" for found in turn.passages for passage in found)
    return early


def _of_known(value: str, text: str) -> bool:
    return _known(value, text) or all(_known(word, text) for word in value.split())


def _known(value: str, text: str) -> bool:
    day = date(value)
    return any(stands_in(way, text) for way in (value, *spellings(value))) or bool(day and dated(day, text))
