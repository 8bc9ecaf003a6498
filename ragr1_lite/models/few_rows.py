"""Products of few rows with fp32 weights, which decoding consists of, faster on a CPU than torch's own.

Decoding a row is reading all weights once, and torch lays them out anew in every product. Here they are read where they
lie, in three streams at once, far enough apart for the processor to fetch each ahead; four rows share what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

TILE = 4
"""Rows that are multiplied together; fewer are multiplied one by one."""
MOST = 64
"""Rows from which torch's product is the faster one."""
WORTH_A_THREAD = 500_000
"""Multiplications that take longer than waking a thread."""

Product = Callable[[Any, Any, Any, int, int], None]
"""Writes ``rows @ weight.T`` into its third argument, for a range of a third of the outputs and its like in the others.

All are contiguous fp32 NumPy arrays: weight ``(out, in)``, rows ``(n, in)``, result ``(n, out)``.
"""


class _Products(NamedTuple):
    one: Product  # row by row
    four: Product  # for at least TILE rows


@contextmanager
def fast_products(model: Any) -> Iterator[None]:
    """Multiplies few rows by fp32 weights faster while the block runs, by the threads that torch may use.

    Does nothing on other devices, for other dtypes and where numba is missing. Nothing is measured, so that a repeated
    run computes the same; how many threads take part changes no result.
    """
    products = _compiled()
    layers = [module for module in model.modules() if products and _is_plain(module)]
    try:
        for layer in layers:
            vars(layer)["forward"] = _fast_forward(layer, products)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _is_plain(module: Any) -> bool:
    """Whether a module is a linear layer in fp32 on a CPU whose forward is torch's."""
    plain = type(module) is torch.nn.Linear and "forward" not in vars(module)
    return plain and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32


def _fast_forward(layer: Any, products: Any) -> Callable[[Any], Any]:
    weight = layer.weight.detach().contiguous().numpy()

    def forward(rows: Any) -> Any:
        count = rows.numel() // rows.shape[-1]
        if count > MOST:
            return torch.nn.functional.linear(rows, layer.weight, layer.bias)
        output = rows.new_empty((*rows.shape[:-1], len(weight)))
        given, made = rows.contiguous().view(count, -1).numpy(), output.view(count, -1).numpy()
        _in_threads(products.four if count >= TILE else products.one, weight, given, made)
        return output if layer.bias is None else output.add_(layer.bias)

    return forward


def _in_threads(product: Product, weight: Any, rows: Any, result: Any) -> None:
    """The whole product, the range shared out among threads where each gets enough to do."""
    third = (len(weight) + 2) // 3
    parts = max(1, min(torch.get_num_threads(), weight.size * len(rows) // WORTH_A_THREAD))
    begins = [third * part // parts for part in range(parts + 1)]
    others = [
        _threads(parts).submit(product, weight, rows, result, begin, end)
        for begin, end in zip(begins[1:-1], begins[2:], strict=True)
    ]
    product(weight, rows, result, 0, begins[1])
    for other in others:
        other.result()


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count - 1, "few-rows")


@cache
def _compiled() -> _Products | None:
    """Both products; None where numba is missing or switched off."""
    try:
        import numba
    except Exception:  # numba raises what it likes where it does not fit NumPy
        return None
    if numba.config.DISABLE_JIT:
        return None
    signature = "void(float32[:, ::1], float32[:, ::1], float32[:, ::1], int64, int64)"
    options = {"fastmath": True, "nogil": True}

    def compiled(product: Product) -> Product:
        try:
            made: Product = numba.njit(signature, cache=True, **options)(product)
        except RuntimeError:  # no folder to keep compiled code in
            made = numba.njit(signature, **options)(product)
        return made

    return _Products(compiled(_row_by_row), compiled(_four_rows))


def _row_by_row(weight: Any, rows: Any, result: Any, begin: int, end: int) -> None:
    last = weight.shape[0] - 1
    third = (last + 3) // 3
    for p in range(rows.shape[0]):
        for a in range(begin, end):
            b, c = min(third + a, last), min(2 * third + a, last)
            ap = bp = cp = np.float32(0)
            for i in range(weight.shape[1]):
                ap += weight[a, i] * rows[p, i]
                bp += weight[b, i] * rows[p, i]
                cp += weight[c, i] * rows[p, i]
            result[p, a], result[p, b], result[p, c] = ap, bp, cp


def _four_rows(weight: Any, rows: Any, result: Any, begin: int, end: int) -> None:
    last = weight.shape[0] - 1
    third = (last + 3) // 3
    for a in range(begin, end):
        b, c = min(third + a, last), min(2 * third + a, last)
        for first in range(0, rows.shape[0], 4):
            p = min(first, rows.shape[0] - 4)  # the last four may overlap those before
            q, r, s = p + 1, p + 2, p + 3
            ap = bp = cp = aq = bq = cq = ar = br = cr = as_ = bs = cs = np.float32(0)
            for i in range(weight.shape[1]):
                of_a, of_b, of_c = weight[a, i], weight[b, i], weight[c, i]
                ap += of_a * rows[p, i]
                bp += of_b * rows[p, i]
                cp += of_c * rows[p, i]
                aq += of_a * rows[q, i]
                bq += of_b * rows[q, i]
                cq += of_c * rows[q, i]
                ar += of_a * rows[r, i]
                br += of_b * rows[r, i]
                cr += of_c * rows[r, i]
                as_ += of_a * rows[s, i]
                bs += of_b * rows[s, i]
                cs += of_c * rows[s, i]
            result[p, a], result[p, b], result[p, c] = ap, bp, cp
            result[q, a], result[q, b], result[q, c] = aq, bq, cq
            result[r, a], result[r, b], result[r, c] = ar, br, cr
            result[s, a], result[s, b], result[s, c] = as_, bs, cs
