"""What every command runs in: a display, other libraries' silence, and errors as sentences with exit codes."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from ragr1_lite.core.errors import ConfigError, RagR1Error, StorageError, out_of_memory

if TYPE_CHECKING:
    from ragr1_lite.ui import Display


@dataclass(frozen=True, slots=True)
class Options:
    """The options of every command."""

    debug: bool = False
    quiet: bool = False


@contextlib.contextmanager
def session(context: typer.Context, *, plain: bool = False) -> Iterator[Display]:
    """What every command runs in: a display, other libraries' silence, and errors as sentences with exit codes."""
    options: Options = context.find_root().obj
    from ragr1_lite.ui import Display

    display = Display(quiet=options.quiet, plain=plain)
    try:
        with _hushed(options.debug):
            yield display
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        display.close()
        if options.debug:
            import traceback

            traceback.print_exc()
        raise typer.Exit(_explain(error, display, resumable=context.info_name in ("sft", "grpo"))) from None
    finally:
        display.close()


def _explain(error: BaseException, display: Display, *, resumable: bool) -> int:
    """Tells an error in one line and returns the exit code."""
    match error:
        case KeyboardInterrupt():
            saved = display.checkpoint if resumable else None
            kept = f"The checkpoint of step {saved.step} is kept: go on with --resume." if saved else ""
            display.error(kept, "Stopped.")
            return 130
        case BrokenPipeError():
            _forget(display.stdout)
            return 141
        case RagR1Error():
            display.error(str(error))
            return 2 if isinstance(error, ConfigError) else 1
        case OSError(errno=number) if number in _STORAGE:
            display.error(str(StorageError(_STORAGE[number] + _where(error), _STORAGE_HINT)))
            return 1
        case _ if out_of_memory(error):
            display.error(f"The memory ran out. {_MEMORY_HINT}")
            return 1
    cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    display.error(f"This is a bug in ragr1-lite: {cause}; run again with --debug and report it.")
    return 70


def _forget(stream: TextIO) -> None:
    """Sends what a stream still holds nowhere; Python would try to write it once more, and complain."""
    with contextlib.suppress(OSError):  # It may have no file.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_STORAGE = {
    errno.ENOSPC: "There is no space left on the disk",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "The disk cannot be written to",
    errno.EACCES: "Permission is denied",
}
_STORAGE_HINT = "Free some space or choose another folder; RAGR1_LITE_CACHE moves the model cache."
_MEMORY_HINT = "Lower train.micro_batch and rollout.batch_size with --set, or --batch-size, or choose a smaller model."


def _where(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""


@contextlib.contextmanager
def _hushed(debug: bool) -> Iterator[None]:
    """Keeps other libraries' warnings, logs and bars away, and what they print out of the results.

    Environment variables the user has set stay as they are.
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
