"""An index on disk: its folder, its manifest and its passages.

The folder holds what bm25s writes and reads itself (``*.index.npy``, ``*.index.json``) and these::

    passages.jsonl          one passage a line: id, title, text; place where it is known
    passages.offsets.npy    int64, shape (count + 1,): where each line begins, and where the last one ends
    passages.lengths.npy    only next to the following, of an index of a folder: :mod:`ragr1_lite.retrieval.bm25.origin`
    corpus.json
    vocabulary.*.npy        a hash table of bm25s' words: :mod:`ragr1_lite.retrieval.bm25.vocabulary`
    manifest.json           written last: what was built, and the size and SHA-256 of every file
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import re
import shutil
from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragr1_lite.core.errors import RetrievalIndexError, StorageError, fix_for
from ragr1_lite.core.events import Report, ignore, phase
from ragr1_lite.core.types import Passage
from ragr1_lite.files.json_lines import json_of
from ragr1_lite.files.writing import sync
from ragr1_lite.retrieval.bm25.mapped_files import REBUILD, HashedFile, broken, load_array, map_file, save_array
from ragr1_lite.retrieval.bm25.tokenizer import tokenizer_of

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25.mapped_files import Array

FORMAT = "ragr1-lite-bm25"
FORMAT_VERSION = 2
MANIFEST, PASSAGES, OFFSETS = "manifest.json", "passages.jsonl", "passages.offsets.npy"
_NAME_ONE = "Name the folder an index was built in."
_CHUNK = 4 * 2**20
_HERE, _EXCHANGE = -100, 2
"""Linux' ``AT_FDCWD`` and ``RENAME_EXCHANGE``."""


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index is made of.

    Attributes:
        path: Its folder; ``None`` where it lives in memory.
        passages: How many there are.
        words: How many different words they hold.
        k1: BM25's saturation of repeated words.
        b: BM25's weight of a passage's length.
        tokenizer: The settings that queries are cut with.
        bytes: Size on disk; 0 in memory.
        package: The version of this package that built it.
        title_weight: How many times the words of titles were counted.
        folder: The folder that it was built from; empty where it was built from anything else.
    """

    path: Path | None
    passages: int
    words: int
    k1: float
    b: float
    tokenizer: dict[str, str]
    bytes: int
    package: str
    title_weight: int = 1
    folder: str = ""


class PassageFile:
    """The passages of an index, read on demand; raises RetrievalIndexError where its files do not fit each other.

    They name the ``files`` that they are from, where these are given with how many passages each gave, in order.
    """

    def __init__(self, folder: Path, files: Sequence[tuple[str, int]] = ()) -> None:
        self._path = folder / PASSAGES
        self._offsets = load_array(folder / OFFSETS, "<i8")
        self._map = map_file(self._path)
        if len(self._offsets) < 2 or self._offsets[-1] != len(self._map):
            raise broken(folder / OFFSETS)
        self._names = [name for name, _ in files]
        self._ends = list(accumulate(count for _, count in files))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def sizes(self) -> Array:
        """Bytes of each passage's line, int64, shape ``(passages,)``."""
        return self._offsets[1:] - self._offsets[:-1]

    def lines(self, first: int, end: int) -> Iterator[bytes]:
        """The lines of the passages from ``first`` to before ``end``, in chunks."""
        start, stop = int(self._offsets[first]), int(self._offsets[end])
        return (self._map[at : min(at + _CHUNK, stop)] for at in range(start, stop, _CHUNK))

    def __getitem__(self, position: int) -> Passage:
        try:
            passage = Passage(**json_of(self._map[self._offsets[position] : self._offsets[position + 1]]))
        except (ValueError, TypeError) as error:
            raise broken(self._path) from error
        file = self._names[bisect_right(self._ends, position)] if self._names else ""
        return passage if passage.id.startswith(f"{file}#") else replace(passage, file=file)

    def find(self, identifier: str) -> int | None:
        """The position of the first passage with this id, by which its line begins; nowhere else are such quotes."""
        import numpy as np

        name = json.dumps(identifier, ensure_ascii=False)
        start = self._map.find(f'{{"id": {name}, "title": '.encode("utf-8", "surrogatepass"), 0)
        return int(np.searchsorted(self._offsets, start)) if start >= 0 else None


def write_passages(folder: Path, passages: Iterable[Passage], checksums: dict[str, str]) -> Iterator[Passage]:
    """Yields the passages on while it writes them into ``folder``, and adds the files' checksums in the end."""
    import numpy as np

    offsets = array("q", [0])
    to_json = json.JSONEncoder(ensure_ascii=False).encode
    with HashedFile(folder / PASSAGES) as file:
        for passage in passages:
            row = {"id": passage.id, "title": passage.title, "text": passage.text}
            if passage.place:
                row["place"] = passage.place
            # A passage that came from elsewhere than a corpus may hold half of a surrogate pair: it is kept as it is.
            file.write(to_json(row).encode("utf-8", "surrogatepass") + b"\n")
            offsets.append(file.size)
            yield passage
    checksums[PASSAGES] = file.sha256
    checksums[OFFSETS] = save_array(folder / OFFSETS, "<i8", np.frombuffer(offsets, np.int64))


