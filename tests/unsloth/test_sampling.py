"""Rollouts of a model of unsloth: by transformers' own code over our cache, while training keeps unsloth's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.core.types import Completion, SampleRequest
from ragr1_lite.models.kv_cache import RaggedCache
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.lora import merge_adapter, merged_for_sampling
from ragr1_lite.models.sampler import TransformersSampler
from tests.unsloth import work

PROMPTS = ["Which is larger, Chad or Oman?", "Which is larger, Chad or Oman?", "Chad?"]


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def policy(request: pytest.FixtureRequest, byte_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return loaded(byte_model, tmp_path_factory.mktemp("run"), request.param)


def loaded(model: Path, folder: Path, dtype: str = "fp32", adapter: Path | None = None, **sections: Any) -> Policy:
    """With checkpointing, as on a card."""
    chosen = {"dtype": dtype, "adapter": adapter and str(adapter)}
    policy = work.load(work.recipe_of("dapo", "unsloth", model, folder / "run", model=chosen, **sections))
    policy.model.for_training()
    return policy


def say(sampler: TransformersSampler, new: int = 12) -> list[Completion]:
    requests = [SampleRequest(row, sampler.tokenizer.render_chat(text)) for row, text in enumerate(PROMPTS)]
    return sampler.sample(requests, stop=(), max_new_tokens=new)


def state(policy: Policy) -> dict[str, tuple[bool, Any, Any]]:
    """Of every module: its mode, its checkpointing, its code."""
    return {
        name: (module.training, getattr(module, "gradient_checkpointing", None), module.forward.__func__)
        for name, module in policy.model.named_modules()
        if hasattr(module.forward, "__func__")
    }


def test_greedy_outputs_are_those_of_generate(policy: Policy) -> None:
    ours = say(TransformersSampler(policy, logprobs=True))
    theirs = say(TransformersSampler(policy, logprobs=True, ragged=False))
    same = [one.token_ids == other.token_ids for one, other in zip(ours, theirs, strict=True)]
    assert all(same) if policy.dtype == "fp32" else any(same), "rounding may part rows in bf16"
    if policy.dtype == "fp32":
        for one, other in zip(ours, theirs, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)


def test_prefill_is_shared_and_finished_rows_leave(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    plain = RaggedCache._run

    def counted(self: RaggedCache, ids: Sequence[int], *args: Any) -> torch.Tensor:
        computed.append(len(ids))
        return plain(self, ids, *args)

    monkeypatch.setattr(RaggedCache, "_run", counted)
    sampler = TransformersSampler(policy)
    prompts = [sampler.tokenizer.render_chat(text) for text in PROMPTS]
    requests = [SampleRequest(row, ids) for row, ids in enumerate(prompts)]
    monkeypatch.setattr(sampler.tokenizer, "eos_ids", (say(sampler, 1)[2].token_ids[0],))
    computed.clear()
    sampler.sample(requests, stop=(), max_new_tokens=5)
    assert computed[0] < len(prompts[0]) + len(prompts[2]), "the second row is the first"
    assert computed[1:] == [2] * 4, "the third ended with its first token"


@pytest.mark.parametrize("ragged", [True, False])
def test_training_finds_everything_as_it_was(policy: Policy, ragged: bool) -> None:
    before = state(policy)
    assert any(checkpointing for _, checkpointing, _ in before.values()), "it is on, as in training"
    say(TransformersSampler(policy, ragged=ragged))
    assert state(policy) == before


@pytest.mark.parametrize("ragged", [True, False])
def test_also_after_an_exception(policy: Policy, ragged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(policy)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ragr1_lite.models.sampler._Row.add", fail)
    with pytest.raises(ZeroDivisionError):
        say(TransformersSampler(policy, ragged=ragged))
    assert state(policy) == before


def test_a_merged_adapter_samples_the_same_and_is_taken_out_exactly(policy: Policy) -> None:
    before, weights = state(policy), {name: weight.clone() for name, weight in policy.model.named_parameters()}
    unmerged = say(TransformersSampler(policy))
    with merged_for_sampling(policy):
        changed = [name for name, weight in policy.model.named_parameters() if not torch.equal(weight, weights[name])]
        assert len(changed) == 14, "seven targets in two layers"
        for ragged in (True, False):
            merged = say(TransformersSampler(policy, ragged=ragged))
            same = [one.token_ids == other.token_ids for one, other in zip(merged, unmerged, strict=True)]
            assert all(same) if policy.dtype == "fp32" else any(same), "rounding may part rows in bf16"
    assert all(torch.equal(weight, weights[name]) for name, weight in policy.model.named_parameters())
    assert state(policy) == before


def test_an_adapter_merged_for_good(byte_model: Path, tmp_path: Path) -> None:
    policy = loaded(byte_model, tmp_path)
    unmerged = say(TransformersSampler(policy))
    merge_adapter(policy)
    assert not hasattr(policy.model, "peft_config")
    for ragged in (True, False):
        merged = say(TransformersSampler(policy, ragged=ragged))
        assert [one.token_ids for one in merged] == [one.token_ids for one in unmerged]


def test_dropout_rests_while_the_model_samples(byte_model: Path, tmp_path: Path) -> None:
    dropped = loaded(byte_model, tmp_path, lora={"dropout": 0.5})
    first, second = (say(TransformersSampler(dropped)) for _ in range(2))
    assert first == second
    assert all(module.training for module in dropped.model.modules() if isinstance(module, torch.nn.Dropout))


def test_generate_warns_of_nothing(policy: Policy, caplog: pytest.LogCaptureFixture) -> None:
    say(TransformersSampler(policy, ragged=False))
    assert not caplog.records


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", work.KINDS)
def test_adapters_that_others_wrote(kind: str, dtype: str, plain: Path, byte_model: Path, tmp_path: Path) -> None:
    policy = loaded(byte_model, tmp_path, dtype, plain / kind)
    ours = say(TransformersSampler(policy))
    if dtype == "fp32":
        theirs = say(TransformersSampler(policy, ragged=False))
        assert [one.token_ids for one in ours] == [one.token_ids for one in theirs]
    assert ours[0] == ours[1]


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3"])
def test_other_families(family: str, tmp_path: Path) -> None:
    import transformers

    from tests.support import tiny

    names = {"llama": "Llama", "qwen3": "Qwen3", "mistral": "Mistral", "gemma3": "Gemma3Text"}
    tokenizer = tiny.byte_tokenizer(special=("<|im_start|>", "<|spare_pad|>"))
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = getattr(transformers, f"{names[family]}Config")(
        vocab_size=len(tokenizer), num_hidden_layers=2, initializer_range=0.2, head_dim=16, **sizes
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{names[family].removesuffix('Text')}ForCausalLM")(config)
    model.save_pretrained(tmp_path / family)
    tokenizer.save_pretrained(tmp_path / family)
    policy = loaded(tmp_path / family, tmp_path)
    ours, theirs = (say(TransformersSampler(policy, ragged=ragged)) for ragged in (True, False))
    assert [one.token_ids for one in ours] == [one.token_ids for one in theirs]
