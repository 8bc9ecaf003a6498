"""Products of few rows: equal to torch's, for any shape and any number of threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from ragr1_lite.models import few_rows, kv_cache, loops
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.sampler import TransformersSampler
from tests.models.test_sampler import requests_for
from tests.support.rounding import LOSS, assert_near


@pytest.fixture(params=[1, 2, 5])
def threads(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(loops, "WORTH_A_THREAD", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("outputs", [1, 2, 3, 4, 32, 97])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 9, 12, 64, 70])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_those_of_torch(rows: int, outputs: int, dtype: torch.dtype, threads: int) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(48, outputs, bias=outputs != 32), torch.nn.SiLU()).to(dtype)
    given = torch.randn(1, rows, 48, dtype=dtype)
    relative = LOSS if dtype == torch.float32 else 2**-7
    with torch.inference_mode():
        expected = model(given)
        with few_rows.fast_products(model):
            assert_near(model(given), expected, relative)
            model[0].weight.mul_(2)
            changed = model(given)
        assert_near(model(given), changed, relative)


def test_a_row_is_the_same_whatever_is_next_to_it_and_however_many_threads_there_are() -> None:
    layer, given = torch.nn.Linear(576, 3001), torch.randn(30, 576)
    found = []
    before = torch.get_num_threads()
    with torch.inference_mode(), few_rows.fast_products(torch.nn.Sequential(layer)):
        for threads, last in ((1, 30), (2, 30), (3, 13), (2, 4)):
            torch.set_num_threads(threads)
            found.append(layer(given[:last])[:4])
    torch.set_num_threads(before)
    assert all(torch.equal(one, found[0]) for one in found)


def test_decoding_uses_them_and_leaves_the_model_as_it_was(tiny_qwen2: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    multiplied: list[int] = []

    def noticed(*given: Any, work: int) -> None:
        multiplied.append(len(given[2]))
        loops.run(*given, work=work)

    monkeypatch.setattr(few_rows, "run", noticed)
    model: Any = tiny_qwen2.model
    sampler, requests = TransformersSampler(tiny_qwen2), requests_for(tiny_qwen2)
    with sampler.session():
        sampler.sample(requests, stop=(), max_new_tokens=3)
    assert len(requests) in multiplied
    assert not any("forward" in vars(module) for module in model.modules() if type(module) is torch.nn.Linear)


def test_a_chunk_in_which_no_row_ends(tiny_qwen2: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """No row's logits are wanted then."""
    requests, found = requests_for(tiny_qwen2), []
    for chunk in (512, 5):
        monkeypatch.setattr(kv_cache, "CHUNK", chunk)
        sampler = TransformersSampler(tiny_qwen2)
        with sampler.session():
            sampler.sample(requests[:1], stop=(), max_new_tokens=1)
            found.append(sampler.sample(requests, stop=(), max_new_tokens=6))
    assert found[0] == found[1]


def test_other_dtypes_are_left_to_torch() -> None:
    half = torch.nn.Sequential(torch.nn.Linear(8, 8, dtype=torch.float16))
    with few_rows.fast_products(half):
        assert "forward" not in vars(half[0])


def test_starting_numba_leaves_torch_its_number_of_threads() -> None:
    script = (
        "import torch; torch.set_num_threads(3); from ragr1_lite.models import few_rows, kv_cache, loops; "
        "loops.run(few_rows._compiled(torch.float32).one, *(torch.ones(6, 6).numpy(),) * 3, work=0); "
        "print(torch.get_num_threads())"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    assert shown.stdout == "3\n"
