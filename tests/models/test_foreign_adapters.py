"""Adapters that peft wrote elsewhere, in its other ways, and models that lie in one folder with one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from ragr1_lite.config import LoraConfig
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.types import SampleRequest
from ragr1_lite.models.loading import ModelSpec, Policy, load_policy
from ragr1_lite.models.lora import merge_adapter, merged_for_sampling, save_adapter
from ragr1_lite.models.sampler import TransformersSampler
from ragr1_lite.models.upstream import of_adapter
from tests.support import tiny

QV = ["q_proj", "v_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True, "lora_alpha": 16},
    "dora": {"use_dora": True},
    "lora-bias": {"lora_bias": True},
    "regex": {"target_modules": r".*layers\.1\.(mlp|self_attn)\.(up|q)_proj"},
    "all-linear": {"target_modules": "all-linear"},
    "pissa": {"init_lora_weights": "pissa"},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}},
    "some-layers": {"layers_to_transform": [1]},
    "output-layer": {"modules_to_save": ["lm_head"]},
    "embeddings": {"modules_to_save": ["embed_tokens"]},
    "lora-of-embeddings": {"target_modules": [*QV, "embed_tokens"]},
    "lora-of-output-layer": {"target_modules": [*QV, "lm_head"]},
    "tokens": {"trainable_token_indices": {"embed_tokens": [65, 66, 67]}},
}
pytestmark = pytest.mark.filterwarnings(
    "ignore:Model (with|has) `tie_word_embeddings:UserWarning",
    "ignore:Adapter.*invalid shape",
    "ignore:.lora_bias=True",
)  # said by peft where it writes or reads them; what we load says nothing


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def foreign(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The adapter of a kind."""
    return cache(lambda kind: tiny.save_foreign_adapter(base, tmp_path_factory.mktemp(kind), **KINDS[kind]))


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


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_asked_as_peft_has_it(kind: str, base: Path, foreign: Callable[[str], Path]) -> None:
    """Unmerged, merged for a while and merged for good, by our cache and without; afterwards all is as it was."""
    wanted = as_peft_has_it(base, foreign(kind))
    policy = load_policy(spec_of(base, adapter=str(foreign(kind))))
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


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "nf4"])
@pytest.mark.parametrize("kind", ["rslora", "dora", "regex", "output-layer", "embeddings"])
def test_it_is_trained_alone_and_in_fp32(
    kind: str, dtype: str, base: Path, foreign: Callable[[str], Path], tmp_path: Path
) -> None:
    """Every weight of it moves and no other, and what is saved is what was trained."""
    policy = load_policy(spec_of(base, adapter=str(foreign(kind)), dtype=dtype), lora=LoraConfig())
    model: Any = policy.model
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained and all(of_adapter(name) and weight.dtype == torch.float32 for name, weight in trained.items())
    ids = torch.tensor([list(range(60, 70))])
    with torch.autocast("cpu", enabled=policy.compute == "bf16"):
        model(input_ids=ids, labels=ids).loss.backward()
    assert {name for name, weight in model.named_parameters() if weight.grad is not None} == set(trained)
    with torch.no_grad():
        for weight in trained.values():
            weight -= 0.1 * weight.grad
    request = SampleRequest(0, tuple(policy.tokenizer.render_chat("Chad?")))
    with merged_for_sampling(policy):
        TransformersSampler(policy).sample([request], stop=(), max_new_tokens=2)
    after = logits_of(model)
    folder = save_adapter(policy, tmp_path / "adapter")
    again = load_policy(spec_of(base, adapter=str(folder), dtype=dtype), lora=LoraConfig())
    assert torch.equal(logits_of(again.model), after)


def test_a_fresh_adapter_of_every_linear_layer(base: Path) -> None:
    every, seven = (
        load_policy(spec_of(base), lora=lora) for lora in (LoraConfig(targets=("all-linear",)), LoraConfig())
    )
    names = [[name for name, weight in one.model.named_parameters() if weight.requires_grad] for one in (every, seven)]
    assert names[0] == names[1] and len(names[0]) == 2 * 7 * 2


def test_what_an_adapter_lacks_is_not_made_up(base: Path, foreign: Callable[[str], Path], tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(foreign("rslora"), tmp_path / "adapter"))
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {name: one for name, one in tensors.items() if "layers.1" not in name}, adapter / "adapter_model.safetensors"
    )
    with pytest.raises(ModelError, match="does not fit .*Found missing adapter keys"):
        load_policy(spec_of(base, adapter=str(adapter)))


# A model's folder that also holds an adapter


@pytest.fixture
def both(base: Path, foreign: Callable[[str], Path], tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(base, tmp_path / "mine"))
    for file in foreign("rslora").glob("adapter_*"):
        shutil.copy(file, folder)
    return folder


@pytest.mark.parametrize("place", ["{}", "."])
def test_the_bare_model_is_bare(place: str, both: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(both)
    said: list[Any] = []
    policy = load_policy(spec_of(Path(place.format(both))), report=said.append)
    assert torch.equal(logits_of(policy.model), logits_of(load_policy(spec_of(base)).model))
    assert policy.model.name_or_path == place.format(both)
    assert said[0].text == f"The adapter that lies in {place.format(both)} is left out"


def test_the_adapter_in_the_folder_is_taken_where_it_is_named(both: Path, base: Path) -> None:
    said: list[Any] = []
    policy = load_policy(spec_of(both, adapter=str(both)), report=said.append)
    assert torch.allclose(logits_of(policy.model), as_peft_has_it(base, both), atol=1e-4)
    assert len(said) == 1 and "left out" not in said[0].text


def test_a_fresh_adapter_is_trained_on_the_bare_model(both: Path, base: Path, tmp_path: Path) -> None:
    policy: Policy = load_policy(spec_of(both), lora=LoraConfig(r=4))
    assert torch.equal(logits_of(policy.model), logits_of(load_policy(spec_of(base)).model))
    folder = save_adapter(policy, tmp_path / "adapter")
    assert len(load_file(folder / "adapter_model.safetensors")) == 2 * 7 * 2
