"""The doctor: each thing that may be broken is a finding with its fix, and nothing that breaks stops the rest."""

from __future__ import annotations

import importlib.metadata
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from ragr1_lite import versions as known
from ragr1_lite.cli import doctor
from ragr1_lite.cli.doctor import Finding, machine, packages
from ragr1_lite.cli.doctor.finding import load
from ragr1_lite.training.planning.machine import GIB

Load = Callable[[str], Any]
A100 = {"name": "NVIDIA A100", "capability": (8, 0), "free": 38 * GIB, "total": 42.4 * GIB}


class Library:
    """What bitsandbytes loads."""

    def __init__(self, *, cuda: bool) -> None:
        self.compiled_with_cuda = cuda


class MockLibrary(Library):
    """What it puts in its place where that fails; whatever it is asked for, it has."""

    def __getattr__(self, name: str) -> Any:
        return lambda: name


def torch(*cards: dict[str, Any], cuda: str | None = None, architectures: tuple[str, ...] = ("sm_80", "sm_90")) -> Any:
    """A PyTorch that sees these cards."""
    return SimpleNamespace(
        __version__="2.13.0" + ("" if cuda or cards else "+cpu"),
        version=SimpleNamespace(cuda=cuda or ("13.0" if cards else None)),
        cuda=SimpleNamespace(
            is_available=lambda: bool(cards),
            device_count=lambda: len(cards),
            get_device_name=lambda number: cards[number]["name"],
            get_device_capability=lambda number: cards[number]["capability"],
            mem_get_info=lambda number: (cards[number]["free"], cards[number]["total"]),
            get_arch_list=lambda: list(architectures),
        ),
    )


@pytest.fixture(autouse=True)
def _pip_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "find_spec", lambda name: object())


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts other modules, or errors, in the place of packages that would be imported."""

    def put(**found: Any) -> None:
        def load(name: str, without: str | None = None) -> Any:
            assert (without == "kernels") == (name == "bitsandbytes.cextension"), "kernels come from the hub"
            one = {"bitsandbytes.cextension": "bitsandbytes"}.get(name, name)
            if isinstance(found[one], Exception):
                raise found[one]
            return found[one]

        for module in (packages, machine):
            monkeypatch.setattr(module, "load", load)

    return put


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts other versions in the place of those installed; None: not installed."""
    real = packages.installed

    def put(**found: str | None) -> None:
        known = {canonicalize_name(name): version for name, version in found.items()}

        def installed(name: str) -> str | None:
            return known[key] if (key := canonicalize_name(name)) in known else real(name)

        monkeypatch.setattr(packages, "installed", installed)

    return put


def one(found: Finding | list[Finding]) -> Finding:
    (finding,) = found if isinstance(found, list) else [found]
    return finding


def driver(monkeypatch: pytest.MonkeyPatch, *cards: str) -> None:
    listed = SimpleNamespace(stdout="".join(f"GPU {number}: {card}\n" for number, card in enumerate(cards)))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: listed)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


# The whole


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("first", "fine")
        raise OSError("libcuda.so.1: cannot open shared object file\nand more")

    checks: dict[str, doctor.Check] = {"broken": broken, "python": packages.python}
    monkeypatch.setattr(doctor, "checks", lambda *, online: checks)
    first, second = doctor.examine()
    assert (first.name, first.ok) == ("broken", False)
    assert "OSError: libcuda.so.1: cannot open shared object file" in first.detail and "and more" not in first.detail
    assert first.fix and second.name == "python" and second.ok


def test_everything_is_checked(loads: Callable[..., None]) -> None:
    loads(torch=torch(A100, A100), bitsandbytes=SimpleNamespace(lib=Library(cuda=True)))
    names = [finding.name for finding in doctor.examine()]
    assert [name for name in doctor.checks(online=False) if name not in names] == ["gpu"]
    assert names.count("gpu 0") == names.count("gpu 1") == 1


