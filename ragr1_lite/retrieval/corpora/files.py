"""Which files are meant, and in which form each of them is."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ragr1_lite.errors import DataError
from ragr1_lite.events import Notice, Report
from ragr1_lite.jsonlines import COMPRESSED, decompressed, reading
from ragr1_lite.retrieval.corpora.hub import PREFIX, HubData
from ragr1_lite.retrieval.corpora.rows import PASSAGES, Wanted

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
NEVER_IN_FOLDERS: frozenset[Form] = frozenset({"json", "csv"})
"""In a folder of documents these are rather settings and lists; named by themselves they are corpora."""

_OBJECTS = re.compile(rb"(\[\s*)?\{")
_PACKAGES = {"html": "selectolax", "pdf": "pypdf"}


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


def find_sources(names: Sequence[str | Path], report: Report) -> list[Source]:
    """Finds every file that is meant, without reading it; folders are searched for the forms that ``SUFFIXES`` names.

    Args:
        names: Files, folders, and ``hub:`` names.
        report: Gets a notice for each folder in which something was left out.

    Raises:
        DataError: One does not exist, cannot be read, is of no known form, or needs a package that is missing.
    """
    found: list[Source] = []
    for name in names:
        posix = name.as_posix() if isinstance(name, Path) else name
        if posix.startswith(PREFIX):
            found.append(HubData.parse(posix))
            continue
        path = Path(name)
        with reading(path):
            if path.is_dir():
                found += _files_of(path, f"{posix}/" if len(names) > 1 else "", report)
            else:
                found.append(file_of(path, posix if len(names) > 1 else path.name, PASSAGES))
    _need_packages({source.form for source in found if isinstance(source, File)})
    return found


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


def _files_of(folder: Path, prefix: str, report: Report) -> list[File]:
    found: list[File] = []
    left_out: Counter[str] = Counter()
    kinds: set[str] = set()
    for root, folders, names in os.walk(folder, onerror=lambda _: left_out.update(["unreadable"])):
        seen = [name for name in (*folders, *names) if not name.startswith(".")]
        left_out["hidden"] += len(folders) + len(names) - len(seen)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(root, name) for name in sorted({*seen} & {*names})):
            form = form_of(path.name)
            if form is None or form in NEVER_IN_FOLDERS:
                left_out["of another kind"] += 1
                kinds.add(path.suffix or path.name)
            elif not path.is_file():
                left_out["unreadable"] += 1
            else:
                name = os.fsencode(path.relative_to(folder).as_posix()).decode(errors="replace")
                found.append(File(path, form, prefix + name, path.stat().st_size))
    told = _told(left_out, kinds)
    if not found:
        raise DataError(
            f"There is no file in the folder {folder} that can be read{told and f' ({told})'}", PASSAGES.hint
        )
    if told:
        report(Notice(f"Left out of {folder}: {told}"))
    return found


def _told(left_out: Counter[str], kinds: set[str]) -> str:
    some = ", ".join(sorted(kinds)[:5]) + ", …" * (len(kinds) > 5)
    return ", ".join(
        f"{count} {what}" + (f" ({some})" if what == "of another kind" else "")
        for what, count in left_out.items()
        if count
    )


def _need_packages(forms: set[Form]) -> None:
    missing = sorted({package for form, package in _PACKAGES.items() if form in forms and not find_spec(package)})
    if missing:
        raise DataError(
            f"Reading {' and '.join(sorted({form.upper() for form in forms & {*_PACKAGES}}))} "
            f"needs {' and '.join(missing)}",
            "Install it with: pip install 'ragr1-lite[docs]'",
        )
