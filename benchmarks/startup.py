"""How long ``ragr1-lite --help`` takes against a Python that does nothing: what a user waits for before any command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.hardware import machine
from benchmarks.interleave import Clock, interleave
from ragr1_lite.core.events import Report, ignore


def startup(*, rounds: int = 15, report: Report = ignore) -> dict[str, Any]:
    """Both as processes, by turns, with byte code that is already written.

    Args:
        rounds: How often each is measured; the median counts.
        report: Receives the phase.

    Returns:
        ``{"machine", "rounds", "seconds": {"help", "python"}, "ratio"}``: seconds of the processor, which a busy
        machine hardly changes; wall time on Windows.

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
        seconds = interleave(ways, rounds, report, clock=_clock(), name="Measuring both")
    return {
        "machine": machine("typer"),
        "rounds": rounds,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "ratio": round(seconds["help"] / seconds["python"], 2),
    }


def _clock() -> Clock:
    """The processor time of finished children."""
    if sys.platform == "win32":
        return time.perf_counter
    import resource

    def used() -> float:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime

    return used
