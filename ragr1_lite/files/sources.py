"""Which files are meant, and in which form each of them is."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ragr1_lite.core.errors import DataError
from ragr1_lite.files.hub_rows import PREFIX, HubData
from ragr1_lite.files.json_lines import COMPRESSED, decompressed, reading
from ragr1_lite.files.rows import Wanted

Form = Literal["lines", "json", "tsv", "csv", "parquet", "text", "markdown", "html", "pdf"]

SUFFIXES: dict[str, Form] = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "json",
    ".tsv": "tsv",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".adoc": "text",
    ".org": "text",
    ".tex": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
}
DOCUMENTS: frozenset[Form] = frozenset({"text", "markdown", "html", "pdf"})
_OBJECTS = re.compile(rb"(\[\s*)?\{")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a corpus.

    Attributes:
        path: Where it is.
        form: How it is read.
        name: What the ids of a document's passages begin with.
        size: Its bytes on disk.
    """

    path: Path
    form: Form
    name: str
    size: int

    @property
    def title(self) -> str:
        """Its name without suffixes."""
        name = self.path.name
        return Path(Path(name).stem if name.lower().endswith(COMPRESSED) else name).stem

    def place(self, number: int) -> str:
        """Names a row, for a message."""
        if self.form in DOCUMENTS:
            return str(self.path)
        return f"{self.path}:{number}" if self.form in ("lines", "tsv", "csv") else f"{self.path} row {number}"


Source = File | HubData


def find_rows(name: str | Path, wanted: Wanted) -> Source:
    """Finds one source of rows, a file that is no document or a ``hub:`` name; reads no more than its first bytes.

    Raises:
        DataError: It is missing, a folder, or of no known form.
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
            file = replace(file, form=sniffed(path, wanted))
    if file.form in DOCUMENTS:
        raise DataError(f"{path} is a document, not a {wanted.what}", wanted.hint)
    return file


def form_of(name: str) -> Form | None:
    """The form that a file's name tells, with or without a suffix for its compression."""
    plain = Path(name.lower())
    return SUFFIXES.get(plain.with_suffix("").suffix if plain.suffix in COMPRESSED else plain.suffix)


def file_of(path: Path, name: str, wanted: Wanted) -> File:
    """One file, which is not a folder, in the form that its name or else its first bytes tell.

    Raises:
        DataError: It does not exist, is no ordinary file, or is of no known form.
    """
    if not path.exists():
        raise DataError(f"There is no {wanted.what} {path}", "Check the path.")
    if not path.is_file():
        raise DataError(f"The {wanted.what} {path} is no ordinary file", "Write it into a file first.")
    form = form_of(path.name) or sniffed(path, wanted)
    return File(path, form, name, path.stat().st_size)


def sniffed(path: Path, wanted: Wanted) -> Form:
    """The form that a file's first bytes tell.

    Raises:
        DataError: They tell none.
    """
    with path.open("rb") as raw:
        head = decompressed(raw, path).peek(4096)[:4096]
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"%PDF-"):
        return "pdf"
    if b"\0" in head:
        raise DataError(f"The {wanted.what} {path} is binary and of no known form", wanted.hint)
    if _OBJECTS.match(text):
        return "json"
    if text[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if b"\t" in text.partition(b"\n")[0]:
        return "tsv"
    raise DataError(f"The {wanted.what} {path} is of no known form", wanted.hint)
