"""Documents as people have them: each becomes a title and parts, and these passages of 100 words.

``text``, ``rtf``, ``html``, ``pdf``, ``office``, ``sheets``, ``epub`` and ``mail`` each read some forms; ``packed``
opens what is XML in ZIP files, whose ``flow`` of paragraphs and rows is the same in all of them. ``passages`` cuts.
Only text is taken: no script is run, no link followed, no other file loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BufferedReader

from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.files.sources import Form, form_of
from ragr1_lite.retrieval.corpora.documents.html import read_epub, read_html
from ragr1_lite.retrieval.corpora.documents.mail import messages_of, read_mail
from ragr1_lite.retrieval.corpora.documents.office import read_docx, read_odf, read_pptx
from ragr1_lite.retrieval.corpora.documents.passages import Document
from ragr1_lite.retrieval.corpora.documents.pdf import read_pdf
from ragr1_lite.retrieval.corpora.documents.rtf import read_rtf
from ragr1_lite.retrieval.corpora.documents.sheets import read_ods, read_sheet, read_xlsx
from ragr1_lite.retrieval.corpora.documents.text import read_markdown, read_text

MAX_BYTES = 64 * 2**20
"""The longest document or e-mail; a mailbox may be as long as it likes."""
MAX_CHARACTERS = 2**28
"""Of a document's text, which may repeat what its file holds once."""
_READERS: dict[Form, Callable[[bytes], Document]] = {
    "text": read_text,
    "markdown": read_markdown,
    "html": read_html,
    "pdf": read_pdf,
    "rtf": read_rtf,
    "docx": read_docx,
    "pptx": read_pptx,
    "xlsx": read_xlsx,
    "odf": read_odf,
    "ods": read_ods,
    "sheet": read_sheet,
    "epub": read_epub,
    "mail": lambda data: read_mail(data, _attached),
}
PACKAGES: dict[Form, str] = {
    "html": "selectolax",
    "epub": "selectolax",
    "mail": "selectolax",
    "mailbox": "selectolax",
    "pdf": "pypdf",
}
"""The packages of the ``docs`` extra, by the forms that need them."""


def read_documents(stream: BufferedReader, form: Form) -> Iterator[Document | BadLine]:
    """The documents of a file: its messages where it is a mailbox, else one; BadLine where one cannot be read."""
    if form == "mailbox":
        for message in messages_of(stream, MAX_BYTES):
            yield message if isinstance(message, BadLine) else _read(message, "mail")
    else:
        yield _read(stream.read(MAX_BYTES + 1), form)


def _read(data: bytes, form: Form) -> Document | BadLine:
    if len(data) > MAX_BYTES:
        return BadLine(f"is longer than {MAX_BYTES // 2**20} MiB")
    try:
        return _READERS[form](data)
    except BadLine as problem:
        return problem


def _attached(name: str, data: bytes) -> Document | None:
    """An attached file; ``None`` where it is no document, or one that is not read from within another."""
    form = form_of(name)
    if form in ("csv", "tsv"):
        form = "sheet"
    if form not in _READERS or form == "mail" or len(data) > MAX_BYTES:
        return None
    try:
        return _READERS[form](data)
    except ImportError:  # a PDF where pypdf is missing
        return None
