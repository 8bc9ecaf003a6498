"""Writes files so that nothing is half written, and turns a full or read-only disk into one error."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ragr1_lite.core.errors import DataError, StorageError, fix_for

MIB = 1 << 20
CACHE_HINT = "Free some space, or set RAGR1_LITE_CACHE (for hub models HF_HOME) to a folder on another disk."
_NO_FOLDERS = (errno.EACCES, errno.EBADF, errno.EINVAL, errno.EISDIR)
"""What systems say that sync files and no folders."""


def write_atomic(path: Path, text: str) -> None:
    """Writes a text file so that it is the old or the new one, never half of it; raises StorageError."""
    temporary = beside(path, f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            temporary.write_text(text, encoding="utf-8")
            sync(temporary)
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Writes a value as :func:`json_text` has it, indented, in the way of :func:`write_atomic`."""
    write_atomic(path, json_text(value, indent=2) + "\n")


def sync(*paths: Path) -> None:
    """Returns when files, and the names in folders, are on the disk, where a power cut does not take them."""
    for path in paths:
        folder = path.is_dir()
        try:
            descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            if not folder or error.errno not in _NO_FOLDERS:
                raise


def beside(path: Path, name: str) -> Path:
    """The path of that name next to a file; raises DataError where ``path`` is no file's: empty, or a dot."""
    if not path.name:
        raise DataError(f"{str(path)!r} names no file to write", "Give the file's name.")
    return path.with_name(name)


def refuse_input(out: Path, inputs: Iterable[str | Path | None], option: str = "--out") -> None:
    """Raises DataError where what is written would replace what is read, by whatever path or link either is named.

    ``out`` may be a folder that is replaced with all that is in it. Inputs that are no paths here, such as ``world`` or
    a URL, are passed over.
    """
    for read in filter(_is_there, (Path(name).expanduser() for name in inputs if name)):
        if _is_there(out) and out.samefile(read):
            raise DataError(f"{option} names {out}, which is read", f"Choose another {option}.")
        if out.is_dir() and read.resolve().is_relative_to(out.resolve()):
            raise DataError(f"{read} is read and lies in {out}, which {option} replaces", f"Choose another {option}.")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no name of a file: too long
        return False


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON; a number that is not finite, which JSON cannot write, is null.

    >>> json_text({"loss": float("nan")})
    '{"loss": null}'
    """
    try:
        return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def writing(path: Path, hint: str = "Free some disk space, or choose a folder you can write.") -> Iterator[None]:
    """Turns what the operating system says about a disk that is full, read-only or fails into StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageError(f"No space left to write {path}", hint) from error
        raise StorageError(f"{path} cannot be written ({error.strerror or error})", fix_for(error, hint)) from error


def require_space(folder: Path, needed: int) -> None:
    """Raises StorageError when the disk under ``folder`` has fewer than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder} has {free // MIB} MiB free and the model needs {needed // MIB} MiB",
            CACHE_HINT,
        )
