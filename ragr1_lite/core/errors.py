"""Every error a user can cause, each with a line that says how to fix it; any other is a bug and is shown as one."""

from __future__ import annotations

import errno
import re


class RagR1Error(Exception):
    """A problem the user can fix: one sentence what is wrong, without a full stop at its end, and one how to fix it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}"


class ConfigError(RagR1Error):
    """A recipe or an option is wrong."""


class DataError(RagR1Error):
    """A corpus, question or trajectory file is wrong."""


class RetrievalIndexError(RagR1Error):
    """An index is missing, broken or too new."""


class ModelError(RagR1Error):
    """A model or adapter cannot be loaded."""


class RunError(RagR1Error):
    """A run folder cannot be used or continued."""


class StorageError(RagR1Error):
    """The disk is full or not writable."""


FAILING = {getattr(errno, name) for name in ("EIO", "ESTALE", "EREMOTEIO", "ENOTCONN") if hasattr(errno, name)}
"""How systems number what a disk that fails and a network share that is gone answer."""


def fix_for(error: OSError, usual: str) -> str:
    """How to fix a file's error: the ``usual`` way, unless its disk or network share fails."""
    return "Check its disk or network share." if error.errno in FAILING else usual


_NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED|could not create a primitive$"
)
"""How CUDA's libraries, torch's allocator for CPUs and oneDNN say it, in errors of no type of their own."""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, Python's or torch's, on the CPU or a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line: with the next one where the first only announces it.

    Pydantic's own first line only counts its errors.
    """
    text = str(error)
    if callable(details := getattr(error, "errors", None)):
        first = details()[0]
        text = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".")
