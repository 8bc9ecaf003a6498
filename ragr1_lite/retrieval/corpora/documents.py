"""Documents: plain text, Markdown, HTML and PDF, as a title and paragraphs, and these as passages of 100 words.

Only their text is taken: no script is run, no link followed, no other file loaded.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ragr1_lite.files.json_lines import BadLine

MAX_BYTES = 64 * 2**20
MAX_PAGES = 10_000
WORDS = 100
_CHARACTERS = 10
"""A word counts for one in ten characters at least, so that scripts without blanks are cut too."""
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*")

_PAIR = re.compile(r"[^:.]{1,40}: \S")
_BLANK_LINES = re.compile(r"\n\s*\n")
_HTML_CHARSET = re.compile(rb"""<meta[^>]{1,200}?charset\s*=\s*["']?([\w-]{1,40})""", re.IGNORECASE)
_BREAKS = {"softbreak": "\n", "hardbreak": "\n", "html_inline": ""}
"""Markdown's inline tokens that stand for other text than their content."""
_TAG = re.compile(r"<[^<>]*>")
_UNSEEN = ["script", "style", "noscript", "template", "svg", "nav", "head"]
_BLOCKS = (
    "address, article, aside, blockquote, br, dd, div, dl, dt, figcaption, figure, footer, h1, h2, h3, h4, h5, h6, "
    "header, hr, li, main, ol, p, pre, section, table, tr, ul"
)


@dataclass(frozen=True, slots=True)
class Document:
    """A document's text.

    ``title`` is empty where it has none; ``lost`` says, as the end of a sentence, what could not be read.
    """

    title: str
    paragraphs: list[str]
    lost: str = ""


def read_text(data: bytes) -> Document:
    """Plain text; blank lines are between paragraphs."""
    return Document("", _BLANK_LINES.split(_decoded(data)))


def read_markdown(data: bytes) -> Document:
    """Markdown; the title is its front matter's, or its first heading."""
    from markdown_it import MarkdownIt

    title, body = _front_matter(_decoded(data))
    paragraphs: list[str] = []
    cells: list[str] | None = None
    before = ""
    for token in MarkdownIt("commonmark").enable("table").parse(body):
        if token.type == "inline":
            text = "".join(_BREAKS.get(child.type, child.content) for child in token.children or [])
            line = text.replace("\n", " ")
            if cells is not None:
                cells.append(line)
            else:
                paragraphs += text.split("\n") if _all_pairs(text) else [line]
            title = title or (line if before == "heading_open" else "")
        elif token.type in ("fence", "code_block"):
            paragraphs.append(token.content)
        elif token.type == "html_block":
            paragraphs.append(_TAG.sub(" ", token.content))
        elif token.type == "tr_open":
            cells = []
        elif token.type == "tr_close" and cells is not None:
            paragraphs.append(" | ".join(cells))
            cells = None
        before = token.type
    return Document(title, paragraphs)


def read_html(data: bytes) -> Document:
    """HTML; scripts, styles and navigation are left out."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(_decoded_html(data))
    heading = tree.css_first("title") or tree.css_first("h1")
    title = heading.text() if heading else ""
    tree.strip_tags(_UNSEEN)
    for block in tree.css(_BLOCKS):
        block.insert_before("\f")
        block.insert_after("\f")
    for cell in tree.css("td, th"):
        cell.insert_before(" ")
    return Document(title, tree.body.text().split("\f") if tree.body else [])


def read_pdf(data: bytes) -> Document:
    """The text of a PDF's pages; a page that cannot be parsed is left out."""
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(io.BytesIO(data))
        pages = list(reader.pages[:MAX_PAGES])
        title = str((reader.metadata and reader.metadata.title) or "")
    except Exception as error:  # of a broken file pypdf raises whatever Python did
        raise BadLine(f"is not a PDF that can be read ({_why(error)})") from None
    texts, failed = [], 0
    for page in pages:
        try:
            texts.append(page.extract_text().strip())
        except Exception:
            failed += 1
    text = "\n".join(texts).encode(errors="replace").decode().replace("\0", " ")
    if not text.strip():
        raise BadLine("has no text, so it may be scanned" if pages and not failed else "has no page that can be read")
    lost = f"has {failed} of {len(pages)} pages that cannot be read" if failed else ""
    return Document(title, _BLANK_LINES.split(re.sub(r"(?<=[^\W\d_])-\n(?=[a-z])", "", text)), lost)


READERS: dict[str, Callable[[bytes], Document]] = {
    "text": read_text,
    "markdown": read_markdown,
    "html": read_html,
    "pdf": read_pdf,
}


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec = "utf-16"
    elif b"\0" in data:
        raise BadLine("is binary, not text")
    else:
        codec = "utf-8-sig"
    try:
        return data.decode(codec).replace("\r\n", "\n").replace("\0", " ")
    except UnicodeDecodeError:
        raise BadLine("is not UTF-8") from None


def _decoded_html(data: bytes) -> str:
    """HTML may name its encoding itself."""
    try:
        return _decoded(data)
    except BadLine:
        named = _HTML_CHARSET.search(data[:4096])
        if not named:
            raise
        try:
            return data.decode(named[1].decode(), errors="replace").replace("\0", " ")
        except LookupError:
            raise BadLine(f"is in an unknown encoding, {named[1].decode()}") from None


def _front_matter(text: str) -> tuple[str, str]:
    """Takes the lines between ``---`` off the beginning; returns their title and the rest."""
    if not text.startswith("---\n"):
        return "", text
    head, end, rest = text[4:].partition("\n---\n")
    if not end:
        return "", text
    titles = [line.partition(":")[2] for line in head.splitlines() if line.startswith("title:")]
    return (titles[0].strip().strip("\"'") if titles else ""), rest


def _all_pairs(text: str) -> bool:
    """Whether every one of several lines is a ``Key: value`` pair, so that they are no running text."""
    lines = text.split("\n")
    return len(lines) > 1 and all(_PAIR.match(line) for line in lines)


def _why(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def cut(paragraphs: Iterable[str], words: int = WORDS) -> Iterator[str]:
    """Yields passages of at most so many words, cut where sentences and paragraphs end if possible.

    Paragraphs within a passage are on lines of their own.
    """
    held, weight = "", 0
    for paragraph in paragraphs:
        glue = "\n"
        for piece in _pieces(" ".join(paragraph.split()), words):
            more = _weight(piece)
            if held and weight + more > words:
                yield held
                held, weight = "", 0
            held = f"{held}{glue}{piece}" if held else piece
            weight, glue = weight + more, " "
    if held:
        yield held


def _pieces(paragraph: str, words: int) -> Iterator[str]:
    """The sentences of a paragraph; one that is longer than a passage in pieces."""
    for sentence in filter(None, _SENTENCE_END.split(paragraph)):
        if _weight(sentence) <= words:
            yield sentence
            continue
        all_words = sentence.split(" ")
        for start in range(0, len(all_words), words):
            run = " ".join(all_words[start : start + words])
            yield from (run[at : at + words * _CHARACTERS] for at in range(0, len(run), words * _CHARACTERS))


def _weight(text: str) -> int:
    return max(text.count(" ") + 1, -(-len(text) // _CHARACTERS))
