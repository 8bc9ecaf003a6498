"""What the fuzz found: each was a traceback or an endless read once, and is a sentence now."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.core.errors import ModelError, RagR1Error, RetrievalIndexError, RunError
from ragr1_lite.core.types import Passage
from ragr1_lite.evaluation.report.tables import read_sources
from ragr1_lite.files.writing import write_atomic
from ragr1_lite.models.adapter_folder import find_adapter
from ragr1_lite.retrieval import build_index, open_searcher
from ragr1_lite.training.planning.shapes import read_shape
from ragr1_lite.training.run_folder import Run
from tests.cli.test_fuzz import EVALUATED

DEEP = '{"a":' * 100_000
SHAPE = {"model_type": "qwen2", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 99}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """What reads a device to its end fails, and this machine does not."""
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (psutil.Process().memory_info().data + 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, limits)


def failed(*words: str | Path) -> str:
    """What a command said that failed as it should."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code in (1, 2), result.output
    assert "bug" not in result.output
    return result.output


@pytest.mark.parametrize("text", ["[" * 100_000, "x: " + "[" * 100_000, 'task: "s\\0ft"'])
def test_a_recipe_that_is_nested_too_deeply_or_holds_the_character_0(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    assert "is not valid YAML" in failed("recipes", "check", tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": [64]},
        {"vocab_size": "99"},
        {"num_hidden_layers": {}},
        {"num_attention_heads": 0},
        {"vocab_size": -1},
    ],
)
def test_sizes_of_another_type(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SHAPE), "utf-8")
    read_shape(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps(SHAPE | change), "utf-8")
    with pytest.raises(ModelError, match="does not give the sizes"):
        read_shape(tmp_path / "config.json")


def test_a_line_of_the_log_without_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"time": "2026", "question": "Q?", "sources": [], "turns": []}
    (tmp_path / "log.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    monkeypatch.setenv("RAGR1_LITE_LOG", str(tmp_path / "log.jsonl"))
    assert "is no answer of ours" in failed("log")
    (tmp_path / "log.jsonl").write_text(json.dumps(row | {"answer": "A", "turns": [{"queries": 5}]}) + "\n", "utf-8")
    assert "whose `queries` are no list" in failed("log", "--show", "1")


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGR1_LITE_LOG", "~nobody-has-this-name/log.jsonl")
    assert "Set HOME" in failed("log")


@pytest.mark.parametrize("key", ["extends: ", "<<: "])
def test_aliases_that_unfold_without_end(key: str, tmp_path: Path) -> None:
    lists = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
    maps = "".join(f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
    first, more = ("[a]", lists) if key == "extends: " else ("{a: b}", maps)
    (tmp_path / "a.yaml").write_text(f"l0: &l0 {first}\n{more}{key}*l11\n", "utf-8")
    assert "more than 20 aliases" in failed("recipes", "check", tmp_path / "a.yaml")


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json", "summary.json", "state.json", "recipe.yaml"])
def test_links_to_devices_are_not_read(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n', "utf-8")
    (run / name).symlink_to("/dev/zero")
    if name == "recipe.yaml":
        assert read_sources([run]).trainings[0].recipe == ""
        return
    read = {"config.json": lambda: read_shape(run / name), "adapter_config.json": lambda: find_adapter(str(run), "m")}
    read |= {"summary.json": lambda: read_sources([run]), "state.json": Run(run).recall}
    with pytest.raises(RagR1Error):
        read[name]()


def test_json_that_is_nested_too_deeply(tmp_path: Path) -> None:
    build_index([Passage("1", "Chad", "Dry.")], tmp_path / "index")
    (tmp_path / "index" / "manifest.json").write_text(DEEP, "utf-8")
    with pytest.raises(RetrievalIndexError, match="is broken"):
        open_searcher(str(tmp_path / "index"))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_text(DEEP, "utf-8")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        find_adapter(str(tmp_path), "m")
    (tmp_path / "state.json").write_text(DEEP, "utf-8")
    with pytest.raises(RunError, match="is broken"):
        Run(tmp_path).recall()


@pytest.mark.parametrize("out", ["", "."])
def test_an_output_without_a_name(out: str, tmp_path: Path) -> None:
    with pytest.raises(RagR1Error, match="names no file"):
        write_atomic(Path(out), "x")
    (tmp_path / "q.jsonl").write_text('{"question": "Who?", "answer": "Ann"}\n', "utf-8")
    assert "names no file" in failed("data", "generate", tmp_path / "q.jsonl", "--index", "world", "--out", out)


def test_numbers_and_devices_in_options(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,title,text\n1,Chad,Dry.\n", "utf-8")
    assert "--title-weight" in failed(
        "index", "build", tmp_path / "a.csv", "--out", tmp_path / "i", "--title-weight", 10**30
    )
    assert "is a device" in failed("index", "search", "world", "--queries-file", "/dev/zero")
    (tmp_path / "e.jsonl").write_text(json.dumps(EVALUATED[0]) + "\n", "utf-8")
    assert CliRunner().invoke(app, ["data", "view", str(tmp_path / "e.jsonl"), "--limit", str(10**30)]).exit_code == 0


def test_a_path_that_is_too_long() -> None:
    assert "too long" in failed("recipes", "check", "a" * 5000)
