"""An index on disk: its folder, its manifest with checksums, and its passages, fetched by offset.

The folder holds what bm25s writes and reads itself (``*.index.npy``, ``*.index.json``) and beside it::

    passages.jsonl          one passage a line: id, title, text
    passages.offsets.npy    int64, shape (count + 1,): where each line begins, and where the last one ends
    manifest.json           written last: what was built, and the size and SHA-256 of every file
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragr1_lite.core import Passage
from ragr1_lite.errors import RetrievalIndexError, StorageError

if TYPE_CHECKING:
    import numpy as np

FORMAT = "ragr1-lite-bm25"
FORMAT_VERSION = 1
MANIFEST, PASSAGES, OFFSETS = "manifest.json", "passages.jsonl", "passages.offsets.npy"
REBUILD = "Build it again."
NAME_ONE = "Name the folder an index was built in."


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
    """

    path: Path | None
    passages: int
    words: int
    k1: float
    b: float
    tokenizer: dict[str, str]
    bytes: int
    package: str


class PassageFile:
    """The passages of an index, read from its memory-mapped files when asked for.

    Raises:
        RetrievalIndexError: The files do not fit each other.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PASSAGES
        self._offsets = load_array(folder / OFFSETS)
        try:
            with self._path.open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise broken(self._path) from error
        if self._offsets.ndim != 1 or len(self._offsets) < 2 or self._offsets[-1] != len(self._map):
            raise broken(folder / OFFSETS)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, position: int) -> Passage:
        try:
            return Passage(**json.loads(self._map[self._offsets[position] : self._offsets[position + 1]]))
        except (ValueError, TypeError) as error:
            raise broken(self._path) from error


def write_passages(folder: Path, passages: Iterable[Passage]) -> Iterator[Passage]:
    """Yields the passages on while it writes them into ``folder``."""
    import numpy as np

    offsets = array("q", [0])
    with (folder / PASSAGES).open("wb") as stream:
        for passage in passages:
            row = {"id": passage.id, "title": passage.title, "text": passage.text}
            # A passage that came from elsewhere than a corpus may hold half of a surrogate pair: it is kept as it is.
            line = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
            offsets.append(offsets[-1] + stream.write(line))
            yield passage
    np.save(folder / OFFSETS, np.asarray(offsets, dtype=np.int64), allow_pickle=False)


def load_array(path: Path) -> np.ndarray[Any, Any]:
    """Maps an array into memory, as a plain read-only array: slices of ``np.memmap`` are slow to make."""
    import numpy as np

    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise broken(path) from error


@contextmanager
def new_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Gives a folder beside ``out`` to build in, which takes the place of ``out`` in one step when all went well.

    Whatever ends the building early leaves ``out`` as it was, or absent.

    Raises:
        RetrievalIndexError: ``out`` exists and may not be overwritten, or is not an index.
        StorageError: The disk is full or not writable.
    """
    out = out.resolve()
    _check_target(out, overwrite)
    building = out.with_name(f".{out.name}.building-{os.getpid()}")
    retired = out.with_name(f".{out.name}.old-{os.getpid()}")
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        yield building
        if out.exists():
            out.rename(retired)
        building.rename(out)
    except OSError as error:
        raise StorageError(
            f"The index cannot be written to {out} ({error.strerror or error})", "Make room, or name another folder."
        ) from error
    finally:
        if retired.exists() and not out.exists():
            retired.rename(out)
        shutil.rmtree(building, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def write_manifest(folder: Path, info: IndexInfo, **more: str) -> IndexInfo:
    """Writes the manifest of a finished ``folder`` and returns the information with the size filled in."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(folder.iterdir())}
    info = replace(info, bytes=sum(path.stat().st_size for path in folder.iterdir()))
    fields = asdict(replace(info, path=None))
    del fields["path"]
    manifest = {"format": FORMAT, "version": FORMAT_VERSION, **fields, **more, "files": files}
    manifest["sha256"] = _own_sha256(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return info


def open_manifest(path: Path, *, small: int = 0) -> IndexInfo:
    """Reads an index's manifest and checks that its files are there in the right sizes.

    Args:
        path: The index's folder.
        small: Files together up to this many bytes are checked by their checksums too.

    Raises:
        RetrievalIndexError: The folder is missing, no index, newer than this version, or broken.
    """
    manifest = _manifest(path)
    try:
        fields = {name: manifest[name] for name in IndexInfo.__dataclass_fields__ if name != "path"}
        info = IndexInfo(path=path, **fields)
        files = {name: (file["bytes"], file["sha256"]) for name, file in manifest["files"].items()}
        by_checksum = info.bytes <= small
    except (KeyError, TypeError, AttributeError) as error:
        raise broken(path / MANIFEST) from error
    for name, (size, checksum) in files.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size or (by_checksum and _sha256(file) != checksum):
            raise broken(file)
    return info


def verify_index(path: Path) -> IndexInfo:
    """Checks every file of an index against its checksum.

    Raises:
        RetrievalIndexError: Names the first file that is missing or is not what was built.
    """
    return open_manifest(path, small=2**63)


def broken(file: Path) -> RetrievalIndexError:
    """The error that names a broken file of an index."""
    state = "is broken" if file.exists() else "is missing"
    return RetrievalIndexError(f"The file {file.name} of the index {file.parent} {state}", REBUILD)


def _manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise RetrievalIndexError(f"There is no index {path}", "Check the path, or build it first.")
    file = path / MANIFEST
    if not file.is_file():
        raise RetrievalIndexError(
            f"{path} is not an index: it has no {MANIFEST}", "Name the folder an index was built in."
        )
    try:
        manifest = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise broken(file) from error
    if (
        not isinstance(manifest, dict)
        or manifest.get("format") != FORMAT
        or not isinstance(manifest.get("version"), int)
    ):
        raise RetrievalIndexError(f"{path} is not an index of ragr1-lite", "Name the folder an index was built in.")
    if manifest["version"] > FORMAT_VERSION:
        raise RetrievalIndexError(
            f"The index {path} was built by a newer version of ragr1-lite ({manifest.get('package')})",
            "Upgrade ragr1-lite, or build the index again.",
        )
    if manifest.get("sha256") != _own_sha256(manifest):
        raise broken(file)
    return manifest


def _own_sha256(manifest: dict[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    manifest = out / MANIFEST
    if not manifest.is_file() or FORMAT.encode() not in manifest.read_bytes():
        raise RetrievalIndexError(f"{out} exists and is not an index", "Name a folder that does not exist yet.")
    if not overwrite:
        raise RetrievalIndexError(
            f"The index {out} exists already", "Name another folder, or ask for it to be overwritten."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
