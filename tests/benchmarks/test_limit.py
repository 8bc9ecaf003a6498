"""What a phase needs at least is what torch counts in a real pass of a small model, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from benchmarks.limit import READ, Costs, Limit, Tokens, Work, distinct, limit, of_rows, probes, rollout_passes
from ragr1_lite.config import LoraConfig
from ragr1_lite.training.planning.shapes import Shape, read_shape
from tests.support.tiny import save_byte_model

TOKENS, TRAINED, RANK = 12, 5, 4
FULL = Tokens(TOKENS, TOKENS * TOKENS, TRAINED)
"""What eager attention computes: also what is masked."""
ROTARY = 2 * TOKENS * 8
"""Each position times eight frequencies, which transformers writes as a product of matrices."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_byte_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def shape(folder: Path) -> Shape:
    return read_shape(folder / "config.json")


def counted(model: Any, *, backward: bool) -> int:
    """Floating point operations of a pass whose loss is at some positions."""
    ids = torch.arange(TOKENS)[None]
    with FlopCounterMode(display=False) as flops:
        logits = model(input_ids=ids, logits_to_keep=TRAINED).logits
        if backward:
            logits.sum().backward()
    return flops.get_total_flops()


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)


def test_a_forward_pass_needs_what_torch_counts(folder: Path, shape: Shape) -> None:
    with torch.no_grad():
        assert Costs(shape, 4).forward(FULL).products == counted(load(folder), backward=False) - ROTARY


def test_a_training_pass_needs_what_torch_counts(folder: Path, shape: Shape) -> None:
    config = peft.LoraConfig(r=RANK, target_modules=list(LoraConfig().targets), task_type="CAUSAL_LM")
    model = peft.get_peft_model(load(folder), config)
    assert Costs(shape, 4, RANK).training(FULL).products == counted(model, backward=True) - ROTARY


def test_weights_are_read_once_in_each_direction(folder: Path, shape: Shape) -> None:
    model, costs = load(folder), Costs(shape, 4)
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    weights = sum(module.weight.nbytes for module in linear)
    assert costs.forward(FULL).bytes == weights
    assert costs.training(FULL).bytes == 2 * weights


def test_a_step_of_decoding_reads_keys_and_values_as_well(folder: Path, shape: Shape) -> None:
    cache = load(folder)(input_ids=torch.arange(TOKENS)[None], use_cache=True).past_key_values
    kept = sum(tensor.nbytes for layer in cache.layers for tensor in (layer.keys, layer.values))
    costs, step = Costs(shape, 4), Tokens(1, TOKENS, 1)
    assert costs.step(step).bytes - costs.forward(step).bytes == kept


GROUP = [([1, 2, 3, 4], [0, 0, 1, 1]), ([1, 2, 3, 5], [0, 0, 1, 1]), ([1, 2, 6], [0, 0, 1]), ([7, 2], [0, 1])]


def test_beginnings_in_common_count_once() -> None:
    assert of_rows(GROUP) == Tokens(13, 10 + 10 + 6 + 3, 6)
    # 1 2 3 4 · 5 · 6 · 7 2; a next token is predicted after 1 2, after 1 2 3 and after 7
    assert distinct(GROUP) == Tokens(8, 10 + 4 + 3 + 3, 3)
    assert distinct(reversed(GROUP)) == distinct(GROUP)
    assert distinct(GROUP[:1]) == of_rows(GROUP[:1])


def test_rollouts_compute_every_token_but_each_row_s_last() -> None:
    rows = [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 0, 0, 1, 1, 1, 0, 0, 1]),
        ([1, 2, 9, 4, 5, 6], [0, 0, 0, 1, 1, 1]),
    ]
    prefills, steps = rollout_passes(rows)
    assert prefills == [Tokens(4, 1 + 2 + 3 + 3, 2), Tokens(3, 6 + 7 + 8, 1)]
    assert steps == [Tokens(2, 4 + 4, 2), Tokens(2, 5 + 5, 2)]
    computed = sum((*prefills, *steps), Tokens(0, 0, 0))
    assert computed.count == sum(len(ids) - 1 for ids, _ in rows) - 2  # the prompts share two
    assert computed.logits == sum(sum(mask) for _, mask in rows)
    alike, _ = rollout_passes([rows[0], rows[0]])
    assert alike[0] == Tokens(3, 6, 1)  # one prompt, whose logits serve both


def test_rows_that_sampled_nothing_need_nothing() -> None:
    assert rollout_passes([([1, 2], [0, 0]), ([1, 3], [0, 1])]) == ([Tokens(1, 1, 1)], [])


def test_a_floor_is_what_lasts_longer() -> None:
    reached = Limit(rate=10, bandwidth=2)
    assert reached.floor([Work(100, 2)]) == 10
    assert reached.floor([Work(100, 40), Work(10, 2)]) == 20 + 1
    assert reached.share(30, [Work(150, 2)], 6)["share"] == 0.5


def test_the_limit_is_that_of_the_best_shape(shape: Shape) -> None:
    measured = probes(shape, torch.float32)
    assert set(measured) == {"64x64", "64x32", "64x128", "128x64", "reading"}
    assert tuple(measured["64x128"]().shape) == (1024, 128)  # type: ignore[attr-defined]
    seconds = dict.fromkeys(measured, 1.0) | {"64x32": 0.5, "reading": 0.25}
    assert limit(seconds) == Limit(2 * 1024 * 64 * 128, 4 * READ)
