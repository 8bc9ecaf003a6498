"""Which files, or data sets on the Hugging Face hub, are meant, in which form each is, and their rows.

The hub is asked only when a user names a data set there; its rows are read as they stream in.
"""

from __future__ import annotations

import io
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ragr1_lite.core.errors import DataError
from ragr1_lite.files.json_arrays import read_json, read_lines
from ragr1_lite.files.json_lines import BOM, COMPRESSED, Rows, Wanted, decompressed, plain_text, reading
from ragr1_lite.files.tables import read_csv, read_parquet, read_tsv

PREFIX = "hub:"
FORM = "Name it as hub:OWNER/NAME, hub:OWNER/NAME:CONFIG or hub:OWNER/NAME:CONFIG:SPLIT."
TIMEOUT = 8.0


@dataclass(frozen=True, slots=True)
class HubData:
    """A data set on the hub: ``hub:OWNER/NAME[:CONFIG][:SPLIT]``; an empty ``CONFIG`` means any."""

    name: str
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, source: str) -> HubData:
        """Raises DataError where ``source`` has another form."""
        name, *more = source.removeprefix(PREFIX).split(":")
        if name.count("/") != 1 or not all(name.split("/")) or len(more) > 2:
            raise DataError(f"{source} is not the name of a data set on the hub", FORM)
        config, split = [*(part or None for part in more), None, None][:2]
        return cls(name, config, split)

    def place(self, number: int) -> str:
        """Names a row, for a message."""
        return f"{self} row {number}"

    def __str__(self) -> str:
        parts = [self.name, self.config or "", self.split or ""]
        return PREFIX + ":".join(parts).rstrip(":")


def read_hub(source: HubData, wanted: Wanted) -> Rows:
    """The rows of a data set, which is not kept; raises DataError where it is missing, unreachable or without text."""
    _check_exists(source)
    rows = _open(source, wanted)
    number = 0
    try:
        for number, row in enumerate(rows, start=1):
            yield number, row
    except Exception as error:  # the clients' own trees, which change between versions
        raise DataError(
            f"{source} broke off after {number} rows ({_why(error)})", "Check the network and try again."
        ) from error


def _check_exists(source: HubData) -> None:
    """Asks the hub once whether it has the data set: ``datasets`` itself tries for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().dataset_info(source.name, timeout=TIMEOUT)
    except Exception as error:
        if isinstance(error, GatedRepoError):
            why = f"{source} is gated on the hub"
            hint = "Accept its terms on its page and log in with: hf auth login."
        elif isinstance(error, RepositoryNotFoundError):
            why = f"The hub has no data set {source.name}, or it is private"
            hint = "Check the spelling; for a private one: hf auth login."
        else:
            why = f"The hub cannot be reached for {source} ({_why(error)})"
            hint = "Check the network, or name a file on this machine."
        raise DataError(why, hint) from error


def _open(source: HubData, wanted: Wanted) -> Iterable[dict[str, Any]]:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    try:
        rows = load_dataset(source.name, source.config, split=source.split, streaming=True)
    except Exception as error:
        raise DataError(f"{source} cannot be read ({_why(error)})", FORM) from error
    if isinstance(rows, dict):
        if len(rows) != 1:
            raise DataError(f"{source} has the splits {', '.join(map(str, rows))}", FORM)
        [rows] = rows.values()
    if rows.column_names:
        rows = rows.select_columns([name for name in wanted.keys if name in rows.column_names])
    return rows  # type: ignore[no-any-return]


def _why(error: Exception) -> str:
    return " ".join((str(error).strip() or type(error).__name__).split())[:200].rstrip(".")


Form = Literal[
    "lines", "json", "tsv", "csv", "parquet",
    "text", "markdown", "html", "pdf", "rtf", "docx", "pptx", "xlsx", "odf", "ods", "sheet", "epub", "mail", "mailbox",
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
    "sheet": "",  # a table whose columns are not those of a corpus
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
        name = unicodedata.normalize("NFC", name_of(self.path.name))
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
    return File(path, form_of(path.name) or _sniffed(path, wanted), name_of(name), path.stat().st_size)


def name_of(name: str) -> str:
    """A name on the disk as text: bytes that are no UTF-8, which Python holds as half surrogates, are spelled out."""
    return os.fsencode(name).decode(errors="backslashreplace")


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
