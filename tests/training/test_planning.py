"""Plans: sizes, formulas, and suggestions that fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.config import Recipe, load_recipe, shipped_recipes
from ragr1_lite.core.errors import ModelError
from ragr1_lite.models import fused, kv_cache
from ragr1_lite.training.planning import Plan, corrected, memory, plan
from ragr1_lite.training.planning.forecast import ROOM, to_setting
from ragr1_lite.training.planning.machine import GIB, Device
from ragr1_lite.training.planning.memory import Setting
from ragr1_lite.training.planning.shapes import Shape, find_shape, read_shape
from ragr1_lite.training.planning.steps import Steps, small
from ragr1_lite.training.planning.suggest import changed
from tests.support.adapters import save_adapter_files

TINY = Shape(8, 16, 2, 2, 1, 4, 100, True, "qwen2")
SETTING = Setting(TINY, "sft", "cuda", "nf4", 2, 4, tuple(TINY.linears), 2, 64, 1, False)


def recipe_of(task: str, **sections: dict[str, Any]) -> Recipe:
    """A recipe for Qwen2.5-1.5B that needs no card to be resolved."""
    defaults: dict[str, dict[str, Any]] = {
        "model": {"name": "Qwen/Qwen2.5-1.5B-Instruct", "dtype": "nf4"},
        "rollout": {"max_length": 4096, "batch_size": 32, "engine": "transformers"},
        "train": {"batch_size": 64, "micro_batch": 4},
    }
    names = defaults.keys() | sections.keys()
    return Recipe.model_validate(
        {"task": task, **{name: defaults.get(name, {}) | sections.get(name, {}) for name in names}}
    )


# --- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("smollm2-135m", 134_515_008),
        ("gemma-3-270m", 268_098_176),
        ("qwen2.5-coder-0.5b", 494_032_768),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct", 1_543_714_304),
        ("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768),
        ("Qwen/Qwen2.5-1.5B", 1_543_714_304),
        ("unsloth/Qwen2.5-3B-Instruct-unsloth-bnb-4bit", 3_085_938_688),
        (r"C:\models\Qwen2.5-3B-Instruct", 3_085_938_688),
        ("/hub/models--Qwen--Qwen2.5-3B-Instruct/snapshots/ab12", 3_085_938_688),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("Qwen/Qwen3-1.7B-Base", 1_720_574_976),
        ("Qwen/Qwen3-4B-Instruct-2507", 4_022_468_096),
    ],
)
def test_known_models_have_their_published_number_of_parameters(name: str, parameters: int) -> None:
    assert find_shape(name).parameters == parameters


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-14B", "Qwen/Qwen2.5-VL-3B-Instruct", "no such folder", "a/b/c"])
def test_a_model_that_is_not_known_says_what_to_do(name: str) -> None:
    with pytest.raises(ModelError, match="sizes of .* are not known here.*--probe"):
        find_shape(name)


def test_a_folder_gives_its_sizes(tmp_path: Path) -> None:
    config = {
        "model_type": "qwen2",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 100,
        "tie_word_embeddings": True,
        "head_dim": None,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert find_shape(str(tmp_path)) == TINY


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_type": "qwen2", "num_attention_heads": "many"}'])
def test_a_broken_config_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json does not give the sizes"):
        read_shape(tmp_path / "config.json")


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no model in that folder"):
        find_shape(str(tmp_path))


# --- formulas ------------------------------------------------------------------------------------------------------


def test_the_tiny_model_by_hand() -> None:
    q, k, v, o, mlp = 8 * 8, 8 * 4, 8 * 4, 8 * 8, 3 * 8 * 16
    assert TINY.linear_parameters == 2 * (q + k + v + o + mlp)
    assert TINY.other_parameters == 100 * 8 + 2 * (8 + 4 + 4 + 2 * 8) + 8


def test_four_bits_are_for_the_layers_alone() -> None:
    quantized = TINY.linear_parameters * (0.5 + 1 / 64 + 4 / 16384)
    assert memory.weights(SETTING) == pytest.approx(quantized + 2 * TINY.other_parameters)
    assert memory.weights(replace(SETTING, dtype="bf16")) == 2 * TINY.parameters
    assert memory.weights(replace(SETTING, dtype="fp32")) == 4 * TINY.parameters


def test_the_adapter_has_two_matrices_a_target_and_the_optimizer_two_moments() -> None:
    one = replace(SETTING, targets=("q_proj", "down_proj"))
    assert memory.adapter(one) == 4 * 2 * 4 * ((8 + 8) + (16 + 8))
    plain, referred = (memory.moments(replace(one, reference=there), 0.0)["loss"] for there in (False, True))
    assert plain["optimizer"] == 2 * memory.adapter(one) == 2 * plain["gradients"]
    assert (plain["adapter"], referred["adapter"]) == (memory.adapter(one), 2 * memory.adapter(one))


def test_the_cache_holds_keys_and_values_of_every_row_and_layer() -> None:
    assert memory.kv_cache(replace(SETTING, rows=3, length=10)) == 3 * 10 * 2 * 2 * 4 * 2


def test_a_cpu_keeps_every_layer_and_a_card_one() -> None:
    both = {one.device: one for one in (SETTING, replace(SETTING, device="cpu"))}
    held = {
        device: memory.moments(one, 0.0)["backward"]["activations"] - memory.ends_saved(one) - memory.layer_working(one)
        for device, one in both.items()
    }
    assert held["cuda"] == pytest.approx(memory.layer_saved(SETTING) + memory.checkpoints(SETTING))
    assert held["cpu"] == pytest.approx(2 * memory.layer_saved(both["cpu"]))


def test_packed_rows_have_no_padding_no_mask_and_grouped_keys() -> None:
    """By hand: norms, MLP, attention with its sums, the adapters' shared inputs and what lies between matrices."""
    packed = replace(SETTING, device="cpu", dtype="fp32", stream=4, length=50)
    assert (packed.tokens, replace(packed, device="cuda").tokens) == (2 * 50, 2 * 64)
    numbers = 2 * 8 + 3 * 16 + 2 * (8 + 4) + 2 + (8 + 8 + 8 + 16) + 7 * 4
    assert memory.layer_saved(packed) == packed.tokens * 4 * numbers


