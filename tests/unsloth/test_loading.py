"""Models loaded by unsloth: their precision, their adapters, and what is said where it fails."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite import versions
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import ignore
from ragr1_lite.models.loading import Policy, load_policy, model_spec
from ragr1_lite.models.lora import save_adapter
from ragr1_lite.training import sft, trainer
from ragr1_lite.training.run_folder import Run
from tests.support import tiny
from tests.unsloth import work


def recipe_of(model: Path, folder: Path, /, **sections: Any) -> Any:
    sections["model"] = {"engine": "unsloth"} | sections.get("model", {})
    return tiny.make_recipe("sft", model, folder / "run", **sections)


def adapter_of(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in policy.model.named_parameters() if weight.requires_grad}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(("bf16", "found"), [(True, "bf16"), (False, "fp16")])
def test_training_computes_in_what_was_loaded(
    bf16: bool, found: str, card: Any, byte_model: Path, tmp_path: Path
) -> None:
    """Cards before Ampere load fp16, whatever was asked for, and unsloth refuses to train it in bf16."""
    recipe = recipe_of(byte_model, tmp_path, model={"dtype": "bf16"})
    with card(bf16=bf16):
        policy = tiny.load(recipe)
        arguments = trainer.trainer_arguments(recipe, Run.start(recipe), policy)
        assert (policy.dtype, policy.compute) == (found, found)
        assert (arguments["bf16"], arguments["fp16"]) == (bf16, not bf16)
        assert next(policy.model.parameters()).dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[found]


def test_sixteen_bits_are_told_where_four_cannot_be_had(byte_model: Path, tmp_path: Path) -> None:
    """As unsloth does where bitsandbytes has no library for the card."""
    told: list[str] = []
    recipe = recipe_of(byte_model, tmp_path, model={"dtype": "nf4"})
    policy = load_policy(model_spec(recipe), report=lambda event: told.append(str(getattr(event, "text", ""))))
    assert policy.dtype == policy.spec.dtype == "bf16"
    assert any("in bf16" in text for text in told)


def test_the_seed_draws_the_adapter(byte_model: Path, tmp_path: Path) -> None:
    loaded = []
    for number, seed in enumerate((1, 1, 2)):
        recipe = recipe_of(byte_model, tmp_path / str(number), train={"seed": seed})
        loaded.append(adapter_of(trainer.load_trainable(recipe, Run.start(recipe), lambda event: None)))
    first, again, other = loaded
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("rslora", [False, True], ids=["plain", "rslora"])
def test_a_continued_adapter_has_fused_kernels(rslora: bool, byte_model: Path, tmp_path: Path) -> None:
    fresh = work.load(recipe_of(byte_model, tmp_path / "fresh", model={"dtype": "bf16"}))
    fresh.model.peft_config["default"].use_rslora = rslora
    saved = save_adapter(fresh, tmp_path / "adapter")
    continued = tiny.load(recipe_of(byte_model, tmp_path / "on", model={"dtype": "bf16", "adapter": str(saved)}))
    assert same(adapter_of(continued), adapter_of(fresh))
    assert fused(continued) == fused(fresh)
    layer = continued.model.get_base_model().model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == 8 / (2 if rslora else 4)
    assert any(getattr(module, "gradient_checkpointing", False) for module in continued.model.modules())


def test_a_model_is_bare_next_to_an_adapter(byte_model: Path, tmp_path: Path) -> None:
    """unsloth itself refuses a folder that holds both."""
    fresh = work.load(recipe_of(byte_model, tmp_path, model={"dtype": "bf16"}))
    both = Path(shutil.copytree(byte_model, tmp_path / "both"))
    for file in save_adapter(fresh, tmp_path / "adapter").iterdir():
        shutil.copy(file, both)
    policy = load_policy(model_spec(recipe_of(both, tmp_path, model={"dtype": "bf16"})))
    assert not any("lora_" in name for name, _ in policy.model.named_parameters())
    assert policy.model.name_or_path == str(both)


@pytest.mark.parametrize("kind", [{"modules_to_save": ["lm_head"]}, {"use_dora": True}], ids=["output-layer", "dora"])
@pytest.mark.filterwarnings("ignore:Model (with|has) `tie_word_embeddings:UserWarning")
def test_other_adapters_are_trained_on(kind: dict[str, Any], byte_model: Path, tmp_path: Path) -> None:
    foreign = tiny.save_foreign_adapter(byte_model, tmp_path / "adapter", **kind)
    model = {"dtype": "bf16", "adapter": str(foreign)}
    recipe = recipe_of(byte_model, tmp_path, model=model, train={"learning_rate": 0.01})
    policy, run = tiny.load(recipe), Run.start(recipe)
    steps = sft.make_trainer(policy, tiny.gold(policy, recipe), recipe, run)
    result = trainer.fit(steps, policy, recipe, run, ignore, resume=False)
    start, trained = tiny.adapter_of(foreign), tiny.adapter_of(result.adapter)
    assert trained.keys() == start.keys() and not any(torch.equal(trained[name], start[name]) for name in start)


def fused(policy: Policy) -> list[str]:
    """Modules whose code unsloth replaced one by one; those of a model's classes are others."""
    found = [name for name, module in policy.model.named_modules() if "forward" in vars(module)]
    assert found
    return found


FAILURES = [
    (NotImplementedError("no such architecture"), "Set model.engine to transformers"),
    (OSError("Error no file named model.safetensors"), "Download it again"),
    (torch.OutOfMemoryError("CUDA out of memory"), "Set model.dtype to nf4"),
]


@pytest.mark.parametrize(("error", "fix"), FAILURES, ids=["unknown", "broken", "memory"])
def test_what_helps_where_it_cannot_be_loaded(
    error: Exception, fix: str, byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import unsloth

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(unsloth.FastLanguageModel, "from_pretrained", fail)
    with pytest.raises(ModelError, match="cannot be loaded by unsloth") as caught:
        tiny.load(recipe_of(byte_model, tmp_path))
    assert caught.value.hint.startswith(fix)


def test_figures_name_its_versions() -> None:
    found, tested = versions.versions(), versions.tested_versions()
    for name in ("unsloth", "unsloth_zoo", "bitsandbytes"):
        assert found[name] == tested[name]
