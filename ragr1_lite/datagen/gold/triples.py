"""Facts of evidence triples, as 2WikiMultiHopQA has them."""

from __future__ import annotations

from collections.abc import Sequence

from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.facts import HALF, UNKNOWN, Fact, Query, Rejected
from ragr1_lite.datagen.gold.relations import relation
from ragr1_lite.datagen.gold.text import clean, content, plain, same, share

Triple = tuple[str, str, str]


def of_triples(question: Question) -> tuple[Fact, ...]:
    """One fact a triple; a subject that is an earlier object, or that the question does not name, comes after."""
    titles = _titles_of([subject for subject, _, _ in question.triples], question.example.titles)
    return tuple(_of_triple(question, at, title) for at, title in enumerate(titles))


def _of_triple(question: Question, at: int, title: str) -> Fact:
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
    """The earlier triple of which the object is this one's subject."""
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
        if best and (share(best, subject) >= HALF or len(left) == len(strange) == 1):
            named[subject] = best
            left.remove(best)
    return [named.get(subject, "") for subject in subjects]


def _same(one: str, other: str) -> bool:
    return same(plain(one), plain(other))
