"""Plain text and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.retrieval.corpora.documents.passages import BAR, PAIR, Document, Part, sections, weight_of

BLANK_LINES = re.compile(r"\n\s*\n")
_BREAKS = {"softbreak": "\n", "hardbreak": "\n", "html_inline": ""}
"""Markdown's inline tokens that stand for other text than their content."""
_NOT_WESTERN = re.compile(r"[À-ÿ]{3}|[^\W\d_][¡-©«¬¯±-³¶¸¹»-¿€‚ƒ„†‡ˆ‰‹›•˜][^\W\d_]")
"""What Cyrillic, Greek, Polish, Japanese and others look like in Windows-1252: rows of accents, signs within words."""
_TITLE = re.compile(r"[^\W\d_](?:.*[^\s.:;,!?…。！？])?")
_LONGEST_TITLE = 8
_TAG = re.compile(r"<[^<>]*>")


def read_text(data: bytes) -> Document:
    """Plain text; blank lines are between paragraphs, and a short first line that is one names the text."""
    paragraphs = BLANK_LINES.split(decoded(data).strip())
    first = paragraphs[0].strip() if len(paragraphs) > 1 else ""
    named = _TITLE.fullmatch(first) and weight_of(first) <= _LONGEST_TITLE and not PAIR.match(first)
    return Document(first if named and BAR not in first else "", [Part(paragraphs)])


def read_markdown(data: bytes) -> Document:
    """Markdown; the title is its front matter's, or its first heading."""
    named, body = _front_matter(decoded(data))
    lines = list(_markdown_lines(body))
    title = named or next((text for level, text in lines if level), "")
    return Document(title, sections(lines, title))


def decoded(data: bytes) -> str:
    """Text in Unicode or else in Windows-1252, Latin-1's larger kin, unless it reads as none of its languages does."""
    try:
        return in_unicode(data)
    except BadLine:
        with suppress(UnicodeDecodeError):
            text = data.decode("cp1252")
            if "\0" not in text and not _NOT_WESTERN.search(text):
                return _with_line_feeds(text)
        raise


def in_unicode(data: bytes) -> str:
    """Text in UTF-8 or, with a byte-order mark, UTF-16; its lines end in a line feed. Raises BadLine for others."""
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\0" in data and not marked:
        raise BadLine("is binary, not text")
    try:
        return _with_line_feeds(data.decode("utf-16" if marked else "utf-8-sig"))
    except UnicodeDecodeError:
        raise BadLine("is not UTF-8: save it as UTF-8") from None


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ")


def _markdown_lines(body: str) -> Iterator[tuple[int, str]]:
    """Paragraphs with the levels of headings."""
    from markdown_it import MarkdownIt

    cells: list[str] | None = None
    level = 0
    for token in MarkdownIt("commonmark").enable("table").parse(body):
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif token.type == "inline":
            text = "".join(_BREAKS.get(child.type, child.content) for child in token.children or [])
            line = text.replace("\n", " ")
            if cells is not None:
                cells.append(line)
            elif level:
                yield level, line
            else:
                parts = text.split("\n")
                pairs = len(parts) > 1 and all(map(PAIR.match, parts))  # `Key: value` lines are no running text
                yield from ((0, one) for one in (parts if pairs else [line]))
            level = 0
        elif token.type in ("fence", "code_block"):
            yield 0, token.content
        elif token.type == "html_block":
            yield 0, _TAG.sub(" ", token.content)
        elif token.type == "tr_open":
            cells = []
        elif token.type == "tr_close" and cells is not None:
            yield 0, " | ".join(cells)
            cells = None


def _front_matter(text: str) -> tuple[str, str]:
    """Takes the lines between ``---`` off the beginning; returns their title and the rest."""
    if not text.startswith("---\n"):
        return "", text
    head, end, rest = text[4:].partition("\n---\n")
    if not end:
        return "", text
    titles = [line.partition(":")[2] for line in head.splitlines() if line.startswith("title:")]
    return (titles[0].strip().strip("\"'") if titles else ""), rest
