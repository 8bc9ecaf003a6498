"""What is broken on this machine, and how to fix it: ``ragr1-lite doctor``.

Nothing is changed, and nothing is sent over the network unless asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from ragr1_lite.cli.doctor import machine, packages
from ragr1_lite.cli.doctor.finding import Finding, error_line

__all__ = ["Finding", "examine"]

Check = Callable[[], Finding | Iterable[Finding]]


def checks(*, online: bool) -> dict[str, Check]:
    """The checks by name, in the order of their report."""
    return {
        "python": packages.python,
        "packages": packages.pinned,
        "torch": packages.torch,
        "bitsandbytes": packages.bitsandbytes,
        "numba": packages.numba,
        "unsloth": packages.unsloth,
        "vllm": packages.vllm,
        "gpu": machine.gpus,
        "threads": machine.threads,
        "memory": machine.memory,
        "energy": machine.energy,
        "working folder": machine.working_folder,
        "model cache": machine.model_cache,
        "hub cache": machine.hub_cache,
        "hub": partial(machine.hub, online=online),
    }


def examine(*, online: bool = False) -> list[Finding]:
    """Checks everything that training, searching and answering need; a check that fails is a finding, too.

    Only with ``online`` anything is sent: to the model hub.
    """
    return [finding for name, check in checks(online=online).items() for finding in _safely(name, check)]


def _safely(name: str, check: Check) -> list[Finding]:
    try:
        found = check()
        return [found] if isinstance(found, Finding) else list(found)
    except Exception as error:  # a broken package raises anything
        fix = "Repair what it names; a fresh environment with `pip install ragr1-lite` is the surest."
        return [Finding(name, f"cannot be checked: {error_line(error)}", fix)]
