"""What a look at one thing found."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        ok: False where something needed is broken. What is merely absent is no fault: its detail says what follows.
        detail: What was found.
        mend: How to mend it; empty when it is ok.
    """

    name: str
    ok: bool
    detail: str
    mend: str = ""


def load(name: str, *, without: str | None = None) -> ModuleType:
    """Imports a package that may be broken.

    Args:
        name: Its name.
        without: Another package that is to seem missing meanwhile, unless it was imported before.

    Raises:
        Exception: Whatever it raises.
    """
    if without is None or without in sys.modules:
        return importlib.import_module(name)
    sys.modules[without] = None  # type: ignore[assignment]  # what cannot be imported
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[without]


def told(error: BaseException) -> str:
    """An error in one line, with its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}"[:200] if lines else type(error).__name__