def test_chunks_are_those_of_the_code() -> None:
    assert (memory.LOSS_CHUNK["cpu"], memory.PREFILL_CHUNK) == (fused.CHUNK, kv_cache.CHUNK)


def test_a_cpu_holds_few_logits_whatever_the_task() -> None:
    few, many, rolled = (
        memory.logits(replace(SETTING, device="cpu", stream=4, length=length, task=task))
        for length, task in ((128, "sft"), (1024, "sft"), (128, "grpo"))
    )
    assert few == rolled
    assert many - few == 2 * (1024 - 128) * 2 * 8 * 4  # states and their gradients alone


def test_without_autocast_adapters_share_their_inputs() -> None:
    every, attention = tuple(TINY.linears), ("q_proj", "k_proj", "v_proj")
    whole = replace(SETTING, dtype="fp32", stream=4)
    kept = memory.layer_saved(replace(whole, targets=every)) - memory.layer_saved(replace(whole, targets=()))
    assert kept == whole.tokens * 4 * (8 + 8 + 16 + 7 * 4)
    cast = memory.layer_saved(replace(SETTING, targets=attention)) - memory.layer_saved(replace(SETTING, targets=()))
    assert cast == SETTING.tokens * 2 * (3 * 8 + 3 * 4)
    fused = replace(SETTING, device="cpu", dtype="bf16")
    kept = memory.layer_saved(replace(fused, targets=attention)) - memory.layer_saved(replace(fused, targets=()))
    assert kept == fused.tokens * 2 * (8 + 3 * 4)


def test_vllm_takes_its_share_instead_of_our_cache() -> None:
    recipe = recipe_of("grpo", rollout={"engine": "vllm", "gpu_share": 0.25})
    found = plan(recipe, gpu_gb=16)
    assert found.parts["vllm"] == 4.0
    assert "kv_cache" not in found.parts
    on_cpu = changed(recipe, "model.dtype", "fp32")
    assert plan(on_cpu, gpu_gb=16, device="cpu").parts.get("vllm") is None


