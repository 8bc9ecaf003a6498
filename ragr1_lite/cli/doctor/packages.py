"""Python and the packages: there, importable, of versions that work together."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ragr1_lite.cli.doctor.finding import Finding, load, told
from ragr1_lite.versions import pip_line, tested_versions

OLDEST_PYTHON = (3, 11)
_ASIDE = ("torch", "bitsandbytes", "numba")
"""Packages with a finding of their own."""


def python() -> Iterator[Finding]:
    """The interpreter."""
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info >= OLDEST_PYTHON:
        yield Finding("python", True, detail)
    else:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield Finding("python", False, f"{detail}, older than {oldest}", f"Install Python {oldest} or newer.")


def pinned() -> Iterator[Finding]:
    """The packages this one needs: missing, outside their ranges, or others than those everything was tested with."""
    tested = {canonicalize_name(name): version for name, version in tested_versions().items()}
    missing, wrong, other, total = [], [], [], 0
    for need in _needs():
        name, total = canonicalize_name(need.name), total + 1
        version = installed(need.name)
        if version is None:
            missing.append(need.name)
        elif version not in need.specifier:
            wrong.append((need.name, f"{need.name} {version} (needs {need.specifier})"))
        elif (expected := tested.get(name)) and Version(version).public != expected:
            other.append(f"{need.name} {version} (tested {expected})")
    if missing or wrong:
        said = [f"missing: {', '.join(missing)}"] if missing else []
        said += [f"of versions that do not work here: {', '.join(text for _, text in wrong)}"] if wrong else []
        yield Finding("packages", False, "; ".join(said), _install(missing + [name for name, _ in wrong]))
    elif other:
        yield Finding("packages", True, f"{total} in their ranges; other versions than tested: {', '.join(other)}")
    else:
        yield Finding("packages", True, f"{total} in the tested versions")


def torch() -> Iterator[Finding]:
    """PyTorch, and whether it is a build for this machine's card."""
    if installed("torch") is None:
        yield Finding("torch", False, "not installed", _install(["torch"]))
        return
    try:
        module = load("torch")
    except Exception as error:  # a library of its own that is missing is an OSError
        yield Finding("torch", False, f"cannot be imported: {told(error)}", _install(["torch"], again=True))
        return
    cuda = module.version.cuda
    detail = f"{module.__version__}, {f'built for CUDA {cuda}' if cuda else 'without CUDA'}"
    cards = 0 if module.cuda.is_available() else _cards_of_driver()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if cards and hidden is not None and hidden.strip() in ("", "-1"):
        yield Finding("torch", True, f"{detail}; the NVIDIA card is hidden by CUDA_VISIBLE_DEVICES={hidden}")
    elif cards and not cuda:
        mend = f"Install a build with CUDA: {_install(['torch'], again=True)}"
        yield Finding("torch", False, f"{detail}, although there is an NVIDIA card", mend)
    elif cards:
        mend = "Update the NVIDIA driver, or install a build of PyTorch for an older CUDA."
        yield Finding("torch", False, f"{detail}, which does not work with this machine's NVIDIA driver", mend)
    else:
        yield Finding("torch", True, detail)


def bitsandbytes() -> Iterator[Finding]:
    """Quantization to 4 bits: whether its compiled library is in use."""
    name, version = "bitsandbytes", installed("bitsandbytes")
    if version is None:
        yield Finding(name, True, "not installed: no 4-bit weights, so a model takes four times the memory")
        return
    try:
        library = load("bitsandbytes.cextension", without="kernels").lib  # it would fetch one from the hub
    except Exception as error:
        yield Finding(name, False, f"{version}, cannot be imported: {told(error)}", _install([name], again=True))
        return
    card, kind = has_card(), type(library).__name__
    if "Mock" in kind or (card and not library.compiled_with_cuda):
        detail = f"{version}, its library for {'this CUDA' if card else 'this CPU'} does not load"
        if card:
            mend = f"Run python -m bitsandbytes, which says why; often {_install([name], again=True)} mends it."
            yield Finding(name, False, detail, mend)
        else:
            yield Finding(name, True, f"{detail}: 4-bit weights are slow here")
    else:
        yield Finding(name, True, f"{version}, its library for {'CUDA' if card else 'the CPU'} loads")


def numba() -> Iterator[Finding]:
    """Compiled search."""
    version = installed("numba")
    without = "bm25s searches instead: equal results, slower on large indexes"
    if version is None:
        yield Finding("numba", True, f"not installed: {without}")
    elif os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        yield Finding("numba", True, f"{version}, switched off by NUMBA_DISABLE_JIT: {without}")
    else:
        yield Finding("numba", True, version)


def unsloth() -> Iterator[Finding]:
    """The faster loader and trainer of cards."""
    yield _of_cards("unsloth", "transformers and peft train instead, more slowly", "pip install 'ragr1-lite[gpu]'")


def vllm() -> Iterator[Finding]:
    """The faster sampler of cards."""
    yield _of_cards("vllm", "our own sampler makes the rollouts", "pip install vllm")


def installed(name: str) -> str | None:
    """A package's version; None where it is not installed. Nothing is imported."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def has_card() -> bool:
    """Whether PyTorch works and sees a card."""
    try:
        return bool(load("torch").cuda.is_available())
    except Exception:  # which is a finding of its own
        return False


def _of_cards(name: str, instead: str, install: str) -> Finding:
    """An extra that runs on NVIDIA cards alone; unsloth cannot even be imported without one."""
    version, card = installed(name), has_card()
    if version is None:
        return Finding(name, True, f"not installed: {f'{instead} ({install} adds it)' if card else 'no card here'}")
    return Finding(name, True, version if card else f"{version}, not used: it needs an NVIDIA card")


def _needs() -> list[Requirement]:
    """The requirements of this package without its extras, those aside that have a finding of their own."""
    try:
        lines: Sequence[str] = importlib.metadata.requires("ragr1-lite") or ()
    except importlib.metadata.PackageNotFoundError:  # a checkout
        source = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
        lines = tomllib.loads(source)["project"]["dependencies"]
    needs = map(Requirement, lines)
    wanted = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return [need for need in wanted if need.name not in _ASIDE]


def _install(names: Sequence[str], *, again: bool = False) -> str:
    """The line that installs these packages in their tested versions, over themselves where they are broken."""
    spelled = {canonicalize_name(name): name for name in tested_versions()}
    line = pip_line([spelled[canonicalize_name(name)] for name in names])
    return line.replace("install", "install --force-reinstall --no-deps", 1) if again else line


def _cards_of_driver() -> int:
    """NVIDIA cards that the driver knows, whatever PyTorch says."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=3, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())
