"""The folder of documents that an index was built from: what updating it goes by, and what passages name.

Two files of the index's folder::

    corpus.json             the files of the folder, as it was then
    passages.lengths.npy    int32, shape (count,): the words of each passage
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ragr1_lite.core.errors import RetrievalIndexError
from ragr1_lite.core.events import Notice, Report
from ragr1_lite.files.json_lines import json_of
from ragr1_lite.retrieval.bm25.mapped_files import HashedFile, broken, load_array, save_array

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25.mapped_files import Array
    from ragr1_lite.retrieval.bm25.store import IndexInfo

FILES, LENGTHS = "corpus.json", "passages.lengths.npy"
_ANEW = "Only an index of one folder does: build one of each (`ragr1-lite index build FOLDER --out DIR --overwrite`)."


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file of the folder, and what it gave.

    Attributes:
        name: Its path in the folder.
        size: In bytes.
        modified: When it was last changed, in nanoseconds; 0 where that was so recent that it may change unnoticed.
        sha256: Of its content; empty where it could not be read.
        passages: How many it gave; in the corpus they follow those of the file before it.
        numbers: How many running numbers its rows took.
        depends: Whether its passages hang on the files before it: on running numbers, or paragraphs seen there.
    """

    name: str
    size: int
    modified: int
    sha256: str
    passages: int = 0
    numbers: int = 0
    depends: bool = False


_ROW = attrgetter(*IndexedFile.__dataclass_fields__)
"""A file as a row of ``FILES``."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A folder and its files, in the corpus' order."""

    folder: Path
    files: list[IndexedFile] = field(default_factory=list)


def write_origin(folder: Path, origin: Origin, lengths: Array) -> dict[str, str]:
    """Writes the files of ``origin``, and the words of each passage, into an index; returns the files' SHA-256."""
    with HashedFile(folder / FILES) as file:
        file.write(json.dumps(list(map(_ROW, origin.files)), ensure_ascii=False).encode())
    return {FILES: file.sha256, LENGTHS: save_array(folder / LENGTHS, "<i4", lengths)}


def read_files(index: Path, info: IndexInfo) -> list[IndexedFile]:
    """The files that an index was built from.

    Raises:
        RetrievalIndexError: It was not built from one folder, or by an earlier version; or they do not fit it.
    """
    if not info.folder:
        raise RetrievalIndexError(f"The index {index} does not say which files of which folder are in it", _ANEW)
    try:
        files = [IndexedFile(*row) for row in json_of((index / FILES).read_bytes())]
        fits = sum(file.passages for file in files) == info.passages
    except (OSError, ValueError, TypeError) as error:
        raise broken(index / FILES, error) from error
    if not fits:
        raise broken(index / FILES)
    return files


def files_to_name(index: Path, info: IndexInfo, report: Report) -> list[tuple[str, int]]:
    """The files that an index's passages name, and how many: none, with a notice, where only their list is broken."""
    try:
        return [(file.name, file.passages) for file in read_files(index, info)] if info.folder else []
    except RetrievalIndexError as error:
        report(Notice(f"{error.message}: passages do not name their files. {error.hint}", "warning"))
        return []


def read_lengths(index: Path, passages: int) -> Array:
    """The words of each passage, of an index of a folder; raises RetrievalIndexError where they do not fit it."""
    lengths = load_array(index / LENGTHS, "<i4")
    if len(lengths) != passages:
        raise broken(index / LENGTHS)
    return lengths
