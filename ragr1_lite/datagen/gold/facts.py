"""What has to be found out for a question, from its set's sub-questions, evidence triples or titles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ragr1_lite.core.types import Passage
from ragr1_lite.data.questions import Hop, Question
from ragr1_lite.datagen.gold.text import (
    clean,
    content,
    keywords,
    names,
    plain,
    same,
    sentences,
    share,
    stands_in,
    trusted,
    whole,
    words,
)
from ragr1_lite.datagen.gold.values import date, dated, relation

_MENTIONED = 2 / 3
"""Share of a subject's words that a passage about it has; names are written in more than one way."""
_HALF = 1 / 2
"""The same for a sub-question without a name in it, which the passage may word differently."""

NO_WAY = "the set does not say how it is answered"
NOT_FOUND = "gold passage not retrieved"
NOT_SUPPORTED = "answer not in what was retrieved"
UNKNOWN = "a query cannot be known by then"
NO_ANSWER = "the evidence does not give the answer"
UNWRITABLE = "the protocol cannot hold it"

Triple = tuple[str, str, str]


class Rejected(Exception):
    """Why a question gives no plan: one of the phrases above."""


@dataclass(frozen=True, slots=True)
class Query:
    """A way to ask for a fact; each of ``names`` has to be known before it can be asked."""

    text: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing to find out.

    Attributes:
        queries: Ways to ask for it, the best first.
        asks: What is looked for, as a thought words it.
        says: What was found, as a clause; empty where the passage itself is looked for.
        subject: What a passage with the fact is about.
        values: Its value in every accepted form; empty where the passage itself is looked for.
        title: The passage with the fact, where it is known.
        after: Facts, by index, that are found first.
        worded: It is asked in the set's own words; a passage with half of them may hold it, without the subject.
    """

    queries: tuple[Query, ...]
    asks: str
    says: str = ""
    subject: str = ""
    values: tuple[str, ...] = ()
    title: str = ""
    after: tuple[int, ...] = ()
    worded: bool = False

    def sentence_in(self, passage: Passage) -> str | None:
        """The passage's sentence with the fact that has most of the query's words; ``None`` where there is none."""
        if not self.values:
            return "" if same(passage.title, self.title) else None
        if not self._may_be_in(passage):
            return None
        found = [one for one in sentences(passage.text) if self.value_in(one)]
        return max(found, key=lambda one: share(self.queries[0].text, one), default=None)

    def _may_be_in(self, passage: Passage) -> bool:
        if self.title:
            return same(passage.title, self.title)
        if self.subject and share(self.subject, whole(passage)) >= _MENTIONED:
            return True
        return self.worded and share(self.queries[0].text, whole(passage)) >= _HALF

    def value_in(self, sentence: str) -> str | None:
        """The form in which the value stands in a sentence."""
        for value in self.values:
            if stands_in(value, sentence) or ((day := date(value)) and dated(day, sentence)):
                return value
        return None


def required_facts(question: Question) -> tuple[Fact, ...]:
    """The facts from the most informative form that the set gives; raises Rejected where none can be used."""
    titles = question.example.titles
    if question.hops:
        last = len(question.hops) - 1
        return tuple(
            _of_hop(question, hop, question.example.answers if at == last else ())
            for at, hop in enumerate(question.hops)
        )
    if question.triples:
        of_subjects = _titles_of([subject for subject, _, _ in question.triples], titles)
        return tuple(_of_triple(question, at, title) for at, title in enumerate(of_subjects))
    if titles:
        asked = question.example.question
        return tuple(_of_title(title, asked) for title in sorted(titles, key=lambda one: _place(plain(one), asked)))
    raise Rejected(NO_WAY)


# Sub-questions, as MuSiQue has them


def _of_hop(question: Question, hop: Hop, accepted: Sequence[str]) -> Fact:
    """A sub-question; those that its ``#1`` names are found before."""
    answers = [one.answer for one in question.hops]
    after = tuple(int(number) - 1 for number in re.findall(r"#(\d+)", hop.question))
    if not all(0 <= at < len(answers) for at in after):
        raise Rejected(NO_WAY)
    filled = re.sub(r"#(\d+)(?: (?='s))?", lambda number: _bare(answers[int(number[1]) - 1]), hop.question)
    subject, arrow, name = filled.partition(">>")
    if not arrow:
        return _worded(hop, clean(filled).rstrip(" ?"), accepted, after)
    subject, form = clean(subject), relation(clean(name))
    objects, known = form.objects(hop.answer), tuple(content(subject))
    return Fact(
        queries=(Query(form.query.format(s=subject), known), Query(subject, known)),
        asks=form.asks.format(s=subject),
        says=form.says.format(s=subject, o=_unquoted(objects[0])),
        subject=subject,
        values=(*objects, *trusted(accepted)),
        title=hop.title,
        after=after,
    )


