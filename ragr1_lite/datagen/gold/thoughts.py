"""What a plan thinks: what was found, in the passage's own words, and what is needed next."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ragr1_lite.core.gold_plan import GoldPlan, Step
from ragr1_lite.core.protocol import disarm
from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.conclusions import conclude
from ragr1_lite.datagen.gold.facts import Fact
from ragr1_lite.datagen.gold.growth import Found, Round
from ragr1_lite.datagen.gold.text import closest, join, plain, quote, stands_in


def write_plan(question: Question, facts: Sequence[Fact], rounds: Sequence[Round]) -> GoldPlan:
    """The plan of a grown question: each thought tells the round before it and says what is needed now.

    Raises:
        Rejected: The answer does not follow from what was found.
    """
    steps = []
    for at, one in enumerate(rounds):
        told = _tell(question, rounds[at - 1].found, one) if at else ""
        need = _need(one.wanted, again=at > 0)
        steps.append(Step(disarm(f"{told} {need}".strip()), one.queries))
    found = {one.fact: one for each in rounds for one in each.found}
    last = rounds[-1].found
    end = conclude(question, [found[fact] for fact in facts], last)
    told = _tell(question, last, restated=end.restated) if facts[0].values else ""
    return GoldPlan(tuple(steps), disarm(f"{told} {end.thought}".strip()), end.answer)


def _tell(
    question: Question, found: Sequence[Found], following: Round | None = None, restated: Sequence[Found] = ()
) -> str:
    """What a round found; of a whole passage the sentence that names what is looked up next."""
    told = []
    for one in found:
        if one.fact.values:
            told.append(quote(one.passage, one.sentence, one.fact.value_in(one.sentence) or ""))
            told += [f"So {one.fact.says}."] if one not in restated else []
        else:
            name = plain(following.wanted[0].title) if following and following.wanted else ""
            sentence = closest(one.passage, question.example.question, partial(stands_in, name))
            told.append(quote(one.passage, sentence, name))
    return " ".join(dict.fromkeys(told))


def _need(wanted: Sequence[Fact], again: bool) -> str:
    """What a search is for."""
    then = "Next " if again else ""
    if not wanted:
        return f"{then}I search for what {'is left of the question' if again else 'the question says'}."
    asks = [fact.asks for fact in wanted]
    if any(fact.worded for fact in wanted):
        return f"{then}I need to know: {' And: '.join(asks)}"
    verb = "need" if all(one.startswith("the ") for one in asks) else "need to know"
    return f"{then}I {verb if wanted[0].values else 'look up'} {join(asks)}."
