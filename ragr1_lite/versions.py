"""The versions that every figure was measured with: ``constraints.txt``, which is shipped with the package."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

VLLM = "vllm>=0.27,<0.28"
"""The releases that go with the tested versions and read 4-bit weights themselves: the table in docs/training.md."""
VLLM_4BIT = "vllm-bnb-plugin"
"""What later releases read 4-bit weights by."""


def tested_versions() -> dict[str, str]:
    """Versions by the packages' names, as ``constraints.txt`` spells them."""
    lines = (line.partition("#")[0].strip() for line in _constraints().read_text(encoding="utf-8").splitlines())
    pins = (line.partition("==") for line in lines if line)
    return {name: version for name, _, version in pins}


def pip_line(names: Iterable[str], *flags: str) -> str:
    """The command that installs these packages, in their tested versions where there are some.

    It is uv's where this environment has no pip, as those that uv makes.

    >>> pip_line(["trl", "ragr1-lite[gpu]"])
    'pip install "trl==1.14.2" "ragr1-lite[gpu]"'
    """
    tool = "uv pip" if find_spec("pip") is None and shutil.which("uv") else "pip"
    versions = tested_versions()
    wanted = (f'"{name}=={versions[name]}"' if name in versions else f'"{name}"' for name in names)
    return " ".join([tool, "install", *flags, *wanted])


def install_hint(extra: str) -> str:
    """How to install what an extra of this package brings, such as ``serve``."""
    return f"Install it: {pip_line([f'ragr1-lite[{extra}]'])}"


def versions() -> dict[str, str]:
    """The installed versions that figures depend on."""
    names = "torch transformers trl peft bitsandbytes unsloth unsloth_zoo bm25s ragr1-lite".split()
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
