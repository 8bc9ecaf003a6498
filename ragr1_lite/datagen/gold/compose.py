"""Gold plans of many questions, their searches of one round in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ragr1_lite.core.events import Advance, Report, ignore, phase
from ragr1_lite.core.gold_plan import GoldPlan
from ragr1_lite.core.protocol import Protocol, render_turn
from ragr1_lite.core.types import Searcher
from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.facts import UNWRITABLE, Rejected, required_facts
from ragr1_lite.datagen.gold.growth import Growth
from ragr1_lite.datagen.gold.thoughts import write_plan

_T = TypeVar("_T")


@dataclass(slots=True)
class Composed:
    """A question and its plan, or the reason why it has none, one of a few fixed phrases."""

    question: Question
    plan: GoldPlan | None = None
    reason: str | None = None


def compose_plans(
    questions: Sequence[Question],
    searcher: Searcher,
    protocol: Protocol,
    *,
    k: int,
    report: Report = ignore,
) -> list[Composed]:
    """Composes plans from what the questions' sets say, without a model, with real retrieval results.

    Facts that do not rest on each other are searched at once in ``multi`` mode, one after the other in ``single``; a
    fact that rests on another follows a round later. A plan is kept only where each fact stands in a gold passage that
    its searches retrieved, and where every query could be known from the question and the passages found before.

    Args:
        questions: With hops, triples or titles.
        searcher: Answers the queries; each round of all questions is one call.
        protocol: Whether a search may hold several queries, and how many.
        k: Passages per query.
        report: Receives the phase and its progress.

    Returns:
        One entry per question, in order.
    """
    composed = [Composed(question) for question in questions]
    width = protocol.max_queries if protocol.mode == "multi" else 1
    with phase(report, "Composing", len(questions), "questions") as advance:
        for one, growth in _grow(composed, searcher, width, k, advance):
            one.plan = _attempt(one, partial(_write, growth, protocol))
    return composed


def _grow(
    composed: Sequence[Composed], searcher: Searcher, width: int, k: int, advance: Advance
) -> list[tuple[Composed, Growth]]:
    """The questions whose facts were all found; the others have their reason."""
    begun = [(one, _attempt(one, partial(_begin, one.question, width))) for one in composed]
    live = [(one, growth) for one, growth in begun if growth is not None]
    grown = []
    while live:
        advance(len(composed) - len(live))
        asked = [_attempt(one, growth.asks) or [] for one, growth in live]
        texts = [text for queries in asked for text in queries]
        results = iter(searcher.search(texts, k) if texts else ())
        for (one, growth), queries in zip(live, asked, strict=True):
            retrieved = [next(results) for _ in queries]
            if one.reason is None:
                _attempt(one, partial(growth.take, retrieved))
        grown += [(one, growth) for one, growth in live if one.reason is None and growth.finished]
        live = [(one, growth) for one, growth in live if one.reason is None and not growth.finished]
    return grown


def _begin(question: Question, width: int) -> Growth:
    return Growth(question, required_facts(question), width)


def _attempt(one: Composed, step: Callable[[], _T]) -> _T | None:
    try:
        return step()
    except Rejected as rejected:
        one.reason = str(rejected)
        return None


def _write(growth: Growth, protocol: Protocol) -> GoldPlan:
    """The plan, if the protocol reads each of its turns back unchanged."""
    plan = write_plan(growth.question, growth.facts, growth.rounds)
    searches = [protocol.parse_turn(render_turn(step.think, queries=step.queries)).queries for step in plan.steps]
    last = protocol.parse_turn(render_turn(plan.think, answer=plan.answer))
    if searches != [step.queries for step in plan.steps] or last.answer != plan.answer:
        raise Rejected(UNWRITABLE)
    return plan
