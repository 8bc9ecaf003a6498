"""Python and the packages: installed, importable, of versions that work together."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ragr1_lite.cli.doctor.finding import Finding, error_line, load
from ragr1_lite.versions import VLLM, VLLM_4BIT, pip_line, tested_versions

_OWN_CHECK = ("torch", "bitsandbytes", "numba")  # packages with a check of their own
_VLLM_IS_BUILT_FOR = ("torch", "transformers")


def python() -> Finding:
    """The interpreter."""
    return Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def pinned() -> Finding:
    """The required packages: missing, outside their ranges, or of other versions than the tested ones."""
    tested = {canonicalize_name(name): version for name, version in tested_versions().items()}
    missing, wrong, other, needs = [], {}, [], _needs()
    for need in needs:
        version = installed(need.name)
        if version is None:
            missing.append(need.name)
        elif version not in need.specifier:
            wrong[need.name] = f"{need.name} {version} (needs {need.specifier})"
        elif (expected := tested.get(canonicalize_name(need.name))) and Version(version).public != expected:
            other.append(f"{need.name} {version} (tested {expected})")
    if missing or wrong:
        problems = [f"missing: {', '.join(missing)}"] if missing else []
        problems += [f"of versions that do not work here: {', '.join(wrong.values())}"] if wrong else []
        return Finding("packages", "; ".join(problems), _install([*missing, *wrong]))
    if other:
        return Finding("packages", f"{len(needs)} in their ranges; other versions than tested: {', '.join(other)}")
    return Finding("packages", f"{len(needs)} in the tested versions")


def torch() -> Finding:
    """PyTorch, and whether it is a build for this machine's card."""
    if installed("torch") is None:
        return Finding("torch", "not installed", _install(["torch"]))
    try:
        module = load("torch")
    except Exception as error:  # a library of its own that is missing is an OSError
        return Finding("torch", f"cannot be imported: {error_line(error)}", _reinstall("torch"))
    cuda = module.version.cuda
    detail = f"{module.__version__}, {f'built for CUDA {cuda}' if cuda else 'without CUDA'}"
    if module.cuda.is_available() or not _driver_has_card():
        return Finding("torch", detail)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return Finding("torch", f"{detail}; the NVIDIA card is hidden by CUDA_VISIBLE_DEVICES={hidden}")
    if cuda:
        fix = "Update the NVIDIA driver, or install a build of PyTorch for an older CUDA."
        return Finding("torch", f"{detail}, which does not work with this machine's NVIDIA driver", fix)
    fix = f"Install a build with CUDA: {_reinstall('torch')}"
    return Finding("torch", f"{detail}, although there is an NVIDIA card", fix)


def bitsandbytes() -> Finding:
    """Quantization to 4 bits: whether its compiled library is in use."""
    name, version = "bitsandbytes", installed("bitsandbytes")
    if version is None:
        return Finding(name, "not installed: no 4-bit weights, so a model takes four times the memory")
    try:
        library = load("bitsandbytes.cextension", without="kernels").lib  # it would fetch one from the hub
    except Exception as error:
        return Finding(name, f"{version}, cannot be imported: {error_line(error)}", _reinstall(name))
    card, mock = has_card(), "Mock" in type(library).__name__
    if card and (mock or not library.compiled_with_cuda):
        fix = f"Run python -m bitsandbytes for the reason; often this is enough: {_reinstall(name)}"
        return Finding(name, f"{version}, its library for this CUDA does not load", fix)
    if mock:
        return Finding(name, f"{version}, its library for this CPU does not load: 4-bit weights are slow here")
    return Finding(name, f"{version}, its library for {'CUDA' if card else 'the CPU'} loads")


def numba() -> Finding:
    """Compiled search."""
    version = installed("numba")
    without = "NumPy searches instead: equal results, slower on large indexes"
    if version is None:
        return Finding("numba", f"not installed: {without}")
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return Finding("numba", f"{version}, switched off by NUMBA_DISABLE_JIT: {without}")
    return Finding("numba", version)


def unsloth() -> Finding:
    """The faster loader and trainer for cards."""
    return _for_cards("unsloth", "transformers and peft train instead, more slowly", "ragr1-lite[gpu]")


def vllm() -> Finding:
    """The faster sampler for cards, and whether it goes with what else is installed."""
    name, version = "vllm", installed("vllm")
    if version is None or not has_card():
        return _for_cards(name, "our own sampler makes the rollouts", VLLM)
    wrong = [
        f"{need.name}{need.specifier}, not {found}"
        for need in _applicable(importlib.metadata.requires(name) or ())
        if need.name in _VLLM_IS_BUILT_FOR and (found := installed(need.name)) and found not in need.specifier
    ]
    if wrong:
        return Finding(name, f"{version}, which needs {' and '.join(wrong)}", pip_line([VLLM]))
    if Version(version) >= Version("0.28") and installed(VLLM_4BIT) is None:
        without = "for 4-bit weights it needs a plugin, and until then our own sampler makes the rollouts"
        return Finding(name, f"{version}; {without}: {pip_line([VLLM_4BIT])}")
    return Finding(name, version)


def installed(name: str) -> str | None:
    """A package's version, without importing it; None where it is not installed."""
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


def _for_cards(name: str, instead: str, requirement: str) -> Finding:
    """An extra that runs on NVIDIA cards alone; unsloth cannot even be imported without one."""
    version, card = installed(name), has_card()
    if version is None:
        return Finding(name, f"not installed: {f'{instead}; {pip_line([requirement])}' if card else 'no card here'}")
    return Finding(name, version if card else f"{version}, not used: it needs an NVIDIA card")


def _needs() -> list[Requirement]:
    """The requirements of this package without its extras and without those that have a check of their own."""
    try:
        lines: Sequence[str] = importlib.metadata.requires("ragr1-lite") or ()
    except importlib.metadata.PackageNotFoundError:  # a checkout
        source = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
        lines = tomllib.loads(source)["project"]["dependencies"]
    return [need for need in _applicable(lines) if need.name not in _OWN_CHECK]


def _applicable(lines: Iterable[str]) -> list[Requirement]:
    """Those of a package's requirements that hold on this machine without its extras."""
    return [need for need in map(Requirement, lines) if need.marker is None or need.marker.evaluate({"extra": ""})]


def _install(names: Sequence[str], *flags: str) -> str:
    spelled = {canonicalize_name(name): name for name in tested_versions()}
    return pip_line([spelled[canonicalize_name(name)] for name in names], *flags)


def _reinstall(name: str) -> str:
    return _install([name], "--force-reinstall", "--no-deps")


def _driver_has_card() -> bool:
    """Whether the NVIDIA driver knows a card, whatever PyTorch reports."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=3, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(line.startswith("GPU ") for line in done.stdout.splitlines())
