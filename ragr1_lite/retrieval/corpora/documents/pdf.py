"""PDF: the text of its pages, as far as it has a text layer."""

from __future__ import annotations

import io
import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from ragr1_lite.core.errors import first_line
from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.retrieval.corpora.documents.passages import Document, Part
from ragr1_lite.retrieval.corpora.documents.text import BLANK_LINES
from ragr1_lite.versions import pip_line

MAX_PAGES = 10_000
_HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010]\n(?=([^\W\d_]))")
_SHAPES = re.compile("[\ufb00-\ufb06\ufb50-\ufdff\ufe70-\ufefc]+")
"""Letters as they are drawn, joined in Latin or by their place in Arabic words, which some text layers hold."""
_ENDS, _AFTER_ENDS = tuple(".!?…:。！？"), " \n\"')]”’»"
_SENTENCE = re.compile(r".{0,2000}?[.!?…](?=\s|$)", re.DOTALL)
_OCR = "`ocrmypdf IN.pdf OUT.pdf` adds it"


def read_pdf(data: bytes) -> Document:
    """The text of a PDF's pages; pages that are pictures or cannot be parsed are left out."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(io.BytesIO(data))
        pages = list(reader.pages[:MAX_PAGES])
        title = str((reader.metadata and reader.metadata.title) or "")
    except DependencyError:
        raise BadLine(f"is encrypted by AES, which needs cryptography: {pip_line(['cryptography'])}") from None
    except FileNotDecryptedError:
        raise BadLine("is encrypted and opens with a password only: save it without one") from None
    except Exception as error:  # of a broken file pypdf raises whatever Python did
        raise BadLine(f"is not a PDF that can be read ({first_line(error).rstrip('.')})") from None
    return Document(title, _parts(pages))


def _parts(pages: list[Any]) -> Iterator[Part]:
    failed: list[int] = []
    scanned: list[int] = []
    empty = True
    for part in _whole_sentences(_texts(pages, failed, scanned)):
        empty = False
        yield part
    if empty:
        unread = pages and len(failed) == len(pages)
        raise BadLine("has no page that can be read" if unread else f"has no text, so it may be scanned: {_OCR}")
    lost = [f"{len(failed)} that cannot be read"] if failed else []
    lost += [f"{len(scanned)} that are pictures without text: {_OCR}"] if scanned else []
    if lost:
        raise BadLine(f"has among its {len(pages)} pages {' and '.join(lost)}")


def _texts(pages: list[Any], failed: list[int], scanned: list[int]) -> Iterator[tuple[int, str]]:
    """The texts of pages with their numbers from 1; what has none is added to the lists."""
    for number, page in enumerate(pages, start=1):
        try:
            text = page.extract_text().strip().encode(errors="replace").decode().replace("\0", " ")
        except Exception:
            failed.append(number)
            continue
        if text:
            yield number, text
        elif _has_picture(page):
            scanned.append(number)


def _has_picture(page: Any) -> bool:
    try:
        drawn = page["/Resources"]["/XObject"].get_object()
        return any(drawn[name].get_object().get("/Subtype") == "/Image" for name in drawn)
    except Exception:  # as above; most often there is none of these keys
        return False


def _whole_sentences(texts: Iterable[tuple[int, str]]) -> Iterator[Part]:
    """Pages as parts; the end of a sentence that begins on the page before is with its beginning."""
    before, held = 0, ""
    for number, text in texts:
        if before == number - 1 and held and not held.rstrip(_AFTER_ENDS).endswith(_ENDS):
            end = _SENTENCE.match(text)
            held, text = f"{held}\n{end[0] if end else ''}", text[end.end() :] if end else text
        if held:
            yield _page(before, held)
        before, held = number, text
    if held:
        yield _page(before, held)


def _page(number: int, text: str) -> Part:
    text = _SHAPES.sub(lambda drawn: unicodedata.normalize("NFKC", drawn[0]), text)
    text = _HYPHENATED.sub(lambda end: "" if end[1].islower() else end[0], text)
    return Part(BLANK_LINES.split(text), f"page {number}")
