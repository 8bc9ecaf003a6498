"""Word, PowerPoint and OpenDocument's texts and slides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from ragr1_lite.retrieval.corpora.documents.packed import Line, Package, Tags, lines, whole
from ragr1_lite.retrieval.corpora.documents.passages import Document, Part, sections

CORE = "docProps/core.xml"
_MICROSOFT = frozenset({"t"}), frozenset({"tab", "br", "cr"}), frozenset({"Fallback", "moveFrom", "del"})
_WORD = Tags(frozenset({"p"}), "tr", "tc", *_MICROSOFT, {"pStyle": "p", "outlineLvl": "p", "numId": "p"})
_SLIDE = Tags(frozenset({"p"}), "tr", "tc", *_MICROSOFT, {"ph": "sp"})
_OPEN = Tags(
    frozenset({"p", "h"}),
    "table-row",
    "table-cell",
    frozenset(),
    frozenset({"tab", "s", "line-break"}),
    frozenset({"annotation", "tracked-changes", "forms", "note-citation"}),
    {"h": "h", "page": "page", "frame": "frame"},
)
_BODY = 9
"""The outline level of what is no heading, counted from 0."""
_SMALL_PRINT = {"sldNum", "dt", "ftr", "hdr"}
"""Placeholders of slides that hold numbers, dates, footers and headers."""


def read_docx(data: bytes) -> Document:
    """Word; headings are known by their styles' names and outline levels, whatever language Word spoke."""
    package = Package(data)
    levels = _levels(package)
    found = ((_level(line, levels), line.text) for line in lines(package.events("word/document.xml"), _WORD))
    title = package.title(CORE)
    return Document(title, _and_notes(package, sections(found, title)))


def read_pptx(data: bytes) -> Document:
    """PowerPoint; a slide is headed by its title and followed by its speaker's notes."""
    package = Package(data)
    return Document(package.title(CORE), _slides(package))


def read_odf(data: bytes) -> Document:
    """OpenDocument's texts and presentations."""
    package = Package(data)
    title = package.title("meta.xml")
    return Document(title, _open_parts(lines(package.events("content.xml"), _OPEN), title))


def _level(line: Line, levels: dict[str, int]) -> int:
    """1 and more for a heading, else 0; what a paragraph says of itself counts more than its style."""
    own = line.noted.get("outlineLvl", {}).get("val", "")
    if own.isdecimal():
        return whole(own, _BODY) + 1 if whole(own, _BODY) < _BODY else 0
    return levels.get(line.noted.get("pStyle", {}).get("val", ""), 0)


def _levels(package: Package) -> dict[str, int]:
    """The levels of heading styles by the styles' ids; those of a style that is based on another are the other's."""
    levels: dict[str, int] = {}
    based: dict[str, str] = {}
    style = ""
    for kind, name, attributes in package.events("word/styles.xml") if "word/styles.xml" in package.names else ():
        if kind != "start":
            continue
        value = attributes.get("val", "")
        if name == "style":
            style = attributes.get("styleId", "")
        elif name == "basedOn":
            based[style] = value
        elif name == "outlineLvl" and whole(value, _BODY) < _BODY:
            levels[style] = whole(value) + 1
        elif name == "name" and value.lower() == "title":
            levels[style] = 1
        elif name == "name" and value.lower().startswith("heading ") and whole(value[8:]):
            levels[style] = whole(value[8:])
    for style in based:
        above, seen = style, {style}
        while above not in levels and (above := based.get(above, "")) not in {"", *seen}:
            seen.add(above)
        if above in levels:
            levels[style] = levels[above]
    return levels


def _and_notes(package: Package, parts: Iterable[Part]) -> Iterator[Part]:
    yield from parts
    for kind in ("footnotes", "endnotes"):
        if f"word/{kind}.xml" in package.names:
            yield Part((line.text for line in lines(package.events(f"word/{kind}.xml"), _WORD)), kind)


def _slides(package: Package) -> Iterator[Part]:
    main = "ppt/presentation.xml"
    targets = package.targets(main)
    slides = [
        targets.get(attributes.get("id", ""), "")
        for kind, name, attributes in package.events(main)
        if (kind, name) == ("start", "sldId")
    ]
    for number, slide in enumerate(slides, start=1):
        shown = [line for line in lines(package.events(slide), _SLIDE) if _kind(line) not in _SMALL_PRINT]
        heading = next((line.text for line in shown if _kind(line) in ("title", "ctrTitle")), "")
        notes = [
            line.text
            for name in package.targets(slide).values()
            if "/notesSlide" in name and name in package.names
            for line in lines(package.events(name), _SLIDE)
            if _kind(line) not in _SMALL_PRINT
        ]
        yield Part([*(line.text for line in shown), *notes], f"slide {number}", heading)


def _kind(line: Line) -> str:
    """The type of the placeholder that a slide's line is in."""
    return line.noted.get("ph", {}).get("type", "")


def _open_parts(found: Iterable[Line], title: str) -> Iterator[Part]:
    """The sections of a text, or the slides of a presentation, which have a page around them."""
    slides = 0
    for name, some in groupby(found, key=lambda line: line.noted.get("page", {}).get("name")):
        if name is None:
            headings = ((line.noted.get("h", {"outline-level": "0"}), line.text) for line in some)
            levels = ((one.get("outline-level", "1"), text) for one, text in headings)
            yield from sections(((whole(level, 1), text) for level, text in levels), title)
            continue
        slides += 1
        held = list(some)
        heading = next((line.text for line in held if line.noted.get("frame", {}).get("class") == "title"), "")
        yield Part([line.text for line in held], f"slide {slides}", heading)
