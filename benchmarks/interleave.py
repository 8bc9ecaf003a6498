"""Timing several ways of doing the same, turn by turn, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping

from ragr1_lite.core.events import Report, ignore, phase

Clock = Callable[[], float]


def interleave(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    report: Report = ignore,
    *,
    clock: Clock = time.perf_counter,
    least: float = 0.0,
    name: str = "Measuring",
) -> dict[str, float]:
    """Median seconds of each way; all are run once unmeasured, then in turn, ``rounds`` times.

    Args:
        ways: What to run, by name.
        rounds: How often each is measured.
        report: Gets the phase.
        clock: What is measured: wall time, or the time of this process alone.
        least: Seconds that one measurement takes at least: a way that is done sooner is run several times for it.
        name: The phase's.
    """
    return take_turns({way: timed(run, clock, least) for way, run in ways.items()}, rounds, report, name=name)


def take_turns(
    ways: Mapping[str, Callable[[], float]], rounds: int, report: Report = ignore, *, name: str = "Measuring"
) -> dict[str, float]:
    """Median of what each way returns, its own seconds; all are run once, which does not count, then in turn."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with phase(report, name, rounds + 1, "rounds") as advance:
        for done in range(1, rounds + 2):
            for way, run in ways.items():
                seconds[way].append(run())
            advance(done)
    return {way: statistics.median(measured[1:]) for way, measured in seconds.items()}


def timed(run: Callable[[], object], clock: Clock, least: float = 0.0) -> Callable[[], float]:
    """A way that returns its seconds, run as often as fits into ``least``; its first call decides how often."""
    times = 0

    def measure() -> float:
        nonlocal times
        if not times:
            times = _times(run, clock, least)
            return 0.0
        start = clock()
        for _ in range(times):
            run()
        return (clock() - start) / times

    return measure


def process_clock() -> Clock:
    """The processor time of this process where it is measured finely, else wall time.

    Code that runs in one thread takes as much of it on a busy machine as on an idle one. By wall time, what takes long
    would look slower than it is on a busy machine: it is interrupted, and what is soon done is not.
    """
    return time.process_time if time.get_clock_info("process_time").resolution < 1e-5 else time.perf_counter


def _times(run: Callable[[], object], clock: Clock, least: float) -> int:
    """Runs a way once, and once more to see how often it fits into ``least`` seconds where that matters."""
    run()
    if not least:
        return 1
    start = clock()
    run()
    return max(1, math.ceil(least / max(clock() - start, 1e-7)))
