"""Which files are meant, in which form each of them is, and their rows."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ragr1_lite.core.errors import DataError
from ragr1_lite.files.hub_rows import PREFIX, HubData, read_hub
from ragr1_lite.files.json_arrays import read_json, read_lines
from ragr1_lite.files.json_lines import BOM, COMPRESSED, decompressed, reading
from ragr1_lite.files.plain_text import plain_text
from ragr1_lite.files.rows import Rows, Wanted
from ragr1_lite.files.tables import read_csv, read_parquet, read_tsv

Form = Literal[
    "lines", "json", "tsv", "csv", "parquet",
    "text", "markdown", "html", "pdf", "rtf", "docx", "pptx", "xlsx", "odf", "ods", "epub", "mail", "mailbox",
]  # fmt: skip

_SUFFIXES: dict[Form, str] = {
    "lines": ".jsonl .ndjson",
    "json": ".json",
    "tsv": ".tsv",
    "csv": ".csv",
    "parquet": ".parquet",
    "text": ".txt .text .rst .adoc .org .tex",
    "markdown": ".md .markdown",
    "html": ".html .htm .xhtml",
    "pdf": ".pdf",
    "rtf": ".rtf",
    "docx": ".docx .docm .dotx",
    "pptx": ".pptx .pptm .ppsx",
    "xlsx": ".xlsx .xlsm",
    "odf": ".odt .odp",
    "ods": ".ods",
    "epub": ".epub",
    "mail": ".eml",
    "mailbox": ".mbox",
}
_FORMS = {suffix: form for form, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_READERS: dict[Form, Callable[[io.BufferedReader, Path, Wanted], Rows]] = {
    "lines": read_lines,
    "json": read_json,
    "tsv": read_tsv,
    "csv": read_csv,
    "parquet": read_parquet,
}
DOCUMENTS: frozenset[Form] = frozenset(_SUFFIXES) - frozenset(_READERS)
_OBJECTS = re.compile(rb"(\[\s*)?\{")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a corpus; the ids of a document's passages begin with ``name``, ``size`` is in bytes."""

    path: Path
    form: Form
    name: str
    size: int

    @property
    def title(self) -> str:
        """Its name without suffixes, in the form in which text is written: macOS takes letters apart in names."""
        name = unicodedata.normalize("NFC", self.path.name)
        return Path(Path(name).stem if name.lower().endswith(COMPRESSED) else name).stem

    def place(self, number: int) -> str:
        """Names a row, for a message."""
        if self.form in DOCUMENTS:
            return str(self.path)
        return f"{self.path}:{number}" if self.form in ("lines", "tsv", "csv") else f"{self.path} row {number}"

    def __str__(self) -> str:
        return str(self.path)


Source = File | HubData


def find_rows(name: str | Path, wanted: Wanted) -> Source:
    """Finds one source of rows, a file that is no document or a ``hub:`` name; reads no more than its first bytes.

    Raises DataError where it is missing, a folder, or of no known form.
    """
    posix = name.as_posix() if isinstance(name, Path) else name
    if posix.startswith(PREFIX):
        return HubData.parse(posix)
    path = Path(name)
    with reading(path):
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a {wanted.what}", wanted.hint)
        file = file_of(path, path.name, wanted)
        if file.form in DOCUMENTS:  # a table or JSON lines may well be called .txt
            file = replace(file, form=_sniffed(path, wanted))
    if file.form in DOCUMENTS:
        raise DataError(f"{path} is a document, not a {wanted.what}", wanted.hint)
    return file


def rows_of(source: Source, wanted: Wanted, opened: Callable[[io.BufferedReader], None] | None = None) -> Rows:
    """The rows of a source that is no document; ``opened`` gets the file on disk as soon as it is open."""
    if isinstance(source, HubData):
        yield from read_hub(source, wanted)
        return
    with reading(source.path), source.path.open("rb") as raw:
        if opened:
            opened(raw)
        stream = decompressed(raw, source.path)
        yield from _READERS[source.form](stream, source.path, wanted)


def form_of(name: str) -> Form | None:
    """The form that a file's name says, with or without a suffix for its compression."""
    plain = Path(name.lower())
    return _FORMS.get(plain.with_suffix("").suffix if plain.suffix in COMPRESSED else plain.suffix)


def file_of(path: Path, name: str, wanted: Wanted) -> File:
    """One file, in the form that its name or else its first bytes say; raises DataError where it has none."""
    if not path.exists():
        raise DataError(f"There is no {wanted.what} {path}", "Check the path.")
    if not path.is_file():
        raise DataError(f"The {wanted.what} {path} is no ordinary file", "Write it into a file first.")
    return File(path, form_of(path.name) or _sniffed(path, wanted), name, path.stat().st_size)


def _sniffed(path: Path, wanted: Wanted) -> Form:
    with path.open("rb") as raw:
        head = plain_text(decompressed(raw, path)).peek(4096)[:4096]
    text = head.removeprefix(BOM).lstrip()
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"%PDF-"):
        return "pdf"
    if text.startswith(b"{\\rtf"):
        return "rtf"
    if b"\0" in head:
        raise DataError(f"The {wanted.what} {path} is binary and of no known form", wanted.hint)
    if _OBJECTS.match(text):
        return "json"
    if text[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if b"\t" in text.partition(b"\n")[0]:
        return "tsv"
    raise DataError(f"The {wanted.what} {path} is of no known form", wanted.hint)
