"""What this CPU is fast at, measured rather than read from its flags."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from functools import cache


@cache
def prefers_bf16() -> bool:
    """Whether this CPU multiplies bf16 clearly faster than fp32.

    Its flags do not tell: with AMX bf16 is many times faster, with AVX512-BF16 alone it was measured at half of fp32.
    """
    import torch

    def product(dtype: torch.dtype) -> Callable[[], object]:
        left, right = torch.ones(256, 512, dtype=dtype), torch.ones(1024, 512, dtype=dtype)
        return lambda: torch.nn.functional.linear(left, right)

    return min(_times(product(torch.float32), 8)) > 1.25 * min(_times(product(torch.bfloat16), 8))


@cache
def use_best_threads() -> int:
    """Lets torch use all its threads only where they are faster than one now, unless OMP_NUM_THREADS is set.

    Beside another busy process every product waits for the thread that was put aside: two threads were measured at a
    quarter of one's speed there. On an idle machine with real cores they win, so both are tried for some 0.2 s.
    """
    import torch

    most = torch.get_num_threads()
    if most == 1 or "OMP_NUM_THREADS" in os.environ:
        return most
    left, right = torch.ones(512, 576), torch.ones(1536, 576)

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        return statistics.fmean(_times(lambda: torch.nn.functional.linear(left, right), 12))

    trials = [(seconds(most), seconds(1)) for _ in range(3)]
    gain = statistics.median(one / many for many, one in trials)
    best = most if gain > 1.2 else 1
    torch.set_num_threads(best)
    return best


def _times(work: Callable[[], object], rounds: int) -> list[float]:
    times = []
    work()
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times