def _worded(hop: Hop, question: str, accepted: Sequence[str], after: tuple[int, ...]) -> Fact:
    known = tuple(names(question))
    return Fact(
        queries=tuple(Query(text, known) for text in dict.fromkeys((keywords(question), question))),
        asks=f"{question[:1].upper()}{question[1:]}?",
        says=f"it is {_unquoted(hop.answer)}",
        subject=" ".join(known),
        values=(hop.answer, *trusted(accepted)),
        title=hop.title,
        after=after,
        worded=True,
    )


def _bare(answer: str) -> str:
    """An answer as part of a question: ``in London`` is ``London`` there."""
    return re.sub(r"^(?:in|at|on|under|by|from|to) ", "", _unquoted(answer))


def _unquoted(answer: str) -> str:
    """An answer without quotation marks and the full stop in them."""
    return clean(answer.replace('."', '"'))


# Evidence triples, as 2WikiMultiHopQA has them


def _of_triple(question: Question, at: int, title: str) -> Fact:
    """A triple; where its subject is an earlier object, or the question does not name it, it comes after that one."""
    subject, name, value = question.triples[at]
    calls = [one for one in (plain(subject), plain(title), clean(title)) if one]
    named = [one for one in calls if share(one, question.example.question) == 1]
    before = _linked(question.triples, at)
    if before is None and not named:
        before = _likely(question.triples, at)
    if before is not None:
        calls.insert(0, plain(question.triples[before][2]))
    called = calls[0] if before is not None else named[0]
    form = relation(name)
    values = form.objects(value)
    ways = {form.query.format(s=clean(one)): one for one in calls} | {clean(one): one for one in calls}
    return Fact(
        queries=tuple(Query(text, tuple(content(one))) for text, one in ways.items()),
        asks=form.asks.format(s=called),
        says=form.says.format(s=called, o=values[0]),
        subject=subject,
        values=values,
        title=title,
        after=() if before is None else (before,),
    )


def _linked(triples: Sequence[Triple], at: int) -> int | None:
    """The earlier triple whose object is this one's subject."""
    return next((i for i in range(at - 1, -1, -1) if _same(triples[i][2], triples[at][0])), None)


def _likely(triples: Sequence[Triple], at: int) -> int:
    """The same, where the names differ: the one with the object most alike that leads to no other."""
    taken = {_linked(triples, other) for other in range(len(triples))}
    free = [i for i in range(at) if i not in taken]
    if not free:
        raise Rejected(UNKNOWN)
    return max(free, key=lambda i: (share(triples[i][2], triples[at][0]), i))


def _titles_of(subjects: Sequence[str], titles: Sequence[str]) -> list[str]:
    """Each subject's gold passage: the one of its name, else of those left over the most alike; or empty."""
    named = {subject: title for subject in subjects for title in sorted(titles, key=len) if _same(title, subject)}
    left = [title for title in titles if title not in named.values()]
    strange = [subject for subject in dict.fromkeys(subjects) if subject not in named]
    for subject in strange:
        best = max(left, key=lambda title: share(title, subject), default="")
        if best and (share(best, subject) >= _HALF or len(left) == len(strange) == 1):
            named[subject] = best
            left.remove(best)
    return [named.get(subject, "") for subject in subjects]


def _same(one: str, other: str) -> bool:
    return same(plain(one), plain(other))


# Titles of supporting passages, as HotpotQA has them: that they are needed is known, what for is not


def _place(name: str, question: str) -> int:
    """Where a question names a passage; after its end where it does not."""
    at = f" {words(question)} ".find(f" {words(name)} ")
    return at if at >= 0 else len(question)


def _of_title(title: str, question: str) -> Fact:
    """A gold passage; its name has to be known before it can be looked up."""
    name = plain(title)
    kind = [word for word in content(title[len(name) :]) if word in words(question).split()] if name != title else []
    ways = dict.fromkeys(clean(way) for way in (name, " ".join([name, *kind]), keywords(question)))
    return Fact(tuple(Query(way, (name,)) for way in ways), name, title=title)
