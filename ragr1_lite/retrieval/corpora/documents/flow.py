"""The lines of a text in XML, whatever the names of its elements: paragraphs, and the rows of tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ragr1_lite.retrieval.corpora.documents.packed import Event


@dataclass(frozen=True, slots=True)
class Tags:
    """The names of a format's elements, without their namespaces.

    Attributes:
        paragraphs: Whose text is a line of its own, unless they are in a cell.
        row: A table's row, a line with bars between its cells.
        cell: A table's cell.
        texts: Those inside paragraphs that hold their text; any, where none is named.
        blanks: What stands for a tab, a line break or several blanks.
        unseen: What is left out with all that is in it.
        noted: Whose attributes are handed on with a line, and the element at whose end they are forgotten.
    """

    paragraphs: frozenset[str]
    row: str
    cell: str
    texts: frozenset[str]
    blanks: frozenset[str]
    unseen: frozenset[str]
    noted: dict[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """A paragraph or a row, with the attributes that were noted, by the name of their element."""

    text: str
    noted: dict[str, dict[str, str]] = field(default_factory=dict)


def lines(events: Iterable[Event], tags: Tags) -> Iterator[Line]:
    """The lines that have a text; a table in a cell is a part of that cell."""
    noted: dict[str, dict[str, str]] = {}
    paragraphs: list[list[str]] = []
    rows: list[list[list[str]]] = []
    reading = unseen = 0
    for kind, value, attributes in events:
        if unseen or (kind == "start" and value in tags.unseen):
            unseen += {"start": 1, "end": -1, "text": 0}[kind]
        elif kind == "text":
            if paragraphs and (reading or not tags.texts):
                paragraphs[-1].append(value)
        elif kind == "start":
            if value in tags.noted:
                noted[value] = attributes
            if value in tags.paragraphs:
                paragraphs.append([])
            elif value == tags.row:
                rows.append([])
            elif value == tags.cell and rows:
                rows[-1].append([])
            elif value in tags.blanks and paragraphs:
                paragraphs[-1].append(" ")
            reading += value in tags.texts
        else:
            reading -= value in tags.texts
            if text := _ended(value, tags, paragraphs, rows):
                yield Line(text, dict(noted))
            for name in [name for name in noted if tags.noted[name] == value]:
                del noted[name]


def _ended(element: str, tags: Tags, paragraphs: list[list[str]], rows: list[list[list[str]]]) -> str:
    """The text of a paragraph or a row that ends here, unless it belongs into a cell."""
    text = ""
    if element in tags.paragraphs and paragraphs:
        text = " ".join("".join(paragraphs.pop()).split())
    elif element == tags.row and rows:
        cells = [" ".join(cell) for cell in rows.pop()]
        text = " | ".join(cells) if any(cells) else ""
    if text and rows and rows[-1]:
        rows[-1][-1].append(text)
        return ""
    return text
