"""Facts on firm ground: each with the passage that says it, a name that means one thing, and no second object."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from ragr1_lite.core.types import Passage, Searcher
from ragr1_lite.datagen.gold.text import plain, sentences, words
from ragr1_lite.datagen.gold.values import forms, read_date, read_quantity
from ragr1_lite.datagen.questions.facts import Fact, holds
from ragr1_lite.datagen.questions.wording import is_dated, relation_name

WIDE = 10
"""Passages looked at for a fact and for its subject's namesakes."""

_AT_ONCE = 256
_LONGEST_NAME = 12


def ground(facts: Iterable[Fact], searcher: Searcher) -> tuple[list[Fact], Counter[str]]:
    """The facts that questions can be made of, in their order, and how many others fell for which reason.

    Args:
        facts: As they were read; those without a title are looked for in the index.
        searcher: The index.

    Returns:
        Facts whose title is that of the passage that says so, and whose subject is the name to ask by.
    """
    fallen: Counter[str] = Counter()
    groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for one in _placed(facts, searcher):
        if isinstance(one, str):
            fallen[one] += 1
        else:
            groups[words(one.subject), one.relation].append(one)
    sound = []
    for group in groups.values():
        if len({_meaning(fact) for fact in group}) > 1:
            fallen["fact: more than one answer"] += len(group)
            continue
        sound.append(group[0])
        fallen["fact: said twice"] += len(group) - 1
    return sound, +fallen


def _meaning(fact: Fact) -> object:
    """What equal objects have in common, however they are written."""
    text = plain(fact.object)
    return read_date(text, years=is_dated(fact.relation)) or read_quantity(text) or words(text)


def _placed(facts: Iterable[Fact], searcher: Searcher) -> Iterator[Fact | str]:
    """Each fact with its passage's title and a name of its own, or why it has none."""
    source = iter(facts)
    while batch := list(islice(source, _AT_ONCE)):
        queries = [query for fact in batch for query in (plain(fact.subject), f"{plain(fact.subject)} {fact.relation}")]
        found = iter(searcher.search(queries, WIDE))
        for fact in batch:
            fact = replace(fact, relation=relation_name(fact.relation), key=fact.subject)
            yield _place(fact, next(found), next(found))


def _place(fact: Fact, by_name: Sequence[Passage], by_relation: Sequence[Passage]) -> Fact | str:
    bare = words(plain(fact.subject))
    if not bare or fact.subject.count("(") != fact.subject.count(")") or len(bare.split()) > _LONGEST_NAME:
        return "fact: a name that cannot be asked by"
    own = {passage.title for passage in (*by_name, *by_relation) if words(plain(passage.title)) == bare}
    saying = [fact.title] if fact.title else _saying(fact, (*by_name, *by_relation), own)
    if not saying:
        return "fact: no passage says so"
    title = fact.subject if fact.subject in saying else saying[0]
    if len(own) <= 1:
        return replace(fact, subject=plain(fact.subject), title=title)
    if title not in own or title == plain(title) or (len(saying) > 1 and title != fact.subject):
        return "fact: several passages bear the subject's name"
    return replace(fact, subject=title, title=title)


def _saying(fact: Fact, passages: Iterable[Passage], own: set[str]) -> list[str]:
    """Titles of the passages that say so: those about the subject, else those with both in one sentence or line."""
    wanted, name = forms(plain(fact.object)), [plain(fact.subject)]
    there = [passage for passage in passages if holds(passage.text, wanted)]
    about = [passage.title for passage in there if passage.title in own]
    others = (passage for passage in there if holds(passage.text, name))
    apart = [passage.title for passage in others if any(holds(s, name) and holds(s, wanted) for s in _parts(passage))]
    return list(dict.fromkeys(about or apart))


def _parts(passage: Passage) -> list[str]:
    return [sentence for line in passage.text.splitlines() for sentence in sentences(line)]
