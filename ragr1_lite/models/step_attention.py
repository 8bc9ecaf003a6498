"""Attention of one new token a row over the rows' keys and values, faster on a CPU than torch's own.

Each key is read once for all query heads that share it, and where rows begin alike, all of them read the beginning of
one: the others' stays in memory, and the one's in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import factorial
from typing import Any, NamedTuple

import numpy as np
import torch

from ragr1_lite.models.loops import DTYPES, Loop, array, compiled, from_bits, part_of_loops, prange, run, wide
from ragr1_lite.models.spans import common_prefix

E = tuple(np.float32(1 / factorial(n)) for n in range(7))
"""Of the series of e to the x, exact in fp32 for x up to half of ln 2."""
LOG2_E, LN_2, HALF = np.float32(1.4426950408889634), np.float32(0.6931471805599453), np.float32(0.5)
NEARLY = 0.75  # of what two rows share, so much is as good where it is shared with more rows


class Beginnings(NamedTuple):
    """Where the rows' beginnings are read, ``(rows,)`` each."""

    order: Any  # rows that begin alike are neighbours
    leader: Any  # the row in whose place a row's first tokens are read
    shared: Any  # how many


def beginnings_of(rows: Sequence[Sequence[int]]) -> Beginnings:
    """Of rows by their ids."""
    order = sorted(range(len(rows)), key=lambda row: tuple(rows[row]))
    with_last = [0, *(common_prefix(rows[one], rows[other]) for one, other in zip(order, order[1:], strict=False))]
    leader, shared = np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64)
    for at, row in enumerate(order):
        first, enough = at, NEARLY * with_last[at]
        while first and with_last[first] >= enough:
            first -= 1
        leader[row], shared[row] = order[first], min(with_last[first + 1 : at + 1], default=0)
    return Beginnings(np.array(order, dtype=np.int64), leader, shared)


def fast_attention(dtype: torch.dtype, device: torch.device) -> Loop | None:
    """The loop for a cache of this dtype there, if there is one."""
    return _compiled(dtype) if device.type == "cpu" and dtype in DTYPES else None


def attend(
    loop: Loop,
    slabs: tuple[Any, Any],
    new: Sequence[Any],
    positions: Any,
    beginnings: Beginnings,
    scale: float | None,
    window: int | None,
) -> torch.Tensor:
    """Stores each row's new key and value, and has its query attend to its own row up to there.

    Args:
        loop: From :func:`fast_attention`.
        slabs: Keys and values, ``(slots, key heads, tokens, dim)`` each; row i is slot i.
        new: Query ``(rows, heads, dim)``, key and value ``(rows, key heads, dim)``.
        positions: Places of the new tokens, ``(rows,)``.
        beginnings: What the rows share.
        scale: Of the scores; None for the usual one.
        window: Only the last so many keys are seen.

    Returns:
        ``(rows, heads, dim)``.
    """
    query, key, value = (one.contiguous() for one in new)
    rows, groups, dim = key.shape
    output = torch.empty(query.shape, dtype=torch.float32)
    grouped, made = (one.view(rows, groups, -1, dim).numpy() for one in (query.float(), output))
    run(
        loop, *map(array, (*slabs, key, value)), grouped, positions, *beginnings, np.float32(scale or dim**-0.5),
        window or 2**62, made, work=2 * query.numel() * int(positions.max()),
    )  # fmt: skip
    return output.to(query.dtype)


@cache
def _compiled(dtype: torch.dtype) -> Loop | None:
    of_dtype = DTYPES[dtype]
    slab, new = f"{of_dtype}[:, :, :, ::1]", f"{of_dtype}[:, :, ::1]"
    floats, integers = "float32[:, :, :, ::1]", "int64[::1]"
    arrays = [slab, slab, new, new, floats, integers, integers, integers, integers]
    return compiled(_attend, f"void({', '.join(arrays)}, float32, int64, {floats}, int64)")


