"""Products of few rows, which decoding consists of, faster on a CPU than torch's own.

Decoding a row is reading all weights once, and torch lays them out anew in every product. Here they are read where they
lie, in three streams at once, far enough apart for the processor to fetch each ahead; four rows share what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from ragr1_lite.models import upstream
from ragr1_lite.models.loops import DTYPES, Loop, array, compiled, prange, run, wide

TILE = 4  # rows that are multiplied together; fewer are multiplied one by one
MOST = {torch.float32: 64, torch.bfloat16: 4 if upstream.has_amx() else 16}
"""Rows up to which this is faster than torch's product, which multiplies bf16 by other means: with AMX 32 rows take it
no longer than one."""


class _Products(NamedTuple):
    """Both write ``rows @ weight.T`` into their third argument, ``(n, out)`` in fp32 as the rows ``(n, in)`` are."""

    one: Loop  # row by row
    four: Loop  # for at least TILE rows


@contextmanager
def fast_products(model: Any) -> Iterator[None]:
    """Multiplies few rows by weights in fp32 or bf16 faster while the block runs; sums are in fp32.

    Does nothing on other devices, for other dtypes and where numba is missing. Nothing is measured, so that a repeated
    run computes the same; how many threads take part changes no result.
    """
    layers = [module for module in model.modules() if _is_plain(module) and _compiled(module.weight.dtype)]
    try:
        for layer in layers:
            vars(layer)["forward"] = _fast_forward(layer, _compiled(layer.weight.dtype))
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _is_plain(module: Any) -> bool:
    """Whether a module is a linear layer on a CPU whose forward is torch's."""
    plain = type(module) is torch.nn.Linear and "forward" not in vars(module)
    return plain and module.weight.device.type == "cpu" and module.weight.dtype in DTYPES


def _fast_forward(layer: Any, products: Any) -> Callable[[Any], Any]:
    weight, most = array(layer.weight.detach().contiguous()), MOST[layer.weight.dtype]

    def forward(rows: Any) -> Any:
        count = rows.numel() // rows.shape[-1]
        if not 0 < count <= most:  # none in a chunk of prefill in which no row ends
            return torch.nn.functional.linear(rows, layer.weight, layer.bias)
        output = rows.new_empty((*rows.shape[:-1], len(weight)), dtype=torch.float32)
        given, made = rows.float().contiguous().view(count, -1).numpy(), output.view(count, -1).numpy()
        product = products.four if count >= TILE else products.one
        run(product, weight, given, made, work=weight.size * max(count, TILE))  # less than TILE read as many weights
        return (output if layer.bias is None else output.add_(layer.bias)).to(rows.dtype)

    return forward


@cache
def _compiled(dtype: torch.dtype) -> _Products | None:
    signature = f"void({DTYPES[dtype]}[:, ::1], float32[:, ::1], float32[:, ::1], int64)"
    made = [compiled(loop, signature) for loop in (_row_by_row, _four_rows)]
    return _Products(made[0], made[1]) if made[0] and made[1] else None


def _row_by_row(weight: Any, rows: Any, result: Any, parts: int) -> None:
    last = weight.shape[0] - 1
    third = (last + 3) // 3
    for part in prange(parts):
        for p in range(rows.shape[0]):
            for a in range(third * part // parts, third * (part + 1) // parts):
                b, c = min(third + a, last), min(2 * third + a, last)
                ap = bp = cp = np.float32(0)
                for i in range(weight.shape[1]):
                    ap += wide(weight[a, i]) * rows[p, i]
                    bp += wide(weight[b, i]) * rows[p, i]
                    cp += wide(weight[c, i]) * rows[p, i]
                result[p, a], result[p, b], result[p, c] = ap, bp, cp


def _four_rows(weight: Any, rows: Any, result: Any, parts: int) -> None:
    last = weight.shape[0] - 1
    third = (last + 3) // 3
    for part in prange(parts):
        for a in range(third * part // parts, third * (part + 1) // parts):
            b, c = min(third + a, last), min(2 * third + a, last)
            for first in range(0, rows.shape[0], 4):
                p = min(first, rows.shape[0] - 4)  # the last four may overlap those before
                q, r, s = p + 1, p + 2, p + 3
                ap = bp = cp = aq = bq = cq = ar = br = cr = as_ = bs = cs = np.float32(0)
                for i in range(weight.shape[1]):
                    of_a, of_b, of_c = wide(weight[a, i]), wide(weight[b, i]), wide(weight[c, i])
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
