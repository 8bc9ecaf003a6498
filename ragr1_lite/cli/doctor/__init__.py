"""What this machine is fit for, and what is broken on it: ``ragr1-lite doctor``.

Nothing is changed, and nothing is asked of the network unless it is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ragr1_lite.cli.doctor import machine, packages, storage
from ragr1_lite.cli.doctor.finding import Finding, told

__all__ = ["Finding", "examine"]

Look = Callable[[], Iterable[Finding]]


def looks(*, online: bool) -> dict[str, Look]:
    """The looks by their names, in the order in which they are told."""
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
        "working folder": storage.working_folder,
        "model cache": storage.model_cache,
        "hub cache": storage.hub_cache,
        "hub": lambda: storage.hub(online=online),
    }


def examine(*, online: bool = False) -> list[Finding]:
    """Looks at everything that training, searching and answering need.

    Args:
        online: Ask the model hub for a sign of life; without it nothing is sent anywhere.

    Returns:
        At least one finding per look. A look that fails is a finding, too.
    """
    return [finding for name, look in looks(online=online).items() for finding in _safely(name, look)]


def _safely(name: str, look: Look) -> list[Finding]:
    try:
        return list(look())
    except Exception as error:  # a broken package raises anything
        mend = "Mend what it names; a fresh environment with `pip install ragr1-lite` is the surest."
        return [Finding(name, False, f"cannot be looked at: {told(error)}", mend)]
