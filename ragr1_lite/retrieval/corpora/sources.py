"""Finds the files of a corpus: those that are named, and those in folders."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice, Report
from ragr1_lite.files.json_lines import BadLine, decompressed, lines_of, reading, to_row
from ragr1_lite.files.sources import PREFIX, File, HubData, Source, file_of, form_of, name_of
from ragr1_lite.files.tables import first_row
from ragr1_lite.retrieval.bm25.origin import IndexedFile
from ragr1_lite.retrieval.corpora.documents import PACKAGES
from ragr1_lite.retrieval.corpora.rows import PASSAGES
from ragr1_lite.versions import install_hint

_INDEX = {"manifest.json", "passages.jsonl", "passages.offsets.npy"}
"""Files that only an index of ours has together: it is made of documents, and is none."""

_SETTLED = 2 * 10**9
"""Nanoseconds after which a change of a file shows in its time, on any disk."""


def find_sources(names: Sequence[str | Path], report: Report) -> list[Source]:
    """Finds every file that is meant; folders are searched for files whose suffix is known.

    Of JSON lines and tables in a folder the first row is read: questions that came without passages stay out. So does
    a ``.json``, which there is rather a setting. A table whose columns are not those of a corpus is a sheet.

    ``report`` gets a notice for each folder in which something was left out, and one of files that need packages which
    are missing. Raises DataError where one does not exist, cannot be read or is of no known form, and where all of
    them need missing packages.
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
                found.append(_known(file_of(path, posix if len(names) > 1 else path.name, PASSAGES)))
    return _with_packages(found, report)


def indexed(file: File) -> IndexedFile:
    """A file as it is now, for an index to know it by, before it is read."""
    try:
        began, modified = time.time_ns(), file.path.stat().st_mtime_ns
        with file.path.open("rb") as raw:
            sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
    except OSError:
        return IndexedFile(file.name, file.size, 0, "")
    return IndexedFile(file.name, file.size, modified if modified < began - _SETTLED else 0, sha256)


def unchanged(file: File, known: IndexedFile) -> IndexedFile | None:
    """What is known of a file, where it is as it was, by size and time or else by its content."""
    if file.size != known.size:
        return None
    with suppress(OSError):
        if known.modified and file.path.stat().st_mtime_ns == known.modified:
            return known
    now = indexed(file)
    return replace(known, modified=now.modified) if now.sha256 and now.sha256 == known.sha256 else None


def _files_of(folder: Path, prefix: str, report: Report) -> list[File]:
    found: list[File] = []
    left_out: Counter[str] = Counter()
    kinds: set[str] = set()
    inside = folder.resolve()
    for root, folders, names in os.walk(folder, onerror=lambda _: left_out.update(["unreadable"])):
        seen = [name for name in (*folders, *names) if not name.startswith(".")]
        left_out["hidden"] += len(folders) + len(names) - len(seen)
        outside = {name for name in seen if _leads_out(Path(root, name), inside)}
        left_out["linked from elsewhere"] += len(outside)
        inner = {*folders} & {*seen} - outside
        indexes = {name for name in inner if all(Path(root, name, part).is_file() for part in _INDEX)}
        left_out["built as an index"] += len(indexes)
        folders[:] = sorted(inner - indexes)
        within = prefix + "".join(f"{part}/" for part in Path(root).relative_to(folder).parts)
        for name in sorted({*seen} & {*names} - outside):
            path, form = Path(root, name), form_of(name)
            if form is None or form == "json":
                left_out["of another kind"] += 1
                kinds.add(path.suffix or path.name)
            elif not path.is_file():
                left_out["unreadable"] += 1
            else:
                file = File(path, form, name_of(within + name), path.stat().st_size)
                if _only_asks(file):
                    left_out["of questions without passages"] += 1
                else:
                    found.append(_known(file))
    some = {"of another kind": f" ({', '.join(sorted(kinds)[:5])}{', …' * (len(kinds) > 5)})"}
    counted = ", ".join(f"{count} {what}{some.get(what, '')}" for what, count in left_out.items() if count)
    if not found:
        why = f" ({counted})" if counted else ""
        raise DataError(f"There is no file in the folder {folder} that can be read{why}", PASSAGES.hint)
    if counted:
        report(Notice(f"Left out of {folder}: {counted}"))
    return found


def _known(file: File) -> File:
    """The file, as a sheet where it is a table that is no corpus, or one that is broken."""
    if file.form not in ("csv", "tsv"):
        return file
    first = _first_row(file)
    known = not _names(first).isdisjoint(PASSAGES.needed) or (first and PASSAGES.unnamed(first))
    return file if known else replace(file, form="sheet")


def _only_asks(file: File) -> bool:
    """Whether JSON lines or a table begin with questions without passages; a broken file does not."""
    if file.form not in ("lines", "csv", "tsv"):
        return False
    names = _names(_first_row(file))
    return "question" in names and names.isdisjoint(PASSAGES.needed)


def _first_row(file: File) -> list[str]:
    """The keys of the first line, or the fields of a table's; none where it is broken."""
    try:
        with reading(file.path), file.path.open("rb") as raw:
            stream = decompressed(raw, file.path)
            if file.form != "lines":
                return first_row(stream, PASSAGES)
            return [*to_row(next(lines_of(stream, file.path, PASSAGES.line), (0, b""))[1])]
    except (BadLine, DataError):
        return []


def _names(first: list[str]) -> set[str]:
    return {name.strip().lower() for name in first}


def _leads_out(path: Path, inside: Path) -> bool:
    """Whether a path is a link to what is not in the folder, however many links that takes."""
    if not path.is_symlink():
        return False
    try:
        return not path.resolve().is_relative_to(inside)
    except (OSError, RuntimeError):  # a circle of links
        return False


def _with_packages(found: list[Source], report: Report) -> list[Source]:
    """The sources without the files whose packages are missing, of which a notice tells."""
    forms = {source.form for source in found if isinstance(source, File)}
    missing = {form: PACKAGES[form] for form in forms & {*PACKAGES} if not find_spec(PACKAGES[form])}
    kept = [source for source in found if not isinstance(source, File) or source.form not in missing]
    if missing:
        packages = " and ".join(sorted({*missing.values()}))
        suffixes = sorted(
            {source.path.suffix for source in found if isinstance(source, File) and source.form in missing}
        )
        what = f"needs {packages}"
        if not kept:
            raise DataError(f"Reading {', '.join(suffixes)} {what}", install_hint("docs"))
        left = len(found) - len(kept)
        files = f"{left} file{'s' * (left != 1)} ({', '.join(suffixes)})"
        report(Notice(f"Left out {files}: reading them {what}. {install_hint('docs')}", "warning"))
    return kept
