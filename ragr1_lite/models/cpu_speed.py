"""What this CPU is fast at, measured rather than read from its flags."""

from __future__ import annotations

import ctypes
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from ragr1_lite.core.events import Notice, Report, ignore

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_CLEARLY = 1.2  # times one thread's speed that make all threads worth it: they are another program's as well
_SELDOM = 20.0  # seconds, at least, between two looks at the threads


@cache
def prefers_bf16() -> bool:
    """Whether this CPU multiplies bf16 clearly faster than fp32.

    Its flags do not tell: with AMX bf16 is many times faster, with AVX512-BF16 alone it was measured at half of fp32.
    """
    import torch

    full, half = (_product(256, 512, 1024, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    rounds = [(_times(full, 2), _times(half, 2)) for _ in range(6)]  # In turns: other work disturbs both alike.
    return min(min(one) for one, _ in rounds) > 1.25 * min(min(other) for _, other in rounds)


def keep_freed_memory() -> None:
    """Has the process keep the memory that it frees, where the C library is glibc.

    Else each large tensor is mapped anew, and the kernel fills it with zeros page by page: an SFT step of SmolLM2 was
    measured at 1.15 times its time by that. The peak was 5 % higher than by glibc's own rules.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**25)  # the most that it takes; what is larger is always given back
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def use_best_threads(kept: int | None = None) -> int:
    """Lets torch use all its threads only where they are faster than one now, and returns their number.

    The first call measures that, in some 0.2 s; later ones look again where it is time to. ``kept`` is what an earlier
    part of the same work found. ``OMP_NUM_THREADS`` goes before both.
    """
    import torch

    most = _most_threads()
    if "OMP_NUM_THREADS" in os.environ or most == 1:
        torch.set_num_threads(most)
    elif kept:
        torch.set_num_threads(kept)
    elif _Look.due:
        look_at_threads_again()
    else:
        torch.set_num_threads(most if _gain_of_threads() > _CLEARLY else 1)
        _Look.due = time.perf_counter() + _SELDOM
    return torch.get_num_threads()


def look_at_threads_again(report: Report = ignore) -> int | None:
    """Does the same between two pieces of work, and reports a change: the machine may be busy now, or idle again.

    It takes less than a hundredth of the time: it does nothing until a hundred times as long has passed as it took
    before. Nothing changes where ``OMP_NUM_THREADS`` is set, a card computes, or several processes share the work.

    Returns:
        The number of threads in use; ``None`` where it is not for this to choose.
    """
    if "torch" not in sys.modules or "OMP_NUM_THREADS" in os.environ or os.environ.get("WORLD_SIZE", "1") != "1":
        return None
    import torch

    if _most_threads() == 1 or torch.cuda.is_available():
        return None
    before, began = torch.get_num_threads(), time.perf_counter()
    if began < _Look.due:
        return before
    gain = _gain_of_threads()
    now = _most_threads() if gain > (_CLEARLY if before == 1 else 1.0) else 1
    torch.set_num_threads(now)
    ended = time.perf_counter()
    _Look.due = ended + max(_SELDOM, 100 * (ended - began))
    if now != before:
        why = "another program keeps this machine busy" if now == 1 else "the machine has room again"
        report(Notice(f"From here on {now} thread{'s' * (now > 1)} instead of {before}: {why}."))
    return now


class _Look:
    due = 0.0  # when threads may be looked at again


@cache
def _most_threads() -> int:
    """The threads that torch began with."""
    import torch

    return torch.get_num_threads()


def _gain_of_threads() -> float:
    """How many times as fast all threads are as one.

    Next to another busy process every product waits for the thread that was put aside: two threads were measured at a
    quarter of one's speed there. On an idle machine with real cores they win.
    """
    import torch

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        return statistics.fmean(_times(_product(512, 576, 1536), 12))

    trials = [(seconds(_most_threads()), seconds(1)) for _ in range(3)]
    return statistics.median(one / many for many, one in trials)


def product_speed() -> float:
    """Multiplications with addition a second, of fp32 matrices, with the threads in use, undisturbed."""
    return 512 * 576 * 1536 / min(_times(_product(512, 576, 1536), 12))


def _product(rows: int, inner: int, columns: int, **dtype: Any) -> Callable[[], object]:
    import torch

    left, right = torch.ones(rows, inner, **dtype), torch.ones(columns, inner, **dtype)
    return lambda: torch.nn.functional.linear(left, right)


def _times(work: Callable[[], object], rounds: int) -> list[float]:
    times = []
    work()
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times
