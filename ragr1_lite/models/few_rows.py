"""Products of few rows with fp32 weights, which decoding consists of, faster on a CPU than torch's own.

Decoding one row is reading all weights once. Torch's product with one row was measured at 6 to 10 GB/s on one core of
an AMD EPYC, where a plain loop, compiled by numba, comes to 14 to 22. For several rows, torch lays the weights out anew
in each product.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ragr1_lite.models import upstream

FEW = 4
"""Rows from which packed weights are the faster ones."""
PACKED_BYTES = 2**30
"""Weights beyond this are not packed, since that takes their size again."""

Product = Callable[[Any, Any, Any], None]


@contextmanager
def fast_products(model: Any, *, pack: bool) -> Iterator[None]:
    """Multiplies few rows by fp32 weights faster while the block runs; the weights must not change meanwhile.

    A row or three go through a compiled loop. From :data:`FEW` on, torch reorders the weights in every product,
    which for 8 rows takes as long as multiplying; with ``pack`` a reordered copy is kept instead. Steps of 8 rows were
    measured at .7 of their time, of 32 at .9. Does nothing on other devices, for other dtypes and, as to packing, for
    large models and on other processors; nothing is measured, so that a repeated run computes the same.
    """
    layers = [module for module in model.modules() if _is_plain(module)]
    fits = sum(layer.weight.nbytes for layer in layers) <= PACKED_BYTES
    pack = pack and fits and upstream.can_pack_linear() and platform.machine() in ("x86_64", "AMD64")
    try:
        for layer in layers:
            vars(layer)["forward"] = _fast_forward(layer, pack)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _is_plain(module: Any) -> bool:
    """Whether a module is a linear layer in fp32 on a CPU whose forward is torch's."""
    import torch

    plain = type(module) is torch.nn.Linear and "forward" not in vars(module)
    return plain and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32


def _fast_forward(layer: Any, pack: bool) -> Callable[[Any], Any]:
    import torch

    multiply = _row_product()
    weight = layer.weight.detach().contiguous().numpy()
    packed = upstream.packed_linear(layer, 8) if pack else None

    def forward(rows: Any) -> Any:
        if rows.numel() >= FEW * rows.shape[-1]:
            return packed(rows) if packed else torch.nn.functional.linear(rows, layer.weight, layer.bias)
        if multiply is None:
            return torch.nn.functional.linear(rows, layer.weight, layer.bias)
        output = rows.new_empty((*rows.shape[:-1], len(weight)))
        given, made = rows.contiguous().view(-1, rows.shape[-1]).numpy(), output.view(-1, len(weight)).numpy()
        for row, result in zip(given, made, strict=True):
            multiply(weight, row, result)
        return output if layer.bias is None else output.add_(layer.bias)

    return forward


@cache
def _row_product() -> Product | None:
    """A function that writes ``weight @ row`` into its third argument; None where numba is missing or switched off.

    All are contiguous fp32 NumPy arrays: weight ``(out, in)``, row ``(in,)``, result ``(out,)``.
    """
    try:
        import numba
        import numpy as np
    except Exception:  # numba raises what it likes where it does not fit NumPy
        return None
    if numba.config.DISABLE_JIT:
        return None

    def multiply(weight: Any, row: Any, result: Any) -> None:
        for i in range(weight.shape[0]):
            total = np.float32(0)
            for j in range(weight.shape[1]):
                total += weight[i, j] * row[j]
            result[i] = total

    signature = "void(float32[:, ::1], float32[::1], float32[::1])"
    try:
        compiled: Product = numba.njit(signature, fastmath=True, nogil=True, cache=True)(multiply)
    except RuntimeError:  # no folder to keep compiled code in
        compiled = numba.njit(signature, fastmath=True, nogil=True)(multiply)
    return compiled
