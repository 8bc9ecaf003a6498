"""One run at a time in a folder or a file of results: whoever comes second is refused, and a killed one leaves it free.

The lock is ``.NAME.lock`` next to what is written, so that it holds for every process that sees that folder. It is the
operating system's: it ends with its process, and a file that was left over means nothing.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import ParamSpec, TypeVar

from ragr1_lite.core.errors import RunError

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def alone(out: Path | None) -> Iterator[None]:
    """Keeps other processes from working on ``out`` meanwhile; the same thread may enter it again.

    Where no lock can be made, as in a folder that cannot be written, the work itself says what is wrong with it.

    Raises:
        RunError: Another process works on it.
    """
    real = Path(os.path.realpath(out or "/"))
    if not real.name:
        yield
        return
    from filelock import FileLock, Timeout

    path = real.with_name(f".{real.name}.lock")
    made = [folder for folder in path.parents if not folder.exists()]
    lock = FileLock(path, timeout=0, is_singleton=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        hint = "Wait until it ends or stop it, or choose another output."
        raise RunError(f"Another run is writing {out}", hint) from None
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):
                path.unlink()
        lock.release()
        with suppress(OSError):  # one that is not empty ends it
            for folder in made:
                folder.rmdir()


def alone_at(argument: str, when: Callable[[], bool] = lambda: True) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """The function is :func:`alone` at a path that its arguments name, such as ``out`` or ``recipe.output``."""

    def wrap(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @wraps(function)
        def only_one(*args: P.args, **kwargs: P.kwargs) -> T:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            with alone(attrgetter(argument)(SimpleNamespace(**given.arguments)) if when() else None):
                return function(*args, **kwargs)

        return only_one

    return wrap
