"""Sliding windows: the cache gives what the plain model gives, for rows longer than a window."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ragr1_lite.core.types import SampleRequest
from ragr1_lite.models import kv_cache, step_attention
from ragr1_lite.models.kv_cache import RaggedCache, ragged_attention, supports
from ragr1_lite.models.loading import Policy, load_policy
from ragr1_lite.models.sampler import TransformersSampler
from tests.support.rounding import assert_near
from tests.support.tiny import save_byte_model

WINDOW = 8
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "vocab_size": 300,
    "initializer_range": 0.2,
    "sliding_window": WINDOW,
}
KINDS = {
    "gemma3_text": {"layer_types": ["sliding_attention"] * 3 + ["full_attention"], "query_pre_attn_scalar": 30},
    "mistral": {},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 2},
}
ROWS = [list(range(20, 20 + length)) for length in (3, 7, 8, 9, 15, 26)]
"""Ones that fit a window, that just do and do not, and long ones; all begin alike."""


def tiny_model(kind: str, **changes: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(SIZES | KINDS[kind] | changes))
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


@pytest.fixture(params=["loop", "torch"], autouse=True)
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding attends by our loop, and by torch, as on a card."""
    if request.param == "torch":
        monkeypatch.setattr(step_attention, "fast_attention", lambda *of: None)


@pytest.fixture(scope="module", params=list(KINDS))
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_model(request.param)


def plainly(model: Any, rows: list[list[int]]) -> torch.Tensor:
    return torch.stack([model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows])


def test_the_windows_are_there(model: Any) -> None:
    """Else the other tests would show nothing."""
    kind = model.config.model_type
    unlimited = tiny_model(kind, sliding_window=99)
    with torch.inference_mode():
        assert torch.equal(plainly(model, ROWS[:2]), plainly(unlimited, ROWS[:2]))
        assert not torch.allclose(plainly(model, ROWS[3:]), plainly(unlimited, ROWS[3:]), atol=1e-2)


@pytest.mark.parametrize("chunk", [5, 11, 512])
def test_prefill_with_shared_beginnings(model: Any, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(kv_cache, "CHUNK", chunk)
    rows = [*ROWS, ROWS[-1], [*ROWS[-1][:20], 7, 8, 9], [*ROWS[0][:2], *range(60, 80)]]
    with torch.inference_mode():
        expected = plainly(model, rows)
        with ragged_attention(model):
            assert_near(RaggedCache(model).prefill(dict(enumerate(rows)), 0), expected)


def test_steps_and_rows_that_come_back(model: Any) -> None:
    rows = {name: list(ids) for name, ids in enumerate(ROWS)}
    cache = RaggedCache(model)
    with torch.inference_mode():
        for turn in range(2):
            with ragged_attention(model):
                logits = cache.prefill(rows, 20)
            for step in range(11):
                assert_near(logits, plainly(model, [rows[name] for name in cache.live]))
                if step in (3, 6):
                    cache.park(cache.live[turn])
                for name in cache.live:
                    rows[name].append(30 + 7 * step + name)
                with ragged_attention(model):
                    logits = cache.extend([rows[name][-1] for name in cache.live])
            for ids in rows.values():
                ids += [11, 12, 13]


def test_greedy_equals_generate(model: Any, tmp_path: Any) -> None:
    model.save_pretrained(save_byte_model(tmp_path / "model"))
    from ragr1_lite.models.loading import ModelSpec

    policy: Policy = load_policy(ModelSpec(str(tmp_path / "model"), dtype="fp32"))
    requests = [SampleRequest(number, row) for number, row in enumerate(ROWS)]
    by_cache, by_generate = (
        TransformersSampler(policy, ragged=ragged).sample(requests, stop=(), max_new_tokens=2 * WINDOW)
        for ragged in (True, False)
    )
    assert TransformersSampler(policy)._ragged
    assert by_cache == by_generate
    assert len({completion.token_ids for completion in by_cache}) > 1


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({"model_type": "gemma3_text", "layer_types": ["sliding_attention", "full_attention"]}, True),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, False),
        ({"model_type": "gemma2", "layer_types": ["sliding_attention"], "attn_logit_softcapping": 50.0}, False),
        ({"model_type": "llama", "layer_types": ["full_attention", "chunked_attention"]}, False),
        ({"model_type": "gpt_oss", "layer_types": ["full_attention"]}, False),
    ],
    ids=["windows", "both-ways", "capped", "chunks", "sinks"],
)
def test_which_models_go_through_the_cache(fields: dict[str, Any], known: bool) -> None:
    assert supports(SimpleNamespace(**fields)) is known
