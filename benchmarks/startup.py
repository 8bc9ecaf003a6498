"""How long ``ragr1-lite --help`` takes against a Python that does nothing: what a user waits for before any command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.hardware import machine
from benchmarks.interleave import interleave
from ragr1_lite.core.events import Report, ignore


def startup(*, rounds: int = 15, report: Report = ignore) -> dict[str, Any]:
    """Wall time of both as processes, by turns, with byte code that is already written.

    Args:
        rounds: How often each is measured; the median counts.
        report: Receives the phase.

    Returns:
        ``{"machine", "rounds", "seconds": {"help", "python"}, "ratio"}``.

    Raises:
        subprocess.CalledProcessError: A process fails.
    """
    with tempfile.TemporaryDirectory() as cache:
        # A folder of its own for byte code: the unmeasured round fills it, also where none may be written elsewhere.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def run(*arguments: str) -> None:
            subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)

        ways = {"help": lambda: run("-m", "ragr1_lite", "--help"), "python": lambda: run("-c", "pass")}
        seconds = interleave(ways, rounds, report, name="Measuring both")
    return {
        "machine": machine("typer"),
        "rounds": rounds,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "ratio": round(seconds["help"] / seconds["python"], 2),
    }
