from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import GoldPlan, Step
from ragr1_lite.data.gold import ByteTokenizer, gold_trajectories
from ragr1_lite.data.trajectories import write_records
from tests.support.scripted import ScriptedSearcher, example


class Bytes(ByteTokenizer):
    hf = SimpleNamespace(all_special_tokens=["<|end|>"])


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["data", "segment", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two trajectories of one search, one of two; in the place of a model's tokenizer one of bytes."""
    monkeypatch.setattr("ragr1_lite.models.hub.find_folder", lambda name, report: Path(name))
    monkeypatch.setattr("ragr1_lite.models.tokenizer.ChatTokenizer.load", lambda folder, report: Bytes())
    steps = [Step("Both.", ("Chad", "Mali")), Step("Then.", ("Niger",))]
    plans = [GoldPlan(tuple(steps[:searches]), "So.", "Chad") for searches in (1, 1, 2)]
    examples = [example(id=f"q{number}") for number in range(3)]
    made = gold_trajectories(
        examples, plans, Bytes(), ScriptedSearcher(), protocol=Protocol(), limits=Limits(max_new_tokens=300)
    )
    write_records(tmp_path / "gold.jsonl", made)
    return tmp_path / "gold.jsonl"


def test_counts_as_a_table_and_as_json(file: Path) -> None:
    result = run(file)
    assert result.exit_code == 0, result.output
    assert "(4) information → search  1" in result.stdout
    found = json.loads(run(file, "--json").stdout)
    assert found["categories"] == {"1": 0, "2": 3, "3": 3, "4": 1}
    assert found.keys() == {
        "trajectories", "categories", "tokens_whole", "tokens_separate", "ratio", "dropped", "written"
    }  # fmt: skip


@pytest.mark.parametrize(("form", "key"), [("messages", "messages"), ("sharegpt", "conversations")])
def test_samples_are_written(file: Path, form: str, key: str) -> None:
    out = file.with_name("samples.jsonl")
    result = run(file, "--out", out, "--form", form, "--balance", "--seed", "2", "--json")
    assert result.exit_code == 0, result.output
    assert "Balanced without question → answer" in result.stderr
    found = json.loads(result.stdout)
    assert (found["dropped"], found["written"]) == (4, 3)
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert sorted(row["category"] for row in rows) == [2, 3, 4]
    assert all(key in row for row in rows)
    again = run(file, "--out", out)
    assert again.exit_code == 1
    assert "Add --overwrite" in again.stderr
    assert run(file, "--out", out, "--overwrite").exit_code == 0


def test_wrong_files_and_folders_are_one_sentence(file: Path) -> None:
    for arguments, words in [
        ((file.with_name("none.jsonl"),), "does not exist"),
        ((file, "--mode", "single"), "No trajectory fits single mode"),
        ((file, "--out", file, "--overwrite"), "which is read"),
        ((file, "--out", file.parent / "no" / "x.jsonl"), "cannot be written"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 1
        assert words in result.stderr and result.stderr.count("\n") == 1
    assert run(file, "--form", "alpaca").exit_code == 2
