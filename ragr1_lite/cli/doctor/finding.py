"""What a check found."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from ragr1_lite.core.errors import first_line


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    detail: str  # with what follows, where something optional is absent
    fix: str = ""  # where something needed is broken

    @property
    def ok(self) -> bool:
        """Whether nothing needed is broken."""
        return not self.fix

    def to_json(self) -> dict[str, Any]:
        """``{"name", "ok", "detail", "fix"}``."""
        return {"name": self.name, "ok": self.ok} | asdict(self)


def load(name: str, *, without: str | None = None) -> ModuleType:
    """Imports a package, which may raise anything.

    Meanwhile the package ``without`` seems missing, unless it was imported before.
    """
    if without is None or without in sys.modules:
        return importlib.import_module(name)
    sys.modules[without] = None  # type: ignore[assignment]  # what cannot be imported
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[without]


def error_line(error: BaseException) -> str:
    """An error in one line, its kind first."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"[:200]
