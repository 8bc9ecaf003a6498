"""The shipped recipes: each is right, fits the card it is made for, and its comment agrees."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ragr1_lite.cli import catalog
from ragr1_lite.config import load_recipe, recipes_folder, shipped_recipes
from ragr1_lite.models.builtin import BUILT_IN
from ragr1_lite.training.planning import plan

CARD = [entry for entry in catalog.entries() if entry.card_gb]
CPU = [entry for entry in catalog.entries() if not entry.card_gb]
MODELS = {
    "qwen2.5-0.5b": ("Qwen/Qwen2.5-0.5B-Instruct", 8),
    "qwen2.5-1.5b": ("Qwen/Qwen2.5-1.5B-Instruct", 8),
    "qwen2.5-3b": ("Qwen/Qwen2.5-3B-Instruct", 12),
    "qwen2.5-7b": ("Qwen/Qwen2.5-7B-Instruct", 24),
    "qwen3-0.6b": ("Qwen/Qwen3-0.6B", 8),
    "qwen3-1.7b": ("Qwen/Qwen3-1.7B", 8),
    "qwen3-4b": ("Qwen/Qwen3-4B", 16),
}
FAMILY = ("sft-{}", "grpo-{}")


def test_every_model_has_its_whole_family() -> None:
    expected = {form.format(model) for form in FAMILY for model in MODELS}
    assert {entry.name for entry in CARD} == expected


@pytest.mark.parametrize("entry", CARD, ids=lambda entry: entry.name)
def test_a_recipe_fits_its_card_and_names_the_plan(entry: catalog.Entry) -> None:
    (model,) = (model for model in MODELS if entry.name in {form.format(model) for form in FAMILY})
    assert (entry.model, entry.card_gb) == MODELS[model]
    planned = plan(load_recipe(entry.name, ["rollout.engine=transformers"]), gpu_gb=entry.card_gb, device="cuda")
    assert planned.fits
    assert entry.memory_gb == round(planned.peak_gb, 1)
    comment = shipped_recipes()[entry.name].read_text("utf-8")
    assert f"(ragr1-lite plan {entry.name} --gpu-gb {entry.card_gb})" in comment


@pytest.mark.parametrize("entry", CPU, ids=lambda entry: entry.name)
def test_a_recipe_for_a_cpu_names_the_plan(entry: catalog.Entry) -> None:
    assert entry.model in BUILT_IN
    assert entry.memory_gb == round(plan(load_recipe(entry.name, ["model.dtype=fp32"]), device="cpu").peak_gb, 1)


@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda entry: entry.name)
def test_a_recipe_names_its_memory_and_its_trade_offs(entry: catalog.Entry) -> None:
    comment = catalog.opening(shipped_recipes()[entry.name].read_text("utf-8"))
    assert re.search(r"^# Memory: \d+\.\d GB planned\b", comment, re.MULTILINE)
    assert re.search(r"^# Trade-offs?: \w", comment, re.MULTILINE)
    assert max(map(len, comment.splitlines())) <= 120


def test_what_recipes_share_is_no_recipe_to_run() -> None:
    shared = [path for path in recipes_folder().rglob("*.yaml") if path.parent != recipes_folder()]
    assert shared and {path.stem for path in shared}.isdisjoint(shipped_recipes())
    used = "".join(path.read_text("utf-8") for path in recipes_folder().rglob("*.yaml"))
    assert [path.stem for path in shared if f"extends: shared/{path.stem}\n" not in used] == []


# Copies


def test_a_copy_of_a_family_has_its_task_first_and_no_other_name(tmp_path: Path) -> None:
    text = catalog.standalone(shipped_recipes()["grpo-qwen3-4b"], "mine.yaml")
    fields = text.removeprefix(catalog.opening(text))
    assert fields.startswith("task: grpo\noutput: ")
    assert "ragr1-lite grpo mine.yaml\n" in text and "ragr1-lite plan mine.yaml --gpu-gb 16" in text


def test_names_that_begin_alike_are_not_mistaken(tmp_path: Path) -> None:
    recipe = tmp_path / "sft-a.yaml"
    recipe.write_text("# ragr1-lite sft sft-a\n# ragr1-lite sft sft-a-b, ragr1-lite plan sft-a.\ntask: sft\n")
    text = catalog.standalone(recipe, r"\1.yaml")
    assert text == "# ragr1-lite sft \\1.yaml\n# ragr1-lite sft sft-a-b, ragr1-lite plan \\1.yaml.\ntask: sft\n"


def test_a_copy_keeps_keys_that_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("zzz: 1\ntask: sft\n")
    recipe = tmp_path / "own.yaml"
    recipe.write_text("{extends: base.yaml, output: x}\n")
    assert catalog.standalone(recipe, "mine.yaml") == "task: sft\noutput: x\nzzz: 1\n"
