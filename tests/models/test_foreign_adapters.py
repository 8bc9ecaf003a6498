"""Adapters that peft wrote elsewhere, in its other ways, and models that lie in one folder with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from ragr1_lite.core.types import SampleRequest
from ragr1_lite.models.loading import ModelSpec, load_policy
from ragr1_lite.models.lora import merge_adapter, merged_for_sampling
from ragr1_lite.models.sampler import TransformersSampler
from tests.support import tiny

ATTENTION = ["q_proj", "v_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "rslora": {"target_modules": ATTENTION, "use_rslora": True, "lora_alpha": 16},
    "dora": {"target_modules": ATTENTION, "use_dora": True},
    "lora-bias": {"target_modules": ATTENTION, "lora_bias": True},
    "regex": {"target_modules": r".*layers\.1\.(mlp|self_attn)\.(up|q)_proj"},
    "all-linear": {"target_modules": "all-linear"},
    "patterns": {"target_modules": ATTENTION, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}},
    "some-layers": {"target_modules": ATTENTION, "layers_to_transform": [1]},
    "output-layer": {"target_modules": ATTENTION, "modules_to_save": ["lm_head"]},
    "embeddings": {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens"]},
    "lora-of-embeddings": {"target_modules": [*ATTENTION, "embed_tokens"]},
    "lora-of-output-layer": {"target_modules": [*ATTENTION, "lm_head"]},
    "tokens": {"target_modules": ATTENTION, "trainable_token_indices": {"embed_tokens": [65, 66, 67]}},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def foreign(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Adapters as others write them: trained by peft alone, away from zero."""
    from transformers import AutoModelForCausalLM

    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        config: Any = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"} | KINDS[kind])
        adapted: Any = peft.get_peft_model(model, config)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for weight in adapted.parameters():
                if weight.requires_grad:
                    weight += 0.1 * torch.randn(weight.shape, generator=generator)
        adapted.save_pretrained(folder, save_embedding_layers=False)
        return Path(folder)

    made: dict[str, Path] = {}
    return lambda kind: made.setdefault(kind, make(kind)) if kind not in made else made[kind]


def spec_of(base: Path, **options: Any) -> ModelSpec:
    return ModelSpec(str(base), **{"dtype": "fp32", "engine": "transformers"} | options)


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        scores: torch.Tensor = model(input_ids=torch.tensor([[67, 104, 97, 100, 63, 9]])).logits
    return scores.float()


def as_peft_has_it(base: Path, adapter: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return logits_of(peft.PeftModel.from_pretrained(model, adapter))


quiet = pytest.mark.filterwarnings(
    "ignore:Model (with|has) `tie_word_embeddings:UserWarning",
    "ignore:Adapter.*invalid shape",
    "ignore:.lora_bias=True",
)


@quiet
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_asked_as_peft_has_it(kind: str, base: Path, foreign: Callable[[str], Path]) -> None:
    """Unmerged, merged for a while and merged for good, and by our cache; afterwards all is as it was."""
    adapter = foreign(kind)
    wanted = as_peft_has_it(base, adapter)
    policy = load_policy(spec_of(base, adapter=str(adapter)))
    assert torch.allclose(logits_of(policy.model), wanted, atol=1e-4)
    assert not torch.allclose(logits_of(load_policy(spec_of(base)).model), wanted, atol=1e-2)
    before = {name: weight.clone() for name, weight in policy.model.state_dict().items()}
    request = SampleRequest(0, tuple(policy.tokenizer.render_chat("Chad?")))
    with merged_for_sampling(policy):
        assert torch.allclose(logits_of(policy.model), wanted, atol=1e-4)
        sampled = TransformersSampler(policy).sample([request], stop=(), max_new_tokens=6)
    assert all(torch.equal(weight, before[name]) for name, weight in policy.model.state_dict().items())
    assert torch.allclose(logits_of(policy.model), wanted, atol=1e-4)
    merge_adapter(policy)
    assert torch.allclose(logits_of(policy.model), wanted, atol=1e-4)
    generated = TransformersSampler(policy, ragged=False).sample([request], stop=(), max_new_tokens=6)
    assert [one.token_ids for one in generated] == [one.token_ids for one in sampled]
