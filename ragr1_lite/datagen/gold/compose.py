"""Gold plans of many questions, their searches of one round in one call."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from ragr1_lite.core.protocol import Protocol, render_turn
from ragr1_lite.core.types import GoldPlan, Passage, Searcher
from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.facts import UNWRITABLE, Rejected, required_facts
from ragr1_lite.datagen.gold.growth import Growth
from ragr1_lite.datagen.gold.thoughts import write_plan

_Results = Sequence[tuple[Passage, ...]]


@dataclass(slots=True)
class Composed:
    """A question and its plan, or the reason why it has none, one of a few fixed phrases."""

    question: Question
    plan: GoldPlan | None = None
    reason: str | None = None


def compose_plans(questions: Sequence[Question], searcher: Searcher, protocol: Protocol, *, k: int) -> list[Composed]:
    """Composes plans from what the questions' sets say, without a model, with real retrieval results.

    Facts that do not rest on each other are searched at once in ``multi`` mode, one after the other in ``single``; a
    fact that rests on another follows a round later. A plan is kept only where each fact stands in a gold passage that
    its searches of ``k`` passages retrieved, and where every query could be known from the question and the passages
    found before. Each round of all questions is one call of the searcher.
    """
    composed = [Composed(question) for question in questions]
    live = [(one, _plan(one.question, protocol)) for one in composed]
    results: list[_Results | None] = [None] * len(live)
    while live:
        asked = []
        for (one, planning), retrieved in zip(live, results, strict=True):
            try:
                asked.append((one, planning, planning.send(retrieved)))  # type: ignore[arg-type]  # None begins
            except Rejected as rejected:
                one.reason = str(rejected)
            except StopIteration as finished:
                one.plan = finished.value
        texts = [text for _, _, queries in asked for text in queries]
        found = iter(searcher.search(texts, k) if texts else ())
        results = [[next(found) for _ in queries] for _, _, queries in asked]
        live = [(one, planning) for one, planning, _ in asked]
    return composed


def _plan(question: Question, protocol: Protocol) -> Generator[list[str], _Results, GoldPlan]:
    """A question's plan, if the protocol reads its turns back unchanged; yields queries, receives their passages."""
    growth = Growth(question, required_facts(question), protocol.queries_allowed)
    yield from growth.grow()
    plan = write_plan(question, growth.facts, growth.rounds)
    turns = [render_turn(step.think, queries=step.queries) for step in plan.steps]
    searches = [protocol.parse_turn(turn, before).queries for before, turn in enumerate(turns)]
    last = protocol.parse_turn(render_turn(plan.think, answer=plan.answer))
    if searches != [step.queries for step in plan.steps] or last.answer != plan.answer:
        raise Rejected(UNWRITABLE)
    return plan
