"""Recipes that extend others: what they take over, and what is wrong with a family."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragr1_lite.config import load_recipe, recipe_fields
from tests.config.test_config import CLUSTER, RECIPES, problem, write


def test_a_recipe_takes_over_keys_and_changes_some(tmp_path: Path) -> None:
    write(tmp_path, "task: sft\noutput: runs/base\ntrain: {steps: 9, seed: 4}\ndata: {mix: {list: 1}}\n", "base.yaml")
    own = "extends: base.yaml\noutput: runs/own\ntrain: {steps: 7}\ndata: {mix: {bridge: 2}}\nmodel: {dtype: fp32}\n"
    recipe = load_recipe(write(tmp_path, own), ["train.seed=5"])
    assert (recipe.output, recipe.train.steps, recipe.train.seed) == (Path("runs/own"), 7, 5)
    assert recipe.data.mix == {"bridge": 2.0}, "a value is taken whole, only sections key by key"
    assert recipe.model.dtype == "fp32"
    assert "extends" not in recipe.dump()


def test_sections_and_keys_without_a_value_in_between(tmp_path: Path) -> None:
    write(tmp_path, "task: grpo\nmodel: {adapter: runs/a}\ntrain: {steps: 9}\n", "base.yaml")
    own = "extends: base.yaml\nmodel: {adapter: null}\ntrain:\n  # steps: 3\n"
    recipe = load_recipe(write(tmp_path, own))
    assert (recipe.model.adapter, recipe.train.steps) == (None, 9)


def test_several_levels_each_from_its_own_folder(tmp_path: Path) -> None:
    for folder in ("top", "middle"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "top", "task: sft\ntrain: {steps: 1, seed: 1, keep: 1}\n", "top.yaml")
    write(tmp_path / "middle", "extends: ../top/top.yaml\ntrain: {steps: 2, seed: 2}\n", "middle.yaml")
    recipe = load_recipe(write(tmp_path, "extends: middle/middle.yaml\ntrain: {steps: 3}\n"))
    assert (recipe.train.steps, recipe.train.seed, recipe.train.keep) == (3, 2, 1)


def test_a_shipped_recipe_is_extended_by_its_name(tmp_path: Path) -> None:
    own = write(tmp_path, "extends: sft-smollm2-135m\ntrain: {steps: 7}\n", "sft-smollm2-135m.yaml")
    recipe, shipped = load_recipe(own), load_recipe("sft-smollm2-135m")
    assert recipe.train == shipped.train.model_copy(update={"steps": 7})
    assert recipe.model_copy(update={"train": shipped.train}) == shipped


def test_a_recipe_names_the_index_anew_by_its_other_name(tmp_path: Path) -> None:
    write(tmp_path, "task: sft\nretrieval: {index: books, k: 5}\n", "base.yaml")
    recipe = load_recipe(write(tmp_path, f"extends: base.yaml\nretrieval: {{url: '{CLUSTER}'}}\n"))
    assert (recipe.retrieval.index, recipe.retrieval.k) == (CLUSTER, 5)
    again = load_recipe(write(tmp_path, "extends: recipe.yaml\nretrieval: {index: books}\n", "again.yaml"))
    assert again.retrieval.index == "books"
    same = load_recipe(write(tmp_path, "extends: recipe.yaml\nretrieval: {url: null}\n", "same.yaml"))
    assert same.retrieval.index == CLUSTER


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extends: none.yaml\n", "recipe.yaml extends 'none.yaml', and there is no such recipe"),
        ("extends: .\n", "recipe.yaml extends '.', and there is no such recipe"),
        ("extends: ''\n", "recipe.yaml extends '', and there is no such recipe"),
        ("extends: [a, b]\n", "recipe.yaml extends ['a', 'b'], which is no name"),
        ("extends: 3\n", "recipe.yaml extends 3, which is no name"),
        ("extends: recipe.yaml\n", "recipe.yaml extends itself: recipe.yaml → recipe.yaml"),
        ("extends: a.yaml\n", "recipe.yaml extends itself: recipe.yaml → a.yaml → b.yaml → a.yaml"),
        ("extends: list.yaml\n", "list.yaml is not a recipe"),
        ("extends: broken.yaml\n", "broken.yaml is not valid YAML (line 3)"),
        ("extends: wrong.yaml\nlora: {r: 0}\n", "recipe.yaml has 2 problems: lora.r: input should be"),
        ("extends: wrong.yaml\n", "unknown key train.stepz (did you mean steps?)"),
        ("extends: sft-smollm2-135m\ntrain: 3\n", "train: input should be a valid dictionary"),
    ],
)
def test_bad_families(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    write(tmp_path, "extends: ./a.yaml\n", "b.yaml")
    write(tmp_path, "- task\n", "list.yaml")
    write(tmp_path, "task: sft\ntrain: [\n", "broken.yaml")
    write(tmp_path, "task: sft\ntrain: {stepz: 3}\n", "wrong.yaml")
    assert says in problem(tmp_path, text)


def test_a_base_cannot_be_set_from_outside(tmp_path: Path) -> None:
    assert "unknown key extends" in problem(tmp_path, "task: sft\n", "extends=sft-smollm2-135m")


def test_the_fields_of_a_family_are_what_its_files_say(tmp_path: Path) -> None:
    write(tmp_path, "task: sft\ntrain: {steps: 9}\n", "base.yaml")
    own = write(tmp_path, "extends: base.yaml\ntrain: {seed: 1}\n")
    assert recipe_fields(Path(own)) == {"task": "sft", "train": {"steps": 9, "seed": 1}}


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem.startswith("grpo-qwen")], ids=lambda p: p.stem)
def test_a_family_agrees_on_adapters_and_modes(path: Path) -> None:
    recipe = load_recipe(path.stem)
    first = load_recipe(Path(str(recipe.model.adapter)).parent.name, task="sft")
    assert first.output / "adapter" == Path(str(recipe.model.adapter))
    assert (first.model.name, first.lora, first.rollout.max_rounds) == (
        recipe.model.name,
        recipe.lora,
        recipe.rollout.max_rounds,
    )
    assert (first.rollout.mode, recipe.rollout.mode) == ("multi", "multi")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_leaves_its_run_under_its_own_name(path: Path) -> None:
    assert load_recipe(path.stem).output == Path("runs", path.stem)