def test_nothing_is_sent_unless_it_is_wanted(loads: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    loads(torch=torch(), bitsandbytes=SimpleNamespace(lib=Library(cuda=False)))
    hub = doctor.examine()[-1]
    assert hub == Finding("hub", "not asked; --online asks")


def test_a_package_may_be_loaded_as_if_another_were_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sightless.py").write_text("try:\n    import wave\nexcept ImportError:\n    wave = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    assert load("sightless", without="wave").wave is None
    assert "wave" not in sys.modules
    assert load("wave").__name__ == "wave"
    with pytest.raises(ImportError):
        load("not_there", without="nothing_either")
    assert "nothing_either" not in sys.modules


# Python and packages


def test_python() -> None:
    assert one(packages.python()) == Finding(
        "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    )


def test_packages_as_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    pins = {name.lower(): version for name, version in known.tested_versions().items()}
    monkeypatch.setattr(packages, "installed", lambda name: pins[name.lower()])
    assert "in the tested versions" in one(packages.pinned()).detail


def test_other_versions_within_their_ranges_are_named(versions: Callable[..., None]) -> None:
    versions(trl="1.14.0", rich="14.0.0")
    found = one(packages.pinned())
    assert (
        found.ok
        and f"trl 1.14.0 (tested {known.tested_versions()['trl']})" in found.detail
        and "rich 14.0.0" in found.detail
    )


def test_missing_packages_and_wrong_versions(versions: Callable[..., None]) -> None:
    versions(trl="2.0.0", peft=None, PyYAML=None)
    found = one(packages.pinned())
    assert not found.ok and "missing: peft, pyyaml" in found.detail.lower() and "trl 2.0.0 (needs " in found.detail
    pins = known.tested_versions()
    for name in ("trl", "peft", "PyYAML"):
        assert f'"{name}=={pins[name]}"' in found.fix
    assert found.fix.startswith("pip install ") and "rich" not in found.fix


def test_an_installed_package_knows_its_needs_itself(
    monkeypatch: pytest.MonkeyPatch, versions: Callable[..., None]
) -> None:
    needs = ["trl<1.14", "pyyaml>=6", 'unsloth>=2026; extra == "gpu"', "torch>=9"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    versions(trl="1.14.2", pyyaml=None, unsloth=None)
    found = one(packages.pinned())
    assert "missing: pyyaml; " in found.detail and "trl 1.14.2 (needs <1.14)" in found.detail
    assert "unsloth" not in found.detail and "torch" not in found.detail
    assert f'"PyYAML=={known.tested_versions()["PyYAML"]}"' in found.fix


def test_where_pip_is_missing_uv_installs(monkeypatch: pytest.MonkeyPatch, versions: Callable[..., None]) -> None:
    versions(peft=None)
    pin = f'"peft=={known.tested_versions()["peft"]}"'
    monkeypatch.setattr(known, "find_spec", lambda name: None)
    monkeypatch.setattr(known.shutil, "which", lambda name: f"/usr/bin/{name}")  # type: ignore[attr-defined]
    assert one(packages.pinned()).fix == f"uv pip install {pin}"
    assert packages._reinstall("peft") == f"uv pip install --force-reinstall --no-deps {pin}"
    assert known.install_hint("serve") == 'Install it: uv pip install "ragr1-lite[serve]"'
    monkeypatch.setattr(known.shutil, "which", lambda name: None)  # type: ignore[attr-defined]
    assert one(packages.pinned()).fix == f"pip install {pin}"


# PyTorch


def test_torch_without_a_card(loads: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    driver(monkeypatch)
    loads(torch=torch())
    assert one(packages.torch()) == Finding("torch", "2.13.0+cpu, without CUDA")


def test_torch_with_a_card(loads: Callable[..., None]) -> None:
    loads(torch=torch(A100))
    assert one(packages.torch()).detail == "2.13.0, built for CUDA 13.0"


def test_torch_missing_or_broken(loads: Callable[..., None], versions: Callable[..., None]) -> None:
    versions(torch=None)
    found = one(packages.torch())
    assert not found.ok and found.fix == f'pip install "torch=={known.tested_versions()["torch"]}"'
    versions(torch="2.13.0")
    loads(torch=OSError("libtorch_cpu.so: undefined symbol: iJIT_NotifyEvent"))
    found = one(packages.torch())
    assert not found.ok and "undefined symbol" in found.detail and "--force-reinstall" in found.fix


@pytest.mark.parametrize(("cuda", "words"), [(None, "although there is an NVIDIA card"), ("13.0", "NVIDIA driver")])
def test_torch_that_does_not_see_the_card(
    loads: Callable[..., None], monkeypatch: pytest.MonkeyPatch, cuda: str | None, words: str
) -> None:
    driver(monkeypatch, "NVIDIA GeForce RTX 4070")
    loads(torch=torch(cuda=cuda))
    found = one(packages.torch())
    assert not found.ok and words in found.detail
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "hidden by CUDA_VISIBLE_DEVICES" in one(packages.torch()).detail


@pytest.mark.parametrize("error", [FileNotFoundError("nvidia-smi"), subprocess.TimeoutExpired("nvidia-smi", 3)])
def test_a_driver_that_does_not_answer(
    loads: Callable[..., None], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    loads(torch=torch(cuda="13.0"))
    assert one(packages.torch()).ok


# bitsandbytes, numba and the extras


@pytest.mark.parametrize(
    ("cards", "library", "ok", "words"),
    [
        ([], Library(cuda=False), True, "its library for the CPU loads"),
        ([], MockLibrary(cuda=False), True, "4-bit weights are slow here"),
        ([A100], Library(cuda=True), True, "its library for CUDA loads"),
        ([A100], Library(cuda=False), False, "its library for this CUDA does not load"),
        ([A100], MockLibrary(cuda=False), False, "its library for this CUDA does not load"),
    ],
)
def test_bitsandbytes(loads: Callable[..., None], cards: Any, library: Library, ok: bool, words: str) -> None:
    loads(torch=torch(*cards), bitsandbytes=SimpleNamespace(lib=library))
    found = one(packages.bitsandbytes())
    assert found.ok == ok and words in found.detail
    assert ok or "python -m bitsandbytes" in found.fix


def test_bitsandbytes_missing_or_broken(loads: Callable[..., None], versions: Callable[..., None]) -> None:
    loads(torch=torch(), bitsandbytes=RuntimeError("no CUDA binary\nsee ..."))
    found = one(packages.bitsandbytes())
    assert not found.ok and "cannot be imported: RuntimeError: no CUDA binary" in found.detail
    versions(bitsandbytes=None)
    assert "no 4-bit weights" in one(packages.bitsandbytes()).detail


def test_search_without_numba(versions: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    assert "NumPy" not in one(packages.numba()).detail
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert "switched off by NUMBA_DISABLE_JIT: NumPy searches instead" in one(packages.numba()).detail
    versions(numba=None)
    assert "not installed: NumPy searches instead" in one(packages.numba()).detail


@pytest.mark.parametrize("name", ["unsloth", "vllm"])
def test_what_cards_alone_can_use(
    loads: Callable[..., None], versions: Callable[..., None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: [])
    check = getattr(packages, name)
    details = {}
    for card in (False, True):
        for version in (None, "2026.10.7"):
            loads(torch=torch(*[A100] * card))
            versions(**{name: version, "vllm-bnb-plugin": "0.0.3"})
            details[card, version is not None] = one(check()).detail
    assert details[False, False] == "not installed: no card here"
    assert details[False, True] == "2026.10.7, not used: it needs an NVIDIA card"
    assert "pip install" in details[True, False] and details[True, True] == "2026.10.7"


@pytest.mark.parametrize(
    ("version", "plugin", "torch_wanted", "found"),
    [
        ("0.27.1", None, "2.13.0", Finding("vllm", "0.27.1")),
        ("0.32.0", "0.0.3", "2.13.0", Finding("vllm", "0.32.0")),
        (
            "0.32.0",
            None,
            "2.13.0",
            Finding(
                "vllm",
                "0.32.0; for 4-bit weights it needs a plugin, and until then our own sampler makes the rollouts:"
                ' pip install "vllm-bnb-plugin"',
            ),
        ),
        (
            "0.33.0",
            "0.0.3",
            "2.14.0",
            Finding("vllm", "0.33.0, which needs torch==2.14.0, not 2.13.0+cu130", f'pip install "{known.VLLM}"'),
        ),
    ],
    ids=["built in", "by a plugin", "no plugin", "another torch"],
)
def test_vllm_beside_other_packages(
    loads: Callable[..., None],
    versions: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    plugin: str | None,
    torch_wanted: str,
    found: Finding,
) -> None:
    loads(torch=torch(A100))
    versions(vllm=version, vllm_bnb_plugin=plugin, torch="2.13.0+cu130", transformers="5.17.0")
    needs = [f"torch=={torch_wanted}", "transformers<5.20,>=5.16", "numba==0.1", "transformers<5; extra == 'old'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    assert packages.vllm() == found


def test_a_broken_torch_is_no_card(loads: Callable[..., None]) -> None:
    loads(torch=OSError("broken"))
    assert not packages.has_card()


# The machine


def test_no_card(loads: Callable[..., None]) -> None:
    loads(torch=torch())
    found = one(machine.gpus())
    assert found.ok and "none found" in found.detail and "CPU" in found.detail


@pytest.mark.parametrize(
    ("capability", "architectures", "ok", "words"),
    [
        ((8, 0), ("sm_80",), True, "4 bits, computed in bf16"),
        ((8, 9), ("sm_80", "sm_90"), True, "4 bits, computed in bf16"),
        ((12, 0), ("sm_100", "sm_120"), True, "4 bits, computed in bf16"),
        ((12, 0), ("sm_90", "compute_90"), True, "4 bits, computed in bf16"),
        ((12, 0), ("sm_90",), False, "this PyTorch has no code for it"),
        ((8, 0), ("sm_86", "sm_90a"), False, "this PyTorch has no code for it"),
        ((7, 5), ("sm_75",), True, "4 bits, computed in fp16"),
        ((6, 1), ("sm_60",), True, "4 bits, computed in fp32"),
        ((6, 1), ("sm_75", "sm_80"), False, "this PyTorch has no code for it"),
        ((5, 2), ("sm_50",), True, "too old for 4 bits"),
    ],
)
def test_what_a_card_can_calculate(
    loads: Callable[..., None], capability: tuple[int, int], architectures: tuple[str, ...], ok: bool, words: str
) -> None:
    loads(torch=torch(A100 | {"capability": capability}, architectures=architectures))
    found = one(machine.gpus())
    assert found.ok == ok and words in found.detail
    assert "NVIDIA A100, 38.0 GB free of 42.4" in found.detail


@pytest.mark.parametrize(
    ("asked", "ok", "words"),
    [
        (None, True, "not set"),
        ("2", True, "OMP_NUM_THREADS is 2"),
        ("16", False, "threads that wait for each other are slow"),
        ("0", False, "no number of threads"),
        ("all", False, "no number of threads"),
    ],
)
def test_threads(monkeypatch: pytest.MonkeyPatch, asked: str | None, ok: bool, words: str) -> None:
    monkeypatch.setattr(machine, "_cores", lambda: 4)
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    found = one(machine.threads())
    assert found.ok == ok and words in found.detail and "4 cores" in found.detail


def test_counters_of_energy_are_named_and_no_fault(loads: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    loads(torch=torch())
    monkeypatch.setattr(machine, "energy_meters", lambda: {"gpu": "", "cpu": "only root may read it"})
    assert one(machine.energy()) == Finding("energy", "gpu: metered; cpu: only root may read it")
