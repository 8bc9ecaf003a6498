"""What every command runs in: a display, silenced libraries, and errors as sentences with exit codes."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ragr1_lite.core.errors import FAILING, ConfigError, RagR1Error, StorageError, out_of_memory

if TYPE_CHECKING:
    from ragr1_lite.ui import Display

_SPACE_FIX = "Free some space or choose another folder; RAGR1_LITE_CACHE moves the model cache."
_FOLDER_FIX = "Choose another folder; RAGR1_LITE_CACHE moves the model cache."
_DISK_FIX = "Check that disk or network share, and run the command again."
_STORAGE = {
    **dict.fromkeys(FAILING, ("A disk or network share fails", _DISK_FIX)),
    errno.ENOSPC: ("There is no space left on the disk", _SPACE_FIX),
    errno.EDQUOT: ("The disk quota is used up", _SPACE_FIX),
    errno.EROFS: ("The disk cannot be written to", _FOLDER_FIX),
    errno.EACCES: ("Permission is denied", _FOLDER_FIX),
}
_NO_FILE = {
    errno.ENAMETOOLONG: "is too long for a path",
    errno.ELOOP: "is a link to itself",
    errno.ENOTDIR: "goes through a file as if it were a folder",
    errno.EISDIR: "is a folder",
    errno.EPERM: "may not be changed",
}
_MEMORY_FIX = "Lower train.micro_batch and rollout.batch_size with --set, or --batch-size, or choose a smaller model."
_QUIET = {
    "BITSANDBYTES_NOWELCOME": "1",
    "DATASETS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of every command."""

    debug: bool = False
    quiet: bool = False


@contextlib.contextmanager
def session(context: typer.Context, *, plain: bool = False, as_json: bool = False) -> Iterator[Display]:
    """A display, with other libraries silenced and errors as sentences with exit codes."""
    options: Options = context.find_root().obj
    from ragr1_lite.ui import Display

    display = Display(quiet=options.quiet, plain=plain, as_json=as_json)
    try:
        with _silenced(options.debug):
            yield display
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        display.close()
        if options.debug:
            import traceback

            traceback.print_exc()
        raise typer.Exit(_explain(error, display, context.info_name or "")) from None
    finally:
        display.close()


def _explain(error: BaseException, display: Display, command: str) -> int:
    """Prints an error of a command in one line and returns the exit code."""
    from ragr1_lite.ui.text import one_line

    match error:
        case KeyboardInterrupt():
            saved = display.checkpoint if command in ("sft", "grpo") else None
            kept = f"The checkpoint of step {saved.step} is kept: go on with --resume." if saved else ""
            if command == "learn":
                kept = "What is finished is kept: the same command goes on."
            display.error(kept, "Stopped.")
            return 128 + (error.args[0] if error.args else signal.SIGINT)
        case BrokenPipeError():
            # Python would write what the stream still holds once more, and complain.
            with contextlib.suppress(OSError):  # it may have no file
                os.dup2(os.open(os.devnull, os.O_WRONLY), display.stdout.fileno())
            return 141
        case RagR1Error():
            display.error(str(error))
            return exit_code(error)
        case OSError(errno=number, filename=name) if number in _STORAGE:
            problem, fix = _STORAGE[number]
            display.error(str(StorageError(f"{problem} ({name})" if name else problem, fix)))
            return 1
        case OSError(errno=number, filename=name) if number in _NO_FILE and name:
            display.error(str(StorageError(f"{one_line(str(name), 200)} {_NO_FILE[number]}", "Check that path.")))
            return 1
        case RuntimeError() if "home directory" in str(error):  # as pathlib says of ~ and of no HOME
            display.error("Your home directory is not known. Set HOME, or write a path without ~.")
            return 1
        case _ if out_of_memory(error):
            display.error(f"The memory ran out. {_MEMORY_FIX}")
            return 1
    cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    display.error(f"This is a bug in ragr1-lite: {cause}; run again with --debug and report it.")
    return 70


def exit_code(error: RagR1Error) -> int:
    """2 for wrong usage, 1 for all else that the user can fix."""
    return 2 if isinstance(error, ConfigError) else 1


@contextlib.contextmanager
def _silenced(debug: bool) -> Iterator[None]:
    """Hides other libraries' warnings, logs and bars, and keeps their prints out of the results.

    Environment variables that the user has set stay.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if debug:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    import logging
    import warnings

    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