# --- plans ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["sft", "grpo"])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_parts_add_up_to_the_highest_moment(task: str, device: Device) -> None:
    found = plan(recipe_of(task, model={"dtype": "bf16"}), gpu_gb=24, device=device)
    assert sum(found.parts.values()) == pytest.approx(found.peak_gb)
    assert found.peak_gb == max(found.moments.values()) == found.moments[found.moment]


@pytest.mark.parametrize("task", ["sft", "grpo"])
def test_more_of_anything_takes_more(task: str) -> None:
    def total(**sections: dict[str, Any]) -> float:
        return sum(plan(recipe_of(task, **sections), gpu_gb=24).moments.values())

    least = total()
    assert total(train={"micro_batch": 8}) > least
    assert total(rollout={"max_length": 5000}) > least
    assert total(lora={"r": 32}) > least
    assert total(model={"dtype": "bf16"}) > least
    assert total(model={"name": "Qwen/Qwen2.5-3B"}) > least
    if task == "grpo":
        assert total(rollout={"batch_size": 64}) > least
        assert total(grpo={"beta": 0.0}) < least


def test_what_accumulates_or_comes_later_takes_no_more() -> None:
    least = plan(recipe_of("grpo"), gpu_gb=24).peak_gb
    assert plan(recipe_of("grpo", train={"batch_size": 128}), gpu_gb=24).peak_gb == least
    assert plan(recipe_of("grpo", grpo={"group_size": 16}), gpu_gb=24).peak_gb == least


def test_all_linear_layers_are_the_seven() -> None:
    every, seven = (plan(recipe_of("sft", lora=lora), gpu_gb=24) for lora in ({"targets": "all-linear"}, {}))
    assert every.parts == seven.parts
    assert plan(recipe_of("sft", lora={"targets": ["q_proj"]}), gpu_gb=24).parts["adapter"] < seven.parts["adapter"]


