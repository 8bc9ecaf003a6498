"""Facts as triples: what a question asks for, of what, and the answer; and the files they come in."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.errors import DataError
from ragr1_lite.events import Report, ignore
from ragr1_lite.jsonlines import COMPRESSED, BadLine, BadLines, numbered_lines, read_rows
from ragr1_lite.pipeline.gold.text import stands_in

FORM = (
    'A line of a facts file looks like {"subject": "…", "relation": "…", "object": "…"}, or holds them as "evidences"; '
    "a table (.csv, .tsv) has these columns."
)
_KEYS = (("subject",), ("relation", "predicate", "property"), ("object", "value"))


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
    suffix = next((end for end in reversed(path.suffixes) if end not in COMPRESSED), "")
    if suffix in (".csv", ".tsv"):
        yield from _read_table(path, "," if suffix == ".csv" else "\t", report)
        return
    for facts in read_rows(path, _parse, FORM, report):
        yield from facts


def _parse(row: dict[str, Any], number: int) -> list[Fact]:
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
    return Fact(*texts)


def _read_table(path: Path, mark: str, report: Report) -> Iterator[Fact]:
    bad, columns, good = BadLines(FORM), None, 0
    for number, line in numbered_lines(path, FORM):
        bad.read += 1
        try:
            fields = _fields(line, mark)
            if columns is None:
                columns = _columns(fields, path)
                continue
            if len(fields) <= max(columns):
                raise BadLine("has too few columns")
            fact = _fact([fields[column] for column in columns])
        except BadLine as problem:
            bad.add(f"{path}:{number}", str(problem))
            continue
        good += 1
        yield fact
    if not good:
        raise DataError(f"There is nothing in {path}{bad.first}", FORM)
    bad.tell(report)


def _fields(line: bytes, mark: str) -> list[str]:
    try:
        return next(csv.reader([line.decode().rstrip("\r\n")], delimiter=mark, strict=True))
    except UnicodeDecodeError:
        raise BadLine("is not UTF-8") from None
    except csv.Error as error:
        raise BadLine(f"has quotes that do not fit ({error})") from None


def _columns(header: list[str], path: Path) -> list[int]:
    names = [name.strip().lower() for name in header]
    columns = [names.index(key) for keys in _KEYS for key in keys[:] if key in names]
    if len(columns) != len(_KEYS):
        raise DataError(f"{path} has no columns subject, relation and object in its first line", FORM)
    return columns
