"""Loops of our own over tensors on a CPU, compiled by numba for the threads that torch may use.

numba knows no bf16: such tensors go in as their bits (:func:`array`), and :func:`wide` reads them as fp32. Its threads
are OpenMP's, so torch's own: another pool would compete with them, as they go on running for a while after each
operation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch

try:
    import numba
    from llvmlite import ir
    from numba.extending import intrinsic, overload

    at_hand = not numba.config.DISABLE_JIT
    prange = numba.prange
except Exception:  # numba raises what it likes where it does not fit NumPy
    at_hand = False
    prange = range

DTYPES = {torch.float32: "float32", torch.bfloat16: "uint16"}  # what the loops read, and as what numba sees it
WORTH_A_THREAD = 250_000  # multiplications that take clearly longer than waking a thread

_one_at_a_time = Lock()

Loop = Callable[..., None]  # takes contiguous arrays and, last, in how many parts it shares out its work


def array(tensor: Any) -> Any:
    """A tensor's own memory; that of bf16 as unsigned integers of 16 bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def compiled(loop: Loop, signature: str) -> Loop | None:
    """The loop as machine code; None where numba is missing, does not fit NumPy, or is switched off."""
    if not at_hand:
        return None
    options = {"fastmath": True, "nogil": True, "parallel": True}
    _launch()
    try:
        made: Loop = numba.njit(signature, cache=True, **options)(loop)
    except RuntimeError:  # no folder to keep compiled code in
        made = numba.njit(signature, **options)(loop)
    return made


def part_of_loops(function: Any) -> Any:
    """A function that compiled loops call.

    It is compiled into each of them: one that stood alone would be another in the run that compiles than in later ones,
    which read what that kept, and round otherwise.
    """
    return numba.njit(fastmath=True, forceinline=True)(function) if at_hand else function


def run(loop: Loop, *given: Any, work: int) -> None:
    """Runs a compiled loop by as many threads as get enough multiplications to do."""
    parts = max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS, work // WORTH_A_THREAD))
    with _one_at_a_time:  # where there is no OpenMP, numba ends the process that begins two
        numba.set_num_threads(parts)
        loop(*given, parts)


@cache
def _launch() -> None:
    """Starts numba's threads, which changes how many torch has, as they are the same."""
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
    before = torch.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(before)


def wide(number: Any) -> Any:
    """An element as fp32; only loops that are compiled meet one that is not."""
    return number


def from_bits(bits: Any) -> Any:
    """The fp32 that an unsigned integer of 32 bits is."""
    return np.uint32(bits).view(np.float32)


if at_hand:

    @intrinsic  # type: ignore[untyped-decorator]
    def _as_float(_: Any, bits: Any) -> Any:
        def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
            return builder.bitcast(values[0], ir.FloatType())

        return numba.types.float32(numba.types.uint32), generate

    @overload(from_bits, strict=False, inline="always")  # type: ignore[untyped-decorator]
    def _(bits: Any) -> Any:
        return lambda bits: _as_float(np.uint32(bits))

    @overload(wide, strict=False, inline="always")  # type: ignore[untyped-decorator]
    def _(number: Any) -> Any:
        if number == numba.types.uint16:
            return lambda number: _as_float(np.uint32(number) << np.uint32(16))
        return lambda number: number
