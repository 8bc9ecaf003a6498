"""Questions by rule: of one fact, of two that follow from each other, and of two that can be compared."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragr1_lite.core.types import Example
from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.text import plain, words
from ragr1_lite.datagen.gold.values import Date, Quantity, forms
from ragr1_lite.datagen.questions.facts import Fact, holds
from ragr1_lite.datagen.questions.wording import NoWording, ask, compare, phrase, value_of

_NEAR = 0.1
"""Two quantities are a near tie where the smaller one is within this share of the larger one."""
_NEAR_YEARS = 1
"""Two dates are a near tie where their years differ by no more than this."""


@dataclass(frozen=True, slots=True)
class Sought:
    """A passage that a search has to find: by its title, and one of the forms that must stand in it."""

    query: str
    title: str
    forms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A question, and the passages that a search has to find for it, one per step."""

    question: Question
    sought: tuple[Sought, ...]


def make_one_hop(facts: Sequence[Fact], draw: random.Random) -> Iterator[Made | str]:
    """``Who is the mayor of Oakvale?``, once for every fact; a string is the reason why there is no question."""
    for fact in draw.sample(facts, len(facts)):
        yield _worded(_one_hop, fact)


def make_bridges(facts: Sequence[Fact], draw: random.Random) -> Iterator[Made | str]:
    """``Who is the spouse of the mayor of Oakvale?``, for every fact that begins where another ends."""
    by_subject: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_subject[words(fact.key)].append(fact)
    for first in draw.sample(facts, len(facts)):
        for second in by_subject.get(words(first.object), ()):
            if words(second.subject) != words(first.subject):
                yield _worded(_bridge, first, second)


def make_comparisons(facts: Sequence[Fact], draw: random.Random) -> Iterator[Made | str]:
    """``Which has the greater population, Oakvale or Ashby?``; every fact is in one pair or two."""
    groups: dict[tuple[str, type, str], list[tuple[Fact, Date | Quantity]]] = defaultdict(list)
    for fact in facts:
        value = value_of(fact.relation, plain(fact.object))
        if value is not None:
            groups[fact.relation, type(value), getattr(value, "unit", "")].append((fact, value))
    for group in groups.values():
        draw.shuffle(group)
        for one, other in zip(group, group[1:], strict=False):
            yield _worded(_comparison, *one, *other, draw.random() < 0.5)


def _worded(make: Callable[..., Made | str], *parts: object) -> Made | str:
    try:
        return make(*parts)
    except NoWording:
        return "no wording for the relation"


def _one_hop(fact: Fact) -> Made | str:
    question, answers = ask(fact.relation, fact.subject, fact.object), forms(plain(fact.object))
    if holds(question, answers):
        return "question holds its answer"
    return Made(_question("one-hop", question, answers, fact), (Sought(question, fact.title, answers),))


def _bridge(first: Fact, second: Fact) -> Made | str:
    question = ask(second.relation, phrase(first.relation, first.subject), second.object)
    answers = forms(plain(second.object))
    if holds(question, forms(plain(first.object))):
        return "question names its bridge"
    if holds(question, answers):
        return "question holds its answer"
    return Made(_question("bridge", question, answers, first, second), (_sought(first), _sought(second)))


def _comparison(one: Fact, first: Date | Quantity, other: Fact, second: Date | Quantity, more: bool) -> Made | str:
    if words(one.subject) == words(other.subject) or _is_near(first, second):
        return "tie or near tie"
    question = compare(one.relation, first, more, one.subject, other.subject)
    winner = one if (_key(first) > _key(second)) == more else other
    made = _question("comparison", question, (winner.subject,), one, other)
    return Made(made, (_sought(one), _sought(other)))


def _question(kind: str, question: str, answers: tuple[str, ...], *facts: Fact) -> Question:
    titles = tuple(dict.fromkeys(fact.title for fact in facts))
    example = Example(question_id(kind, question), question, answers, kind, len(facts), titles=titles)
    return Question(example, triples=tuple(fact.triple for fact in facts))


def _sought(fact: Fact) -> Sought:
    return Sought(f"{fact.subject} {fact.relation}", fact.title, forms(plain(fact.object)))


def _is_near(first: Date | Quantity, second: Date | Quantity) -> bool:
    if isinstance(first, tuple):
        return abs(_key(first)[0] - _key(second)[0]) <= _NEAR_YEARS
    low, high = sorted(abs(_key(value)[0]) for value in (first, second))
    return _key(first) == _key(second) or high - low <= _NEAR * high


def _key(value: Date | Quantity) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value.number,)


def question_id(kind: str, question: str) -> str:
    """An id that the same question has in every run."""
    return f"{kind}-{hashlib.sha256(question.encode()).hexdigest()[:12]}"


RULES: Mapping[str, Callable[[Sequence[Fact], random.Random], Iterator[Made | str]]] = {
    "one-hop": make_one_hop,
    "bridge": make_bridges,
    "comparison": make_comparisons,
}
"""What makes the questions of each kind."""