def test_an_adapter_that_is_gone_on_with_keeps_its_rank_and_targets(tmp_path: Path) -> None:
    own = {"r": 64, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"]}
    adapter = save_adapter_files(tmp_path / "adapter", base_model_name_or_path="Qwen/Qwen2.5-1.5B-Instruct", **own)
    model = {"name": "Qwen/Qwen2.5-1.5B-Instruct", "dtype": "nf4"}
    found = plan(recipe_of("grpo", model=model | {"adapter": str(adapter)}), gpu_gb=24)
    same = plan(recipe_of("grpo", lora={"r": 64, "targets": ["q_proj", "v_proj"]}), gpu_gb=24)
    assert found.parts == same.parts
    assert any("has rank 64, not the recipe's 16" in note for note in found.notes)
    plain = plan(recipe_of("grpo"), gpu_gb=24).parts
    for missing in ("runs/to-be-made/adapter", "someone/their-adapter"):
        assert plan(recipe_of("grpo", model=model | {"adapter": missing}), gpu_gb=24).parts == plain


def test_another_length_is_planned_for() -> None:
    recipe = recipe_of("sft")
    shorter = plan(recipe, gpu_gb=8, length=1024)
    assert shorter.length == 1024
    assert shorter.peak_gb < plan(recipe, gpu_gb=8).peak_gb
    assert "--length" in shorter.notes[0]
    assert "rollout.max_length" not in shorter.suggestion


@pytest.mark.parametrize("gpu_gb", [8, 24])
@pytest.mark.parametrize("name", sorted(name for name in shipped_recipes() if "sq" not in name))
def test_a_suggestion_fits_when_it_is_planned(name: str, gpu_gb: float) -> None:
    recipe = load_recipe(name)
    found = plan(recipe, gpu_gb=gpu_gb)
    if any("Nothing smaller" in note for note in found.notes):
        assert not found.fits
        assert not found.suggestion
        return
    for key, value in found.suggestion.items():
        recipe = changed(recipe, key, value)
    again = plan(recipe, gpu_gb=gpu_gb)
    assert again.fits
    assert again.peak_gb <= ROOM * gpu_gb
    assert again.suggestion == {}


def test_the_micro_batch_gives_way_first_and_the_length_last() -> None:
    recipe = recipe_of("sft", train={"micro_batch": 16})
    assert plan(recipe, gpu_gb=16).suggestion.keys() == {"train.micro_batch"}
    assert plan(recipe, gpu_gb=3.2).suggestion.keys() == {"train.micro_batch", "rollout.max_length"}


def test_rows_give_way_where_sampling_is_the_highest() -> None:
    recipe = recipe_of("grpo", rollout={"batch_size": 64}, train={"micro_batch": 1})
    found = plan(recipe, gpu_gb=8)
    assert found.moment == "sampling"
    assert found.suggestion["rollout.batch_size"] < 64


def test_a_cpu_is_not_filled_for_its_own_sake() -> None:
    assert plan(recipe_of("sft", model={"dtype": "fp32"}), gpu_gb=900, device="cpu").suggestion == {}
    assert plan(recipe_of("sft"), gpu_gb=900).suggestion == {"train.micro_batch": 64}


def test_what_never_fits_says_so() -> None:
    found = plan(recipe_of("sft", model={"name": "Qwen/Qwen2.5-7B"}), gpu_gb=4)
    assert (found.fits, found.suggestion) == (False, {})
    assert "smaller model" in found.notes[-1]


# --- the probe's correction ----------------------------------------------------------------------------------------


def steps_of(peak_gb: float, task: str) -> Steps:
    return Steps("cpu", "fp32", 0, int(peak_gb * GIB), 8, 4.0, 128 if task == "grpo" else 0, 2.0)


@pytest.mark.parametrize("task", ["sft", "grpo"])
@pytest.mark.parametrize("off", [0.2, 0.9, 1.0, 1.1, 3.0])
def test_a_probe_corrects_the_peak_its_parts_and_the_suggestion(task: str, off: float) -> None:
    recipe = recipe_of(task, model={"dtype": "fp32"}, rollout={"max_rounds": 0, "max_new_tokens": 100})
    before = plan(recipe, gpu_gb=64, device="cpu")
    after: Plan = corrected(recipe, steps_of(off * before.peak_gb, task), gpu_gb=64)
    if off > 0.5:  # less than the weights take cannot be believed
        assert after.peak_gb == pytest.approx(off * before.peak_gb, rel=1e-6)
    assert after.parts["weights"] == before.parts["weights"]
    assert after.probe is not None
    assert after.probe["ratio"] == pytest.approx(1 / off)
    sampling = 64 * 100 * 2.0 / 128 if task == "grpo" else 0.0
    assert after.seconds_per_step == pytest.approx(4.0 * 64 / 8 + sampling)


def test_time_is_measured_or_not_given() -> None:
    assert plan(recipe_of("grpo"), gpu_gb=24).seconds_per_step is None


@pytest.mark.parametrize("task", ["sft", "grpo"])
def test_a_probe_without_a_peak_corrects_no_memory(task: str) -> None:
    """As on Windows, where a process's peak cannot be read."""
    recipe = recipe_of(task, model={"dtype": "fp32"}, rollout={"max_rounds": 0, "max_new_tokens": 100})
    before, after = plan(recipe, gpu_gb=64, device="cpu"), corrected(recipe, steps_of(0.0, task), gpu_gb=64)
    assert (after.parts, after.peak_gb, after.suggestion) == (before.parts, before.peak_gb, before.suggestion)
    assert after.probe is not None
    assert (after.probe["peak_gb"], after.probe["ratio"]) == (None, None)
    assert after.seconds_per_step
    assert "no peak of memory" in after.notes[-1]


def test_a_probe_is_two_steps_of_two_passes() -> None:
    recipe = recipe_of("grpo", train={"micro_batch": 4, "steps": 500}, grpo={"resample": 2, "iterations": 3})
    one = small(recipe, Path("elsewhere"))
    assert (one.train.steps, one.train.batch_size, one.train.micro_batch) == (2, 8, 4)
    assert (one.grpo.resample, one.grpo.iterations, one.eval.every) == (0, 1, 0)
    assert one.rollout == recipe.rollout
    assert to_setting(one, "cuda").tokens == to_setting(recipe, "cuda").tokens