@contextmanager
def new_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Gives a folder next to ``out`` to build in, which takes the place of ``out`` when all went well.

    That is one step on Linux, and two renamings elsewhere; by then all is on the disk, so that a power cut leaves no
    empty files. A build that ends early leaves ``out`` as it was, or absent; the next build in the same place removes
    what a killed process left. Who has the old files open keeps them.

    Raises:
        RetrievalIndexError: ``out`` exists and may not be overwritten, or is not an index.
        StorageError: The disk is full or not writable.
    """
    out = out.resolve()
    building = out.with_name(f".{out.name}.building-{os.getpid()}")
    retired = out.with_name(f".{out.name}.old-{os.getpid()}")
    try:
        _clear_leftovers(out)
        _check_target(out, overwrite)
        building.mkdir(parents=True)
        yield building
        sync(*building.iterdir(), building)
        _check_target(out, overwrite)
        if not (out.exists() and _exchanged(building, out)):
            if out.exists():
                out.rename(retired)
            building.rename(out)
        sync(out.parent)
    except OSError as error:
        fix = fix_for(error, "Make room, or name another folder.")
        raise StorageError(f"The index cannot be written to {out} ({error.strerror or error})", fix) from error
    finally:
        if retired.exists() and not out.exists():
            retired.rename(out)
        shutil.rmtree(building, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def write_manifest(folder: Path, info: IndexInfo, checksums: Mapping[str, str], **more: str) -> IndexInfo:
    """Writes the manifest of a finished ``folder``, with ``more`` fields, and returns ``info`` with the size filled in.

    ``checksums`` holds the SHA-256 of files by name, as far as they are known; the others are read for it.
    """
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": checksums.get(path.name) or _sha256(path)}
        for path in sorted(folder.iterdir())
    }
    info = replace(info, bytes=sum(path.stat().st_size for path in folder.iterdir()))
    fields = {name: value for name, value in asdict(info).items() if name != "path"}
    manifest = {"format": FORMAT, "version": FORMAT_VERSION, **fields, **more, "files": files}
    manifest["sha256"] = _own_sha256(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return info


def open_manifest(path: Path, *, small: int = 0, without: Collection[str] = (), report: Report = ignore) -> IndexInfo:
    """Reads an index's manifest and checks that its files, ``without`` some, are there in the right sizes.

    The smallest files, up to ``small`` bytes together, are also checked by their checksums.

    Raises:
        RetrievalIndexError: The folder is missing, no index, of another version than this, or broken.
    """
    manifest = _manifest(path)
    try:
        fields = {name: manifest[name] for name in IndexInfo.__dataclass_fields__ if name in manifest}
        info = IndexInfo(path=path, **fields)
        files = sorted(
            (int(file["bytes"]), name, file["sha256"])
            for name, file in manifest["files"].items()
            if name not in without
        )
        int(info.bytes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise broken(path / MANIFEST) from error
    for size, name, checksum in files:
        file = path / name
        small -= size
        if not file.is_file() or file.stat().st_size != size or (small >= 0 and _sha256(file, report) != checksum):
            raise broken(file)
    return info


def folder_state(path: Path) -> tuple[int, int] | None:
    """Changes when another folder takes the place of an index; ``None`` where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def verify_index(path: Path, report: Report = ignore) -> IndexInfo:
    """Checks every file of an index against its checksum, as :func:`open_manifest` does for small ones.

    Raises:
        RetrievalIndexError: As there, and where this version cannot cut queries as its passages were.
    """
    info = open_manifest(path, small=2**63, report=report)
    tokenizer_of(info.tokenizer, path)
    return info


def _manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        with suppress(OSError):
            _clear_leftovers(path.resolve())
    if not path.exists():
        raise RetrievalIndexError(f"There is no index {path}", "Check the path, or build it first.")
    file = path / MANIFEST
    if not file.is_file():
        raise RetrievalIndexError(f"{path} is not an index: it has no {MANIFEST}", _NAME_ONE)
    try:
        manifest = json_of(file.read_bytes())
    except (OSError, ValueError) as error:
        raise broken(file, error) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise RetrievalIndexError(f"{path} is not an index of ragr1-lite: its {MANIFEST} is not one of ours", _NAME_ONE)
    if manifest.get("sha256") != _own_sha256(manifest) or not isinstance(manifest.get("version"), int):
        raise broken(file)
    if manifest["version"] != FORMAT_VERSION:
        newer = manifest["version"] > FORMAT_VERSION
        raise RetrievalIndexError(
            f"The index {path} was built by {'a newer' if newer else 'an older'} version of ragr1-lite "
            f"({manifest.get('package')})",
            "Upgrade ragr1-lite, or build the index again." if newer else REBUILD,
        )
    return manifest


def _own_sha256(manifest: dict[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _clear_leftovers(out: Path) -> None:
    """Removes what dead processes, or an earlier one of our number, left of building in ``out``."""
    import psutil

    if not out.parent.is_dir():
        return
    for path in sorted(out.parent.iterdir()):
        left = re.fullmatch(rf"\.{re.escape(out.name)}\.(building|old)-(\d{{1,9}})", path.name)
        if left is None or (int(left[2]) != os.getpid() and psutil.pid_exists(int(left[2]))):
            continue
        if left[1] == "old" and not out.exists():
            path.rename(out)  # Its process was killed between the two steps of overwriting.
        else:
            shutil.rmtree(path, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step; says whether this system and this disk can."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    manifest = out / MANIFEST
    if not manifest.is_file() or FORMAT.encode() not in manifest.read_bytes():
        raise RetrievalIndexError(f"{out} exists and is not an index", "Name a folder that does not exist yet.")
    if not overwrite:
        raise RetrievalIndexError(
            f"The index {out} exists already", "Name another folder, or replace it with --overwrite."
        )


def _sha256(path: Path, report: Report = ignore) -> str:
    digest, size = hashlib.sha256(), math.ceil(path.stat().st_size / 2**20)
    with phase(report, f"Checking {path.name}", size, "MiB") as advance, path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            advance(math.ceil(stream.tell() / 2**20))
    return digest.hexdigest()
