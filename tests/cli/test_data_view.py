from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.core.types import Passage

ROW = {
    "question": "Which is larger, Chad or Mali?",
    "answers": ["Chad"],
    "kind": "comparison",
    "answer": "Chad",
    "stop_reason": "answer",
    "turns": [
        {
            "kind": "search",
            "think": "I need both.",
            "queries": ["area of Chad"],
            "passages": [[asdict(Passage("1", "Chad", "Chad has \x1b[31m1,284,000 km².", 7.5))]],
        },
        {"kind": "answer", "think": "So.", "queries": [], "passages": []},
    ],
}


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["data", "view", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = [ROW | {"id": f"q{number}"} for number in range(5)]
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return tmp_path / "gold.jsonl"


def test_the_first_ones_are_shown_and_more_are_offered(file: Path) -> None:
    result = run(file)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("✓ right: Chad") == 3
    assert "\x1b" not in result.output
    assert "--limit N shows more" in result.stderr
    assert run(file, "--limit", "5").stdout.count("✓ right: Chad") == 5
    assert "shows more" not in run(file, "--limit", "5").stderr


@pytest.mark.parametrize("option", ["--plain", "--no-color"])
def test_one_is_shown_without_colours(file: Path, option: str) -> None:
    result = run(file, "--id", "q3", "--masks", option)
    assert (result.exit_code, result.stdout.count("id q3"), result.stdout.count("✓ right")) == (0, 1, 1)
    assert "┃ <think>I need both.</think><search>area of Chad</search>" in result.stdout


def test_json_is_the_chosen_lines(file: Path) -> None:
    result = run(file, "--limit", "2", "--json")
    added = {"right": True, "categories": [2, 3]}
    assert json.loads(result.stdout) == [ROW | {"id": id} | added for id in ("q0", "q1")]
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "There is nothing in"),
        (b"not json\n", "gold.jsonl:1 is not JSON"),
        (b'{"question": "q", "answers": ["a"]}\n', "gold.jsonl:1 is no trajectory"),
        (b"\xff\xfa\n", "gold.jsonl:1 is not UTF-8"),
        (b"\0\0", "binary"),
    ],
)
def test_wrong_files_are_one_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "gold.jsonl").write_bytes(content)
    result = run(tmp_path / "gold.jsonl")
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr and result.stderr.count("\n") == 1


def test_an_id_that_is_not_there(file: Path) -> None:
    result = run(file, "--id", "q9")
    assert result.exit_code == 1
    assert "has the id q9" in result.stderr


def test_a_model_that_is_not_there(file: Path) -> None:
    result = run(file, "--model", "./nowhere")
    assert result.exit_code == 1
    assert "There is no model folder ./nowhere" in result.stderr
