"""`recipes`: what ships, copies to edit, and what is wrong with one's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.config import Recipe, load_recipe, shipped_recipes


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    yield
    os.environ.clear()
    os.environ.update(before)


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["recipes", *(str(argument) for argument in arguments)])


@pytest.mark.parametrize("command", ["list", "show", "copy", "check"])
def test_help(command: str) -> None:
    text = run(command, "--help").stdout
    assert "Usage: " in text and all(len(line) <= 90 for line in text.splitlines())


# --- list and show ------------------------------------------------------------------------------------------------


def test_the_list_is_narrow_and_names_every_recipe() -> None:
    head, *lines = run("list").stdout.splitlines()
    assert head.split() == ["recipe", "task", "model", "mode", "card", "starts", "from"]
    assert sorted(line.split()[0] for line in lines) == sorted(shipped_recipes())
    assert max(map(len, lines)) <= 100
    assert next(line for line in lines if line.startswith("grpo-qwen2.5-3b")).split()[1:] == (
        "grpo Qwen/Qwen2.5-3B-Instruct multi 12 GB sft-qwen2.5-3b".split()
    )


def test_the_list_as_json() -> None:
    found = json.loads(run("list", "--json").stdout)["recipes"]
    assert [one["name"] for one in found] != sorted(one["name"] for one in found)
    cards = [one["card_gb"] or 0 for one in found]
    assert cards == sorted(cards) and set(cards) == {0, 8, 12, 16, 24}
    for one in found:
        recipe = load_recipe(one["name"])
        assert (one["task"], one["model"], one["mode"]) == (recipe.task, recipe.model.name, recipe.rollout.mode)
        assert one["memory_gb"] > 0 and one["about"].endswith(".") and "ragr1-lite" not in one["about"]


def test_show_resolved_has_every_key_and_no_family() -> None:
    assert "extends: " in run("show", "sft-qwen3-4b").stdout
    shown = run("show", "sft-qwen3-4b", "--resolved").stdout
    assert shown == load_recipe("sft-qwen3-4b").dump()
    assert list(yaml.safe_load(shown)) == list(Recipe.model_fields)


# --- copy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_a_copy_is_the_same_recipe_and_stands_alone(name: str, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    result = run("copy", name, target / "own.yaml")
    assert result.exit_code == 0, result.stderr
    text = (target / "own.yaml").read_text("utf-8")
    assert load_recipe(str(target / "own.yaml")) == load_recipe(name)
    assert "extends" not in yaml.safe_load(text)
    task = load_recipe(name).task
    assert text.startswith(f"# ragr1-lite {task} {target}/own.yaml")
    assert f"Start it: ragr1-lite {task} {target}/own.yaml" in result.stderr
    assert not any(f"ragr1-lite {verb} {name}" in text for verb in ("sft", "grpo", "plan"))


def test_a_copy_keeps_what_stands_in_a_recipe_without_a_family() -> None:
    run("copy", "sft-smollm2-135m")
    copied = Path("sft-smollm2-135m.yaml").read_text("utf-8")
    shipped = shipped_recipes()["sft-smollm2-135m"].read_text("utf-8")
    assert copied.replace("sft-smollm2-135m.yaml", "sft-smollm2-135m") == shipped


def test_a_copy_replaces_nothing_unasked() -> None:
    Path("sft-qwen3-4b.yaml").write_text("mine")
    result = run("copy", "sft-qwen3-4b")
    assert result.exit_code == 1 and "sft-qwen3-4b.yaml exists already" in result.stderr
    assert Path("sft-qwen3-4b.yaml").read_text() == "mine"
    assert run("copy", "sft-qwen3-4b", "--overwrite").exit_code == 0
    assert load_recipe("sft-qwen3-4b.yaml").task == "sft"


def test_a_copy_into_no_folder() -> None:
    result = run("copy", "sft-qwen3-4b", "none/own.yaml")
    assert result.exit_code == 1 and "none/own.yaml cannot be written" in result.stderr


def test_an_unknown_model_is_right_without_a_plan() -> None:
    found = json.loads(run("check", "sft-qwen3-4b", "--set", "model.name=org/unknown", "--json").stdout)["recipes"][0]
    assert (found["ok"], found["memory_gb"], found["fits"]) == (True, None, None)
    assert "Its memory is not known: The sizes of org/unknown are not known here" in found["warnings"][0]
    assert "planned" not in run("check", "sft-qwen3-4b", "--set", "model.name=org/unknown").stdout


# --- check --------------------------------------------------------------------------------------------------------


def test_a_right_recipe() -> None:
    result = run("check", "sft-smollm2-135m")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "sft-smollm2-135m is right: sft of smollm2-135m, multi mode, on world, 320 steps of 4" in result.stdout
    assert " GB of memory planned" in result.stdout


def test_wrong_recipes_are_all_reported_and_the_right_ones_too() -> None:
    Path("a.yaml").write_text("task: sft\ntrain: {stepz: 3, seed: x}\n")
    Path("b.yaml").write_text("extends: none.yaml\n")
    result = run("check", "a.yaml", "sft-smollm2-135m", "b.yaml")
    assert result.exit_code == 2 and "sft-smollm2-135m is right" in result.stdout
    assert "a.yaml has 2 problems: train.seed: " in result.stderr and "(did you mean steps?)" in result.stderr
    assert "b.yaml extends 'none.yaml'" in result.stderr
    found = json.loads(run("check", "a.yaml", "sft-smollm2-135m", "--json").stdout)
    wrong, right = found["recipes"]
    assert not found["ok"] and set(wrong) == {"recipe", "ok", "error"} and "2 problems" in wrong["error"]
    assert right["ok"] and right["error"] is None and right["warnings"] == []
    assert (right["task"], right["steps"], right["batch_size"], right["fits"]) == ("sft", 320, 4, True)


def test_a_card_that_is_elsewhere() -> None:
    fitting = run("check", "sft-qwen2.5-7b", "--gpu-gb", "24")
    assert (fitting.exit_code, fitting.stderr) == (0, "")
    assert " GB of memory planned on a card, into runs/sft-qwen2.5-7b." in fitting.stdout
    small = run("check", "sft-qwen2.5-7b", "--gpu-gb", "12")
    assert small.exit_code == 0 and "too much for a card: ragr1-lite plan sft-qwen2.5-7b" in small.stderr


def test_near_misses_of_questions_without_gold_passages() -> None:
    question = {"question": "Which is larger?", "answers": ["Chad"]}
    overrides = ["--set", "data.train=q.jsonl", "--set", "grpo.continue_near_misses=1"]
    Path("q.jsonl").write_text(json.dumps(question) + "\n")
    result = run("check", "grpo-smollm2-135m", *overrides)
    assert result.exit_code == 0
    assert "goes by gold passages, and no question names any. Take a set with gold titles" in result.stderr
    Path("q.jsonl").write_text(json.dumps(question | {"gold_titles": ["Chad"]}) + "\n")
    assert run("check", "grpo-smollm2-135m", *overrides).stderr == ""


def test_what_is_not_there_is_a_warning() -> None:
    overrides = "data.train=a.jsonl retrieval.index=books rollout.template=t.txt eval.data=e.jsonl eval.every=5".split()
    overrides += ["model.adapter=runs/sft-smollm2-135m/adapter"]
    result = run("check", "grpo-smollm2-135m", *(part for one in overrides for part in ("--set", one)))
    assert result.exit_code == 0 and "is right" in result.stdout
    warnings = [line.removeprefix("Warning: ") for line in result.stderr.splitlines()]
    assert warnings[:-1] == [
        "data.train: there is no a.jsonl",
        "retrieval.index: there is no books",
        "eval.data: there is no e.jsonl",
        "rollout.template: there is no t.txt",
    ]
    assert warnings[-1].endswith("Make it with: ragr1-lite sft sft-smollm2-135m")
    for name in ("a.jsonl", "books", "t.txt", "e.jsonl"):
        Path(name).touch()
    again = run("check", "grpo-smollm2-135m", *(part for one in overrides for part in ("--set", one)))
    assert again.stderr.count("Warning: ") == 1


def test_what_lies_elsewhere_is_not_looked_for() -> None:
    overrides = "data.train=hub:a/b retrieval.index=http://h/ model.adapter=shipped eval.data=none.jsonl".split()
    result = run("check", "grpo-smollm2-135m", *(part for one in overrides for part in ("--set", one)))
    assert (result.exit_code, result.stderr) == (0, "")
