"""Recipes are read as they are meant: what YAML 1.1 made of dates, truths, octals and clocks is text or a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ragr1_lite.config import Recipe, load_recipe, yaml_text
from ragr1_lite.core.errors import ConfigError

HABITS = """\
extends: sft-smollm2-135m
output: 2026-11-01
train: {learning_rate: 1e-4, seed: 010, report_to: tensorboard}
data: {train: no, order: off}
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(written(folder, text))
    return caught.value.message


def test_a_recipe_with_old_habits_is_right_but_for_the_order_that_there_is_not(tmp_path: Path) -> None:
    message = problems(tmp_path, HABITS)
    assert "has 1 problem: data.order: input should be 'random', 'easy-first'" in message
    recipe = load_recipe(written(tmp_path, HABITS.replace(", order: off", "")))
    assert (recipe.output, recipe.data.train) == (Path("2026-11-01"), "no")
    assert (recipe.train.learning_rate, recipe.train.seed, recipe.train.report_to) == (1e-4, 10, ("tensorboard",))


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("output=2026-11-01", Path("2026-11-01")),
        ("output=2026_11_01", Path("2026_11_01")),
        ("output=12:30:00", Path("12:30:00")),
        ("output=2026-13-45", Path("2026-13-45")),
        ("data.train=on", "on"),
        ("data.train=yes", "yes"),
        ("model.adapter=none", None),
        ("model.adapter=None", None),
        ("model.adapter='none'", "none"),
        ("data.expert=none", None),
        ("data.limit=none", None),
        ("rollout.template=none", None),
        ("train.seed=010", 10),
        ("train.seed=0x10", 16),
        ("train.steps=1e3", 1000),
        ("train.learning_rate=1e-4", 1e-4),
        ("train.learning_rate=2E-05", 2e-5),
        ("train.learning_rate=.5", 0.5),
        ("train.report_to=none", ()),
        ("train.report_to=tensorboard,wandb", ("tensorboard", "wandb")),
        ("train.report_to=[wandb]", ("wandb",)),
        ("guard.enabled=no", False),
        ("guard.enabled=On", True),
    ],
)
def test_what_is_written_is_what_is_meant(override: str, value: Any) -> None:
    recipe: Any = load_recipe("sft-smollm2-135m", [override])
    for part in override.partition("=")[0].split("."):
        recipe = getattr(recipe, part)
    assert recipe == value and type(recipe) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("output: 2026\n", "output: input is not a valid path (text that looks like a number, or is true or false,"),
        ("data: {train: true}\n", "data.train: input should be a valid string (text that looks like a number"),
        ("model: {name: 7}\n", "model.name: input should be a valid string (text that looks like a number"),
        ("data: {train: [a.jsonl, b.jsonl]}\n", "data.train: input should be a valid string (one, not a list)"),
        ("model: smollm2-135m\n", "(it has keys of its own, as in {key: value})"),
        ("data: {mix: bridge}\n", "data.mix: input should be a valid dictionary (it has keys of its own"),
        ("train: {report_to: 3}\n", "(write it as a list, as in [one, two])"),
        ("train:\n  steps: 5\n  steps: 6\n", "is not valid YAML (line 4): the key steps stands there twice"),
        ("task: sft\n", "is not valid YAML (line 2): the key task stands there twice"),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_fix(text: str, words: str, tmp_path: Path) -> None:
    assert words in problems(tmp_path, f"task: sft\n{text}")


@pytest.mark.parametrize("text", ["2026-11-01", "no", "010", "1e-4", "none", "12:30:00", "2026_11_01", "~", "", "1.5"])
def test_text_stays_text_when_a_recipe_is_written_and_read(text: str) -> None:
    written = Recipe(task="sft", data={"train": text}).dump()  # type: ignore[arg-type]
    assert yaml_text.load(written)["data"]["train"] == text == yaml.safe_load(written)["data"]["train"]


def test_every_number_and_nothing_are_read_back() -> None:
    fields = {"a": [1, -2, 1e-5, 1e22, 0.1, float("inf")], "b": None, "c": True, "d": {0: "x"}}
    assert yaml_text.load(yaml_text.dump(fields)) == fields


def test_a_key_may_stand_in_what_is_merged_and_again() -> None:
    text = "base: &base {steps: 5, seed: 1}\nown: {<<: *base, steps: 6}\n"
    assert yaml_text.load(text)["own"] == {"steps": 6, "seed": 1}
