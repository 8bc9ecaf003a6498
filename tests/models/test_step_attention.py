"""A step's attention over our own loop: equal to torch's, for any rows, heads, windows and number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from ragr1_lite.models import loops, step_attention
from ragr1_lite.models.spans import common_prefix
from tests.support.rounding import LOSS, assert_near

LENGTHS = (1, 2, 5, 8, 21, 30, 30)
"""Of the rows, the new token's place included."""
SHARED = 4
"""The longer ones begin alike."""


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 1, 3, 7, 99])
@pytest.mark.parametrize(("groups", "heads"), [(1, 1), (2, 3), (3, 2), (2, 7)])
def test_it_is_that_of_torch(
    groups: int, heads: int, window: int | None, dtype: torch.dtype, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "WORTH_A_THREAD", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    loop = step_attention.fast_attention(dtype, torch.device("cpu"))
    assert loop
    ids = [
        [1] * SHARED + [row + 2] * (length - SHARED) if length > SHARED else [1] * length
        for row, length in enumerate(LENGTHS)
    ]
    slabs = tuple(torch.randn(len(ids) + 2, groups, 40, 20).to(dtype) for _ in range(2))
    for slab in slabs:
        slab[1:, :, :SHARED] = slab[:1, :, :SHARED]
    positions = [length - 1 for length in LENGTHS]
    query = torch.randn(len(ids), groups * heads, 20).to(dtype)
    key, value = (torch.randn(groups, len(ids), 20).to(dtype).transpose(0, 1) for _ in range(2))
    beginnings = step_attention.beginnings_of([row[:-1] for row in ids])
    found = step_attention.attend(loop, slabs, (query, key, value), np.array(positions), beginnings, 0.3, window)
    torch.set_num_threads(before)
    for row, last in enumerate(positions):
        for slab, new in zip(slabs, (key, value), strict=True):
            assert torch.equal(slab[row, :, last], new[row])
        seen = slice(max(0, last + 1 - window) if window else 0, last + 1)
        keys, values = (slab[row, :, seen].float().repeat_interleave(heads, 0) for slab in slabs)
        expected = scaled_dot_product_attention(query[row, :, None].float(), keys, values, scale=0.3)[:, 0]
        assert_near(found[row].float(), expected, LOSS if dtype == torch.float32 else 2**-7)


def test_beginnings_are_those_that_rows_share() -> None:
    rows = [[1, 2, 3, 4, row // 4, *([row // 4] * 20), row, row] for row in range(12)]
    rows += [[9], [1, 2], []]
    order, leader, shared = step_attention.beginnings_of(rows)
    assert sorted(order) == list(range(len(rows)))
    assert all(rows[one] <= rows[other] for one, other in pairwise(order))
    for row, ids in enumerate(rows):
        assert shared[row] <= common_prefix(rows[leader[row]], ids)
    assert all(shared[row] == 25 for row in (1, 2, 3, 5, 6, 7, 9, 10, 11))


def test_the_run_that_compiles_computes_what_later_ones_do(tmp_path: Path) -> None:
    """To the bit, so that a run that is resumed goes on as it would have."""
    script = (
        "import hashlib, numpy, torch; from ragr1_lite.models import step_attention as own; torch.manual_seed(0); "
        "rows, length = [list(range(n)) for n in (31, 250, 201, 7)], 300; "
        "slabs = [torch.randn(4, 2, length, 64) for _ in range(2)]; "
        "new = [torch.randn(4, heads, 64) for heads in (6, 2, 2)]; "
        "loop = own.fast_attention(torch.float32, torch.device('cpu')); "
        "places = numpy.array([len(row) for row in rows]), own.beginnings_of([[i] for i in range(4)]); "
        "print(hashlib.sha256(own.attend(loop, slabs, new, *places, None, None).numpy().tobytes()).hexdigest())"
    )
    given: dict[str, Any] = {"env": os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}, "text": True, "check": True}
    one, other = (subprocess.run([sys.executable, "-c", script], stdout=-1, timeout=300, **given).stdout for _ in "ab")
    assert one == other and any(tmp_path.rglob("*.nbc"))


def test_without_numba_torch_attends() -> None:
    assert step_attention.fast_attention(torch.float16, torch.device("cpu")) is None
    assert step_attention.fast_attention(torch.float32, torch.device("meta")) is None
