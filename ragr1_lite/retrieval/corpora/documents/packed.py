"""XML in ZIP files, which most office formats are: read in a stream, with bounds, without entities.

What is read are lines, whatever the names of a format's elements: paragraphs, and the rows of tables.
"""

from __future__ import annotations

import io
import posixpath
import zlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import unquote
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile

from ragr1_lite.files.json_lines import BadLine

MAX_UNPACKED = 512 * 2**20
_MOST_FILES = 50_000
_CHUNK = 2**16
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_BROKEN = (BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError, zlib.error)
"""What ``zipfile`` raises of broken files, of encrypted ones, and of compressions it does not know."""

Event = tuple[str, str, dict[str, str]]
"""``start``, ``end`` or ``text``; the element's name without its namespace, or the text; attributes likewise."""


class Package:
    """A ZIP file of which at most ``MAX_UNPACKED`` bytes are unpacked, whatever it says of itself."""

    def __init__(self, data: bytes) -> None:
        if data.startswith(_OLD_OFFICE):
            raise BadLine("is protected by a password or in a format from before 2007: save it anew, without one")
        if data.count(b"PK\x01\x02") > _MOST_FILES:
            raise BadLine(f"has more than {_MOST_FILES:,} files in it")
        try:
            self._zip = ZipFile(io.BytesIO(data))
            self.names: Container[str] = {*self._zip.namelist()}
        except _BROKEN as error:
            raise BadLine(f"is not a whole file of its kind ({error})") from None
        self._left = MAX_UNPACKED

    def read(self, name: str) -> bytes:
        """One file of it; raises BadLine where it is missing or broken."""
        return b"".join(self._chunks(name))

    def events(self, name: str) -> Iterator[Event]:
        """The elements and texts of an XML file in it, in order; raises BadLine where it is missing or broken."""
        found: list[Event] = []
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = lambda tag, attributes: found.append(
            ("start", _local(tag), {_local(key): value for key, value in attributes.items()})
        )
        parser.EndElementHandler = lambda tag: found.append(("end", _local(tag), {}))
        parser.CharacterDataHandler = lambda text: found.append(("text", text, {}))
        parser.EntityDeclHandler = _refuse_entity
        try:
            for chunk in self._chunks(name):
                parser.Parse(chunk)
                yield from found
                found.clear()
            parser.Parse(b"", True)
            yield from found
        except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: of its encoding
            yield from found
            raise BadLine(f"has a broken part, {name} ({error})") from None

    def targets(self, name: str) -> dict[str, str]:
        """The files that a file of Microsoft's formats refers to, by the ids it uses for them."""
        folder, file = posixpath.split(name)
        links = f"{folder}/_rels/{file}.rels"
        if links not in self.names:
            return {}
        found = (attributes for kind, tag, attributes in self.events(links) if (kind, tag) == ("start", "Relationship"))
        return {one.get("Id", ""): within(folder, one.get("Target", "")) for one in found}

    def title(self, name: str) -> str:
        """The title in a file of Dublin Core's words; empty where there is none."""
        title, inside = "", False
        for kind, value, _ in self.events(name) if name in self.names else ():
            if (kind, value) == ("start", "title") and not title:
                inside = True
            elif (kind, value) == ("end", "title"):
                inside = False
            elif kind == "text" and inside:
                title += value
        return " ".join(title.split())

    def _chunks(self, name: str) -> Iterator[bytes]:
        if name not in self.names:
            raise BadLine(f"has no {name}, so it is broken or of another kind than its name says")
        try:
            with self._zip.open(name) as file:
                yield from self._bounded(file)
        except _BROKEN as error:
            raise BadLine(f"has a broken part, {name} ({error})") from None

    def _bounded(self, file: IO[bytes]) -> Iterator[bytes]:
        while chunk := file.read(_CHUNK):
            self._left -= len(chunk)
            if self._left < 0:
                raise BadLine(f"unpacks to more than {MAX_UNPACKED // 2**20} MiB")
            yield chunk


def within(folder: str, target: str) -> str:
    """The name of a file that another one in ``folder`` refers to."""
    path = unquote(target.partition("#")[0])
    return path.lstrip("/") if path.startswith("/") else posixpath.normpath(posixpath.join(folder, path))


def whole(text: str, otherwise: int = 0) -> int:
    """A number as attributes have it; ``otherwise`` where it is none, or has more digits than anything counted here."""
    return int(text) if text.isdecimal() and len(text) < 10 else otherwise


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _refuse_entity(*_: object) -> None:
    raise BadLine("declares entities, which are not read")


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
