"""The versions that every figure was measured with: ``constraints.txt``, which is shipped with the package."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path


def tested_versions() -> dict[str, str]:
    """Versions by the packages' names, as ``constraints.txt`` spells them."""
    lines = (line.partition("#")[0].strip() for line in _constraints().read_text(encoding="utf-8").splitlines())
    pins = (line.partition("==") for line in lines if line)
    return {name: version for name, _, version in pins}


def pip_line(names: Iterable[str]) -> str:
    """The command that installs these packages in their tested versions.

    >>> pip_line(["trl"])
    'pip install "trl==1.14.2"'
    """
    versions = tested_versions()
    return " ".join(["pip install", *(f'"{name}=={versions[name]}"' for name in names)])


def versions() -> dict[str, str]:
    """The installed versions that figures depend on."""
    names = ("torch", "transformers", "trl", "peft", "bm25s", "ragr1-lite")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _constraints() -> Path:
    """Inside the installed package, or at the top of a checkout."""
    installed = Path(__file__).with_name("constraints.txt")
    return installed if installed.is_file() else Path(__file__).parent.parent / "constraints.txt"
