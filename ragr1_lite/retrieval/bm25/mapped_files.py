"""The files an index is made of: hashed as they are written, mapped into memory to be read.

Arrays have one axis and NumPy's own format (``.npy``, version 1.0), so that NumPy and bm25s read them. Their header is
made here and compared as a whole when they are opened: nothing in a file is parsed or trusted.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ragr1_lite.core.errors import RetrievalIndexError, fix_for

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

REBUILD = "Build it again."

Kind = Literal["<f4", "<i4", "<i8"]
_HEADER = 128
_CHUNK = 2**20


class HashedFile:
    """A new file, hashed while it is written.

    Attributes:
        size: Bytes written so far.
        sha256: The checksum, once the file is closed.
    """

    def __init__(self, path: Path) -> None:
        self.size, self.sha256 = 0, ""
        self._stream = path.open("wb")
        self._hash = hashlib.sha256()
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        """Appends bytes."""
        self.size += len(data)
        self._pending += data
        if len(self._pending) >= _CHUNK:
            self._flush()

    def write_array(self, values: Array) -> None:
        """Appends the bytes of an array, shape ``(values,)``."""
        step = _CHUNK // values.itemsize
        for start in range(0, len(values), step):
            self.write(values[start : start + step].tobytes())

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        with self._stream:
            if failed is None:
                self._flush()
                self.sha256 = self._hash.hexdigest()

    def _flush(self) -> None:
        self._hash.update(self._pending)
        self._stream.write(self._pending)
        self._pending.clear()


@contextmanager
def new_array(path: Path, kind: Kind, length: int) -> Iterator[HashedFile]:
    """Opens an array's file, to be filled with ``length`` values by :meth:`HashedFile.write_array`."""
    with HashedFile(path) as file:
        file.write(_header(kind, length))
        yield file


def save_array(path: Path, kind: Kind, values: Array) -> str:
    """Writes an array, shape ``(values,)``, and returns its file's SHA-256."""
    with new_array(path, kind, len(values)) as file:
        file.write_array(values.astype(kind, copy=False))
    return file.sha256


def load_array(path: Path, kind: Kind) -> Array:
    """Maps an array into memory, as a plain read-only array: slices of ``np.memmap`` are slow to make.

    Raises:
        RetrievalIndexError: The file is missing, empty, or not such an array.
    """
    import numpy as np

    mapped = map_file(path)
    length, rest = divmod(len(mapped) - _HEADER, np.dtype(kind).itemsize)
    if rest or length < 1 or mapped[:_HEADER] != _header(kind, length):
        raise broken(path)
    return np.frombuffer(mapped, kind, offset=_HEADER)


def map_file(path: Path) -> mmap.mmap:
    """Maps a file into memory, read-only; raises RetrievalIndexError where it is missing or empty."""
    try:
        with path.open("rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise broken(path, error) from error


def broken(file: Path, error: Exception | None = None) -> RetrievalIndexError:
    """The error that names a file of an index that is broken, missing, or cannot be read."""
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        why = f"The file {file.name} of the index {file.parent} cannot be read ({error.strerror or error})"
        return RetrievalIndexError(why, fix_for(error, "Check its permissions."))
    state = "is broken" if file.exists() else "is missing"
    return RetrievalIndexError(f"The file {file.name} of the index {file.parent} {state}", REBUILD)


def _header(kind: Kind, length: int) -> bytes:
    fields = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({length},), }}"
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + fields.ljust(_HEADER - 11).encode() + b"\n"
