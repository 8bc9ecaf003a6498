"""HTML and EPUB, whose chapters are HTML: the text, with the headings it stands under.

No script is run, no link followed, no other file loaded.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.retrieval.corpora.documents.packed import Package, within
from ragr1_lite.retrieval.corpora.documents.passages import Document, Part, sections
from ragr1_lite.retrieval.corpora.documents.text import in_unicode

_CHARSET = re.compile(rb"""<meta[^>]{1,200}?charset\s*=\s*["']?([\w-]{1,40})""", re.IGNORECASE)
_UNSEEN = ["script", "style", "noscript", "template", "svg", "nav", "head"]
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = (
    "address, article, aside, blockquote, br, dd, div, dl, dt, figcaption, figure, footer, h1, h2, h3, h4, h5, h6, "
    "header, hr, li, main, ol, p, pre, section, table, tr, ul"
)
_LAYING_OUT = "h1, h2, h3, h4, h5, h6, table, ul, ol, dl, pre, blockquote, p ~ p, div ~ div"
"""What a table holds that lays out a page; the rows of others are lines of cells."""
_CELLS_AFTER, _VALUES = ":is(td, th) + :is(td, th)", "th:first-child + td:last-child"
_TAGS = re.compile(r"<(?P<end>/?)(?P<name>[a-zA-Z][\w-]*)(?:[^<>]*(?P<closed>/)>)?")
_NEED_NO_END = frozenset(
    """
    a area base br col colgroup dd dt embed hr img input li link meta nobr option p param source tbody td tfoot th thead
    tr wbr
""".split()
)
_REOPENED = frozenset("b big code em font i s small strike strong tt u".split())
"""Elements that, left open, a parser opens again in every paragraph."""
_MOST_OPEN, _MOST_NODES = 2000, 2**22
_MARK = "\x01"
"""Begins a heading, as often as its level says, among the blocks that form feeds are between."""


def read_html(data: bytes) -> Document:
    """HTML; scripts, styles and navigation are left out."""
    title, lines = lines_of(data)
    return Document(title, sections(lines, title))


def lines_of(data: bytes) -> tuple[str, Iterator[tuple[int, str]]]:
    """The title and the paragraphs of a page, with the levels of headings."""
    from selectolax.lexbor import LexborHTMLParser

    source = _decoded(data).replace(_MARK, " ")
    _refuse_nesting(source)
    tree = LexborHTMLParser(source)
    heading = tree.css_first("title") or tree.css_first("h1")
    title = " ".join(heading.text().split()) if heading else ""
    tree.strip_tags(_UNSEEN)
    within, between = _of_tables(tree)
    for block in tree.css(_BLOCKS):
        edge = " " if block.mem_id in within else "\f"
        block.insert_before(edge + _MARK * _HEADINGS.get(block.tag or "", 0))
        block.insert_after(edge)
    for cell in tree.css("td, th"):
        cell.insert_before(between.get(cell.mem_id, " "))
    blocks = [block for block in tree.body.text().split("\f") if block.strip("| \n\t")] if tree.body else []
    return title, ((len(block) - len(block.lstrip(_MARK)), block.lstrip(_MARK)) for block in blocks)


def _refuse_nesting(source: str) -> None:
    """Raises BadLine where a parser would take the square of time or memory: elements are left open without end."""
    is_open, depth, reopened, nodes = Counter[str](), 0, 0, 0
    for tag in _TAGS.finditer(source):
        name = tag["name"].lower()
        drawn = tag["closed"] and (is_open["svg"] or is_open["math"]) and name not in _REOPENED
        ignored = name in _NEED_NO_END or drawn or (tag["end"] and not is_open[name])
        change = 0 if ignored else -1 if tag["end"] else 1
        is_open[name] += change
        depth += change
        reopened += change * (name in _REOPENED)
        nodes += 1 + reopened
        if depth > _MOST_OPEN or nodes > _MOST_NODES:
            raise BadLine("is nested too deeply")


def _of_tables(tree: Any) -> tuple[set[int], dict[int, str]]:
    """Of tables whose rows are lines: what is in their cells, and what is before a row's later cells.

    A table of no columns but names and values has ``Key: value`` lines.
    """
    laid_out, within, between = set[int](), set[int](), dict[int, str]()
    for one in tree.css(_LAYING_OUT):
        while (one := one.parent) and one.mem_id not in laid_out:
            laid_out.add(one.mem_id)
    for table in tree.css("table"):
        if table.mem_id not in laid_out:
            within |= {block.mem_id for cell in table.css("td, th") for block in cell.css("*")}
            between |= {cell.mem_id: " | " for cell in table.css(_CELLS_AFTER)}
            if not table.css_first("th + th"):
                between |= {cell.mem_id: ": " for cell in table.css(_VALUES)}
    return within, between


def _decoded(data: bytes) -> str:
    """HTML may name its encoding itself."""
    try:
        return in_unicode(data)
    except BadLine:
        named = _CHARSET.search(data[:4096])
        if not named:
            raise
        try:
            return data.decode(named[1].decode(), errors="replace").replace("\0", " ")
        except LookupError:
            raise BadLine(f"is in an unknown encoding, {named[1].decode()}") from None


_CONTAINER = "META-INF/container.xml"


def read_epub(data: bytes) -> Document:
    """A book; its chapters' headings are places."""
    package = Package(data)
    if "META-INF/rights.xml" in package.names:
        raise BadLine("is protected against copying (DRM)")
    roots = [one for kind, name, one in package.events(_CONTAINER) if (kind, name) == ("start", "rootfile")]
    if not roots:
        raise BadLine(f"names no book in {_CONTAINER}")
    main = within("", roots[0].get("full-path", ""))
    title = package.title(main)
    return Document(title, _chapters(package, main, title))


def _chapters(package: Package, main: str, title: str) -> Iterator[Part]:
    files: dict[str, str] = {}
    order: list[str] = []
    for kind, name, attributes in package.events(main):
        if kind == "start" and name == "item":
            files[attributes.get("id", "")] = within(posixpath.dirname(main), attributes.get("href", ""))
        elif kind == "start" and name == "itemref":
            order.append(files.get(attributes.get("idref", ""), ""))
    lost = 0
    for file in order:
        try:
            named, lines = lines_of(package.read(file))
        except BadLine:
            lost += 1
            continue
        yield from sections(lines, title)
    if lost:
        raise BadLine(f"has {lost} of {len(order)} chapters that cannot be read")