def _attend(
    keys: Any, values: Any, new_key: Any, new_value: Any, query: Any, positions: Any,
    order: Any, leader: Any, shared: Any, scale: Any, window: Any, output: Any, parts: Any,
) -> None:  # fmt: skip
    rows, heads = query.shape[0], query.shape[2]
    pairs = rows * query.shape[1]
    for part in prange(parts):
        for pair in range(pairs * part // parts, pairs * (part + 1) // parts):
            group, row = pair // rows, order[pair % rows]
            count = positions[row] + 1
            first = max(0, count - window)
            middle = min(max(first, shared[row]), count)
            spans = ((leader[row], first, middle), (row, middle, count))
            keys[row, group, count - 1], values[row, group, count - 1] = new_key[row, group], new_value[row, group]
            scores = np.empty((heads, count), dtype=np.float32)
            for slot, start, stop in spans:
                _score(query[row, group], keys[slot, group], start, stop, scores)
            for head in range(heads):
                _softmax(scores[head, first:], scale)
            output[row, group] = 0
            for slot, start, stop in spans:
                _mix(scores, values[slot, group], start, stop, output[row, group])


@part_of_loops
def _score(query: Any, keys: Any, start: Any, stop: Any, scores: Any) -> None:
    """Products of queries and keys, four keys at once by two queries."""
    heads, dim = query.shape
    for t in range(start, stop, 4):
        u, v, w = min(t + 1, stop - 1), min(t + 2, stop - 1), min(t + 3, stop - 1)
        for h in range(0, heads, 2):
            j = min(h + 1, heads - 1)
            ht = hu = hv = hw = jt = ju = jv = jw = np.float32(0)
            for i in range(dim):
                of_h, of_j = query[h, i], query[j, i]
                of_t, of_u, of_v, of_w = wide(keys[t, i]), wide(keys[u, i]), wide(keys[v, i]), wide(keys[w, i])
                ht += of_h * of_t
                hu += of_h * of_u
                hv += of_h * of_v
                hw += of_h * of_w
                jt += of_j * of_t
                ju += of_j * of_u
                jv += of_j * of_v
                jw += of_j * of_w
            scores[h, t], scores[h, u], scores[h, v], scores[h, w] = ht, hu, hv, hw
            scores[j, t], scores[j, u], scores[j, v], scores[j, w] = jt, ju, jv, jw


@part_of_loops
def _softmax(scores: Any, scale: Any) -> None:
    """In place; e to the x, x = z + n ln 2, by a series, as NumPy's would be one number at a time."""
    most, total = np.float32(-np.inf), np.float32(0)
    for t in range(scores.size):
        most = max(most, scores[t])
    for t in range(scores.size):
        x = max((scores[t] - most) * scale, np.float32(-87))
        n = np.floor(x * LOG2_E + HALF)
        z = x - n * LN_2
        power = from_bits(np.uint32(np.int32(n) + 127) << np.uint32(23))
        scores[t] = power * (E[0] + z * (E[1] + z * (E[2] + z * (E[3] + z * (E[4] + z * (E[5] + z * E[6]))))))
        total += scores[t]
    for t in range(scores.size):
        scores[t] /= total


@part_of_loops
def _mix(scores: Any, values: Any, start: Any, stop: Any, output: Any) -> None:
    """Adds values by their weights, four at once."""
    heads, dim = output.shape
    for t in range(start, stop, 4):
        u, v, w = min(t + 1, stop - 1), min(t + 2, stop - 1), min(t + 3, stop - 1)
        for h in range(heads):
            of_t, of_u = scores[h, t], scores[h, u] * (t + 1 < stop)
            of_v, of_w = scores[h, v] * (t + 2 < stop), scores[h, w] * (t + 3 < stop)
            for i in range(dim):
                output[h, i] += (
                    of_t * wide(values[t, i])
                    + of_u * wide(values[u, i])
                    + of_v * wide(values[v, i])
                    + of_w * wide(values[w, i])
                )
