"""Gold plans of many questions, their searches of one round in one call, and what their thoughts say.

A thought says what was found, in the passages' own words, what is needed next, and the conclusion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from ragr1_lite.core.protocol import Protocol, disarm, render_turn
from ragr1_lite.core.rewards import exact_match, normalize
from ragr1_lite.core.types import Example, GoldPlan, Passage, Searcher, Step
from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.facts import NO_ANSWER, NOT_SUPPORTED, UNWRITABLE, Fact, Rejected, required_facts
from ragr1_lite.datagen.gold.growth import Found, Growth, Round
from ragr1_lite.datagen.gold.text import closest, join, plain, quote, stands_in, trusted, whole, words
from ragr1_lite.datagen.gold.values import Date, country, date, dates, read_quantity, write

_EARLIER = frozenset("older earlier first oldest earliest".split())
_LATER = frozenset("younger later recently newer latest last youngest newest recent".split())
_SMALLER = frozenset("smaller smallest fewer fewest less least lower lowest shorter shortest lighter".split())
_GREATER = frozenset(
    "greater greatest larger largest more most higher highest longer longest taller heavier bigger".split()
)
_ORDERS = {_EARLIER: "earlier", _LATER: "later", _SMALLER: "smaller", _GREATER: "greater"}
_ENDS: dict[str, Callable[[Sequence[Any]], Any]] = {"earlier": min, "later": max, "smaller": min, "greater": max}


def write_plan(question: Question, facts: Sequence[Fact], rounds: Sequence[Round]) -> GoldPlan:
    """The plan: each thought reports the round before it and says what is needed now.

    Raises:
        Rejected: The answer does not follow from what was found.
    """
    steps = []
    for at, one in enumerate(rounds):
        said = _report(question, rounds[at - 1].found, one) if at else ""
        need = _need(one.wanted, again=at > 0)
        steps.append(Step(disarm(f"{said} {need}".strip()), one.queries))
    found = {one.fact: one for each in rounds for one in each.found}
    last = rounds[-1].found
    end = _conclude(question, [found[fact] for fact in facts], last)
    said = _report(question, last, restated=end.restated) if facts[0].values else ""
    return GoldPlan(tuple(steps), disarm(f"{said} {end.thought}".strip()), end.answer)


def _report(
    question: Question, found: Sequence[Found], following: Round | None = None, restated: Sequence[Found] = ()
) -> str:
    """What a round found; of a whole passage, the sentence that names what is looked up next."""
    said = []
    for one in found:
        if one.fact.values:
            said.append(quote(one.passage, one.sentence, one.fact.value_in(one.sentence) or ""))
            said += [f"So {one.fact.says}."] if one not in restated else []
        else:
            name = plain(following.wanted[0].title) if following and following.wanted else ""
            sentence = closest(one.passage, question.example.question, partial(stands_in, name))
            said.append(quote(one.passage, sentence, name))
    return " ".join(dict.fromkeys(said))


def _need(wanted: Sequence[Fact], again: bool) -> str:
    then = "Next " if again else ""
    if not wanted:
        return f"{then}I search for what {'is left of the question' if again else 'the question says'}."
    asks = [fact.asks for fact in wanted]
    if any(fact.worded for fact in wanted):
        return f"{then}I need to know: {' And: '.join(asks)}"
    verb = "need" if all(one.startswith("the ") for one in asks) else "need to know"
    return f"{then}I {verb if wanted[0].values else 'look up'} {join(asks)}."


@dataclass(frozen=True, slots=True)
class _Conclusion:
    """The end of the last thought, which repeats the facts of ``restated``, and the answer."""

    thought: str
    answer: str
    restated: tuple[Found, ...] = ()


def _conclude(question: Question, found: Sequence[Found], last: Sequence[Found]) -> _Conclusion:
    """How the answer follows from all that was found, in the facts' order; ``last`` is what was found last."""
    if not found[0].fact.values:
        return _from_passages(question.example, found, last)
    inner = {at for one in found for at in one.fact.after}
    leaves = tuple(one for at, one in enumerate(found) if at not in inner)
    if len(leaves) == 1 or question.hops:
        return _from_one(question.example, found[-1] if question.hops else leaves[0])
    if _closed(question.example):
        return _same_or_not(question.example, leaves)
    roots = []
    for one in leaves:
        while one.fact.after:  # the fact with which a chain began
            one = found[one.fact.after[0]]
        roots.append(one.fact)
    return _by_value(question.example, leaves, roots)


def _closed(example: Example) -> bool:
    return normalize(example.answers[0]) in ("yes", "no")


def _from_one(example: Example, last: Found) -> _Conclusion:
    answer = next((one for one in example.answers if exact_match(one, last.fact.values)), None)
    answer = answer or next((one for one in trusted(example.answers) if stands_in(one, last.sentence)), None)
    if answer is None:
        raise Rejected(NO_ANSWER)
    return _Conclusion("" if stands_in(answer, last.fact.says) else f"So the answer is {answer}.", answer)


def _same_or_not(example: Example, leaves: tuple[Found, ...]) -> _Conclusion:
    values = {country(one.fact.values[0]) for one in leaves}
    answer = "yes" if len(values) == 1 else "no"
    if not exact_match(answer, example.answers):
        raise Rejected(NO_ANSWER)
    end = "That is the same" if answer == "yes" else "They differ"
    return _Conclusion(f"{_restate(leaves)} {end}, so the answer is {answer}.", example.answers[0], leaves)


