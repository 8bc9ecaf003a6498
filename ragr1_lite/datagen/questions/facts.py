"""Facts as triples: read from files, and grounded in the passages of an index."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import Passage, Searcher
from ragr1_lite.datagen.gold.text import plain, sentences, stands_in, words
from ragr1_lite.datagen.gold.values import forms, read_date, read_quantity
from ragr1_lite.datagen.questions.wording import is_dated, relation_name
from ragr1_lite.files.json_lines import BadLine, BadLines, Row, Wanted, parsed
from ragr1_lite.files.sources import find_rows, rows_of

_FORM = (
    'A line of a facts file looks like {"subject": "…", "relation": "…", "object": "…"}, or holds them as "evidences"; '
    "a table has these columns."
)
_KEYS = (("subject",), ("relation", "predicate", "property"), ("object", "value"))
_WANTED = Wanted(
    what="facts file",
    hint="Facts are JSON lines (.jsonl), a JSON array (.json), a table (.tsv, .csv, .parquet) or hub:OWNER/NAME.",
    line=_FORM,
    table=_FORM,
    keys=(*chain(*_KEYS), "evidences"),
    needed=("subject", "evidences"),
    unnamed=lambda first: None,
)
_SEARCHED = 10
"""Passages searched for a fact and for its subject's namesakes."""
_AT_ONCE = 256
_LONGEST_NAME = 12


@dataclass(frozen=True, slots=True)
class Fact:
    """The ``relation``, a noun, of ``subject`` is ``object``.

    ``title`` is that of the passage with the fact, where it is known. ``key`` is the subject as its source names it:
    another fact's object leads to it by this name alone.
    """

    subject: str
    relation: str
    object: str
    title: str = ""
    key: str = ""

    @property
    def triple(self) -> tuple[str, str, str]:
        """The fact without its source."""
        return self.subject, self.relation, self.object


def holds(text: str, forms: Sequence[str]) -> bool:
    """Whether one of the forms stands in a text, by whole words."""
    return any(stands_in(form, text) for form in forms)


def read_facts(path: Path, report: Report = ignore) -> Iterator[Fact]:
    """Reads triples one after the other; 2WikiMultiHopQA's own files fit.

    Raises:
        DataError: The file is missing, of another form, or has no fact.
    """
    source = find_rows(path, _WANTED)
    rows = ((source.place(place), row) for place, row in rows_of(source, _WANTED))
    for facts in parsed(rows, _parse, BadLines(_FORM, "rows"), f"There is nothing in {path}", report):
        yield from facts


def _parse(row: Row, number: int) -> list[Fact]:
    triples = row.get("evidences")
    if triples is None:
        return [_fact([next((row[key] for key in keys if key in row), None) for keys in _KEYS])]
    if not isinstance(triples, list) or not all(isinstance(triple, list) for triple in triples):
        raise BadLine("has `evidences` that are no list of triples")
    return [_fact(triple) for triple in triples]


def _fact(triple: Sequence[object]) -> Fact:
    texts = [" ".join(str(part).split()) for part in triple if isinstance(part, str | int | float)]
    if len(texts) != 3 or len(triple) != 3 or not all(texts):
        raise BadLine("has no subject, relation and object")
    if any(text.count('"') % 2 for text in texts):
        raise BadLine("has quotes that do not fit")
    return Fact(*texts)


def ground(facts: Iterable[Fact], searcher: Searcher) -> tuple[list[Fact], Counter[str]]:
    """Finds the passage of each fact and a name for its subject that means one thing; drops facts with two objects.

    Returns:
        The facts that questions can be made of, in order, with their passage's title and the subject's name; and how
        many others were rejected for which reason.
    """
    rejected: Counter[str] = Counter()
    groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for one in _placed(facts, searcher):
        if isinstance(one, str):
            rejected[one] += 1
        else:
            groups[words(one.subject), one.relation].append(one)
    kept = []
    for group in groups.values():
        if len({_meaning(fact) for fact in group}) > 1:
            rejected["fact: more than one answer"] += len(group)
            continue
        kept.append(group[0])
        rejected["fact: said twice"] += len(group) - 1
    return kept, +rejected


def _meaning(fact: Fact) -> object:
    """What equal objects have in common, however they are written."""
    text = plain(fact.object)
    return read_date(text, years=is_dated(fact.relation)) or read_quantity(text) or words(text)


def _placed(facts: Iterable[Fact], searcher: Searcher) -> Iterator[Fact | str]:
    """Each fact with its passage's title and a name of its own, or why it has none."""
    source = iter(facts)
    while batch := list(islice(source, _AT_ONCE)):
        queries = [query for fact in batch for query in (plain(fact.subject), f"{plain(fact.subject)} {fact.relation}")]
        found = iter(searcher.search(queries, _SEARCHED))
        for fact in batch:
            fact = replace(fact, relation=relation_name(fact.relation), key=fact.subject)
            yield _place(fact, (*next(found), *next(found)))


def _place(fact: Fact, passages: Sequence[Passage]) -> Fact | str:
    name = plain(fact.subject)
    bare = words(name)
    if not bare or fact.subject.count("(") != fact.subject.count(")") or len(bare.split()) > _LONGEST_NAME:
        return "fact: a name that cannot be asked by"
    own = {passage.title for passage in passages if words(plain(passage.title)) == bare}
    titles = [fact.title] if fact.title else _titles_with(fact, passages, own)
    if not titles:
        return "fact: no passage says so"
    title = fact.subject if fact.subject in titles else titles[0]
    if len(own) <= 1:
        return replace(fact, subject=name, title=title)
    if title not in own or title == plain(title) or (len(titles) > 1 and title != fact.subject):
        return "fact: several passages with the subject's name"
    return replace(fact, subject=title, title=title)


def _titles_with(fact: Fact, passages: Iterable[Passage], own: set[str]) -> list[str]:
    """Titles of the passages with a fact: those about its subject, else those with both in one sentence or line."""
    wanted, name = forms(plain(fact.object)), [plain(fact.subject)]
    having = [passage for passage in passages if holds(passage.text, wanted)]
    about = [passage.title for passage in having if passage.title in own]
    others = (passage for passage in having if holds(passage.text, name))
    parts = [(one.title, part) for one in others for part in sentences(one.text)]
    both = (title for title, part in parts if holds(part, name) and holds(part, wanted))
    return list(dict.fromkeys(about or both))
