from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.training import planning
from ragr1_lite.training.planning.steps import Steps

CARD = ("grpo-qwen2.5-1.5b", "--gpu-gb", "8", "--set", "train.batch_size=64", "--set", "rollout.engine=transformers")
CPU = ("sft-smollm2-135m", "--set", "model.dtype=fp32", "--length", "256")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["plan", *arguments])


def test_json_has_every_figure() -> None:
    result = run(*CARD, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["task"], found["device"], found["gpu_gb"]) == ("grpo", "cuda", 8)
    assert found["peak_gb"] == pytest.approx(sum(found["parts"].values()), rel=1e-3)
    assert found["fits"] is (found["peak_gb"] <= 0.95 * 8)
    assert found["seconds_per_step"] is None
    assert {"weights", "adapter", "optimizer", "runtime"} <= found["parts"].keys()


def test_a_suggestion_is_given_as_it_is_typed_and_can_be_followed() -> None:
    recipe = ("sft-qwen2.5-7b", "--gpu-gb", "12", "--set", "train.batch_size=16", "--set", "train.micro_batch=16")
    result = run(*recipe)
    assert "does not fit" in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith("Suggestion"))
    followed = line.split()[1:]
    assert "train.micro_batch=1" in followed
    again = run(*recipe, *followed)
    assert "GB of 12.0 GB: fits" in again.stdout
    assert "Suggestion" not in again.stdout


def test_the_worst_case_is_named_as_one() -> None:
    assert "worst case" in run(*CARD).stderr
    assert "(--length)" in run(*CPU).stderr


def test_a_probe_is_shown_next_to_the_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "probe", lambda *_: Steps("cpu", "fp32", 0, 2 << 30, 4, 10.0, 0, 0.0))
    result = run(*CPU, "--probe")
    assert result.exit_code == 0, result.output
    assert "2.00 GB measured" in result.stdout
    assert "Corrected by a probe" in result.stderr
    found = json.loads(run(*CPU, "--probe", "--json").stdout)
    assert found["peak_gb"] == found["probe"]["peak_gb"] == 2.0
    assert found["probe"]["ratio"] == pytest.approx(found["probe"]["predicted_gb"] / 2, rel=1e-3)


def test_a_probe_that_reads_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "probe", lambda *_: Steps("cpu", "fp32", 0, 0, 4, 10.0, 0, 0.0))
    result = run(*CPU, "--probe")
    assert result.exit_code == 0, result.output
    assert "no peak to be read here" in result.stdout
    assert "Seconds per step" in result.stdout


def test_an_unknown_recipe_is_named() -> None:
    result = run("nothing")
    assert result.exit_code == 2
    assert "There is no recipe 'nothing'" in result.stderr


def test_the_error_for_an_unknown_model_has_a_fix() -> None:
    result = run("sft-qwen2.5-1.5b", "--gpu-gb", "8", "--set", "model.name=someone/something")
    assert result.exit_code == 1
    assert "The sizes of someone/something are not known here" in result.stderr
    assert "--probe" in result.stderr


@pytest.mark.parametrize("option", [("--gpu-gb", "0"), ("--length", "8")])
def test_impossible_sizes_are_refused(option: tuple[str, str]) -> None:
    assert run("sft-smollm2-135m", *option).exit_code == 2


def test_a_probe_that_cannot_load_its_model_reports_why(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    result = run("sft-smollm2-135m", "--probe", "--set", f"model.name={tmp_path / 'model'}")
    assert result.exit_code == 1
    assert "has no config.json, so it is not a model folder" in result.stderr


def test_a_probe_that_breaks_reports_its_last_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho oh no. >&2\nexit 3\n", encoding="utf-8")
    script.chmod(0o755)
    result = run(*CPU, "--probe")
    assert "The probe failed: oh no. If memory ran out, lower" in result.stderr
    script.write_text("#!/bin/sh\nkill -9 $$\n", encoding="utf-8")
    assert "The probe failed: its process was killed." in run(*CPU, "--probe").stderr
