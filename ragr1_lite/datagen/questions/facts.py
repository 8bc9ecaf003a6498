"""Facts as triples: what a question asks for, of what, and the answer; and the files they come in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ragr1_lite.core.events import Report, ignore
from ragr1_lite.datagen.gold.text import stands_in
from ragr1_lite.files.json_lines import BadLine, BadLines, parsed
from ragr1_lite.files.reading import rows_of
from ragr1_lite.files.rows import Row, Wanted
from ragr1_lite.files.sources import find_rows

FORM = (
    'A line of a facts file looks like {"subject": "…", "relation": "…", "object": "…"}, or holds them as "evidences"; '
    "a table has these columns."
)
_KEYS = (("subject",), ("relation", "predicate", "property"), ("object", "value"))
FACTS = Wanted(
    what="facts file",
    hint="Facts are JSON lines (.jsonl), a JSON array (.json), a table (.tsv, .csv, .parquet) or hub:OWNER/NAME.",
    line=FORM,
    table=FORM,
    keys=(*chain(*_KEYS), "evidences"),
    needed=("subject", "evidences"),
    unnamed=lambda first: None,
)


@dataclass(frozen=True, slots=True)
class Fact:
    """The ``relation`` of ``subject`` is ``object``.

    Attributes:
        subject: As a question calls it.
        relation: A noun.
        object: The answer.
        title: The passage that says so, where it is known.
        key: The subject as its source calls it: another fact's object leads to it by this name alone.
    """

    subject: str
    relation: str
    object: str
    title: str = ""
    key: str = ""

    @property
    def triple(self) -> tuple[str, str, str]:
        """Without its source."""
        return self.subject, self.relation, self.object


def holds(text: str, forms: Sequence[str]) -> bool:
    """Whether one of the forms stands in a text, whole words of it."""
    return any(stands_in(form, text) for form in forms)


def read_facts(path: Path, report: Report = ignore) -> Iterator[Fact]:
    """Reads triples one after the other; 2WikiMultiHopQA's own files fit.

    Raises:
        DataError: The file is missing, of another form, or has no fact.
    """
    source = find_rows(path, FACTS)
    rows = ((source.place(place), row) for place, row in rows_of(source, FACTS))
    for facts in parsed(rows, _parse, BadLines(FORM, "rows"), path, report):
        yield from facts


def _parse(row: Row | BadLine, number: int) -> list[Fact]:
    if isinstance(row, BadLine):
        raise row
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
