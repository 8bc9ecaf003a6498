"""EPUB: the chapters of a book in their order."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.retrieval.corpora.documents import html
from ragr1_lite.retrieval.corpora.documents.packed import Package, within
from ragr1_lite.retrieval.corpora.documents.passages import Document, Part, sections

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
            named, lines = html.lines_of(package.read(file))
        except BadLine:
            lost += 1
            continue
        yield from sections(lines, title)
    if lost:
        raise BadLine(f"has {lost} of {len(order)} chapters that cannot be read")