def _by_value(example: Example, leaves: tuple[Found, ...], roots: Sequence[Fact]) -> _Conclusion:
    rivals = [{words(plain(name)) for name in (root.subject, root.title) if name} for root in roots]
    order, best = _best([one.fact.values[0] for one in leaves], example.question, list(chain(*rivals)))
    answer = None if best is None else _named(example, rivals[best])
    if best is None or answer is None:
        raise Rejected(NO_ANSWER)
    decided = _decide([one.fact.values[0] for one in leaves], best, order)
    return _Conclusion(f"{_restate(leaves)} {decided}, so the answer is {answer}.", answer, leaves)


def _best(values: Sequence[str], question: str, names: Sequence[str]) -> tuple[str, int | None]:
    """The order that a question asks for, and which of the dates or quantities comes first in it."""
    days = [day for value in values if (day := date(value))]
    if len(days) == len(values) and (order := _order(question, names, _EARLIER, _LATER)):
        return order, _extreme(_alike(days), order)
    amounts = [amount for value in values if (amount := read_quantity(value))]
    order = _order(question, names, _SMALLER, _GREATER)
    if len(amounts) < len(values) or len({amount.unit for amount in amounts}) > 1 or not order:
        return order, None
    return order, _extreme([amount.number for amount in amounts], order)


def _decide(values: Sequence[str], best: int, order: str) -> str:
    """Which value comes first in an order: a small model judges best what stands side by side, and of dates the years.

    >>> _decide(["5 October 1931", "May 4, 1920"], 1, "earlier"), _decide(["5 May 1931", "4 May 1931"], 0, "later")
    ('Of 1931 and 1920 the earlier is 1920', 'Of 5 May 1931 and 4 May 1931 the later is 5 May 1931')
    >>> _decide(["12,400", "9,300"], 0, "greater")
    'Of 12,400 and 9,300 the greater is 12,400'
    """
    days = [date(value) for value in values] if order in ("earlier", "later") else []
    years = [str(day[0]) for day in days if day]
    shown = years if len(set(years)) == len(values) else values
    return f"Of {join(shown)} the {order} is {shown[best]}"


def _named(example: Example, names: Collection[str]) -> str | None:
    return next((one for one in example.answers if {words(one), words(plain(one))} & set(names)), None)


def _order(question: str, names: Sequence[str], low: frozenset[str], high: frozenset[str]) -> str:
    """Which of two orders a question about some names asks for, by its cues; empty where it does not say."""
    asked = f" {words(re.sub('the (first|last)', '', question, flags=re.IGNORECASE))} "
    for name in names:
        asked = asked.replace(f" {name} ", " ")
    cues = set(asked.split())
    if bool(cues & low) == bool(cues & high):
        return ""
    return _ORDERS[low if cues & low else high]


def _alike(days: Sequence[Date]) -> list[tuple[int, ...]]:
    """Dates cut to what is known of all of them."""
    known = min(sum(part > 0 for part in day) for day in days)
    return [day[:known] for day in days]


def _extreme(values: Sequence[Any], order: str) -> int | None:
    """Which value comes first in an order; ``None`` on a tie."""
    best = _ENDS[order](values)
    return values.index(best) if values.count(best) == 1 else None


def _from_passages(example: Example, found: Sequence[Found], last: Sequence[Found]) -> _Conclusion:
    """The answer of a question of which only the passages are known, after quoting the evidence."""
    closed = _closed(example)
    texts = [whole(one.passage) for one in found]
    held = (one for one in trusted(example.answers) if any(stands_in(one, text) for text in texts))
    answer = example.answers[0] if closed else next(held, None)
    if answer is None:
        raise Rejected(NOT_SUPPORTED)
    titles = [words(plain(one.passage.title)) for one in found]
    if not closed and _named(example, titles) is None:
        quotes = [(one, closest(one.passage, example.question, partial(stands_in, answer))) for one in found]
        holder = next((one for one, sentence in quotes if stands_in(answer, sentence)), None)
        quoted = [(one, sentence) for one, sentence in quotes if one in last or one is holder]
        return _Conclusion(f"{_quote(quoted, answer)} So the answer is {answer}.", answer)
    order = "" if stands_in("died", example.question) else _order(example.question, titles, _EARLIER, _LATER)
    quotes = [(one, closest(one.passage, example.question, lambda one: bool(order and dates(one)))) for one in found]
    compared = _compare(order, [dates(sentence) for _, sentence in quotes], _named(example, titles), titles)
    return _Conclusion(f"{_quote(quotes)} {compared}So the answer is {answer}.", answer)


def _quote(sentences: Sequence[tuple[Found, str]], value: str = "") -> str:
    return " ".join(quote(one.passage, sentence, value) for one, sentence in sentences)


def _compare(order: str, days: Sequence[Sequence[Date]], answer: str | None, titles: Sequence[str]) -> str:
    """Which passage's date is the earlier or later one, where the question asks and the answer is that passage."""
    if not order or not all(days) or answer is None:
        return ""
    best = _extreme(_alike([day[0] for day in days]), order)
    if best is None or titles[best] not in (words(answer), words(plain(answer))):
        return ""
    return f"{_decide([write(day[0]) for day in days], best, order)}. "


def _restate(leaves: tuple[Found, ...]) -> str:
    said = join(one.fact.says for one in leaves)
    return f"{said[0].upper()}{said[1:]}."


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
