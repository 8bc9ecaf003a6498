"""Brings an index up to date with the folder that it was built from: only files that changed are read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.files.alone import alone_at
from ragr1_lite.files.sources import DOCUMENTS, File
from ragr1_lite.retrieval.bm25.origin import IndexedFile, Origin, read_files
from ragr1_lite.retrieval.bm25.store import IndexInfo, PassageFile, verify_index
from ragr1_lite.retrieval.bm25.update import Segment, merge_passages
from ragr1_lite.retrieval.corpora.reader import Corpus
from ragr1_lite.retrieval.corpora.sources import find_sources, unchanged


@dataclass(frozen=True, slots=True)
class Update:
    """What an update did: the index as it is now, and how many files were what."""

    info: IndexInfo
    added: int
    changed: int
    removed: int
    unchanged: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The counts, and the size of the index."""
        counts = {name: getattr(self, name) for name in ("added", "changed", "removed", "unchanged")}
        return {**counts, "passages": self.info.passages, "bytes": self.info.bytes, "seconds": round(self.seconds, 3)}


@alone_at("index")
def update_index(index: Path, folder: Path | None = None, report: Report = ignore) -> Update:
    """Reads what changed in a folder since its index was built, or updated, and replaces the index in one step.

    The new index finds what one that is built anew would find, and passages of files that did not change keep their
    ids. Files whose rows are numbered by their place in the whole corpus are read again with every change.

    Args:
        index: The index; its tokenizer and weights stay as they are.
        folder: By default the one it was built from; one that was moved since then must be named.
        report: Gets the phases, and the notices of a build.

    Raises:
        RetrievalIndexError: The index is missing or broken, or does not say what it was built from.
        DataError: The folder is another one, is gone, or cannot be read as when an index is built.
        StorageError: The disk is full or not writable.
    """
    began = time.perf_counter()
    info = verify_index(index, report)
    files = read_files(index, info)
    folder = Path(info.folder if folder is None else folder).resolve()
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}", "Name the folder that the index was built from, after it.")
    found = [source for source in find_sources([folder], report) if isinstance(source, File)]
    same = _same(found, files)
    if str(folder) != info.folder and 2 * len(same) < len(files):
        raise DataError(
            f"The index {index} was built from {info.folder}, and most of its files are not in {folder}",
            "Name that folder, or build another index.",
        )
    before, now = {file.name for file in files}, {source.name for source in found}
    counts = len(now - before), len(now & before) - len(same), len(before - now), len(same)
    if any(counts[:3]):
        info = _updated(index, Origin(folder), found, files, same, report)
    return Update(info, *counts, time.perf_counter() - began)


def _same(found: Sequence[File], files: Sequence[IndexedFile]) -> dict[str, IndexedFile]:
    """The files that are as they were, by name, as far as they are in the same order."""
    known, last = {file.name: (number, file) for number, file in enumerate(files)}, -1
    same: dict[str, IndexedFile] = {}
    for source in found:
        number, file = known.get(source.name, (-1, None))
        if file and number > last and (still := unchanged(source, file)):
            same[source.name], last = still, number
    return same


def _updated(
    index: Path,
    origin: Origin,
    found: Sequence[File],
    files: Sequence[IndexedFile],
    same: Mapping[str, IndexedFile],
    report: Report,
) -> IndexInfo:
    kept = {name: file for name, file in same.items() if not file.depends}
    firsts = accumulate((file.passages for file in files), initial=0)
    starts = {file.name: first for file, first in zip(files, firsts, strict=False)}

    def ids() -> Iterator[str]:
        """Only rows have ids that another file may have, too."""
        if any(source.form not in DOCUMENTS for source in found):
            stored = PassageFile(index)
            for name, file in kept.items():
                yield from (stored[at].id for at in range(starts[name], starts[name] + file.passages))

    def layout() -> list[Segment]:
        segments: list[Segment] = []
        for file in origin.files:
            start = starts[file.name] if file.name in kept else None
            first, count = segments[-1] if segments else (None, 0)
            if segments and start == (None if first is None else first + count):
                segments[-1] = first, count + file.passages
            elif file.passages:
                segments.append((start, file.passages))
        return segments

    return merge_passages(index, Corpus(found, report, origin, kept, ids()), origin, layout, report)
