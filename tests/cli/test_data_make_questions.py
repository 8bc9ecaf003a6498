from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import build_index

COUNTS = ["passages", "facts", "questions", "kept", "rejected", "by_kind"]


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["data", "make-questions", *map(str, arguments)])


@pytest.fixture
def index(tmp_path: Path) -> Path:
    towns = [("Oakvale", "3,210", "1612"), ("Ashmere", "18,400", "1488"), ("Pellgate", "940", "1820")]
    passages = [Passage(name, name, f"Population: {people}\nFounded: {year}") for name, people, year in towns]
    build_index(passages, tmp_path / "index")
    return tmp_path / "index"


def test_json_has_the_documented_keys(index: Path, tmp_path: Path) -> None:
    result = run(index, "--out", tmp_path / "q.jsonl", "--json")
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout)
    assert list(counts) == COUNTS
    assert counts["by_kind"] == {"one-hop": 6, "comparison": 4}
    assert len((tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()) == counts["kept"] == 10
    assert "may be answerable without reading" in result.stderr


def test_a_person_reads_the_same_counts(index: Path, tmp_path: Path) -> None:
    result = run(index, "--out", tmp_path / "q.jsonl", "--kinds", "one-hop", "--limit", "2", "--seed", "3")
    assert result.exit_code == 0, result.output
    assert "one-hop 2" in result.stdout


def test_a_file_that_is_there_is_not_replaced_unasked(index: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.jsonl"
    out.write_text("mine", encoding="utf-8")
    result = run(index, "--out", out)
    assert (result.exit_code, out.read_text(encoding="utf-8")) == (1, "mine")
    assert "--overwrite" in result.stderr
    assert run(index, "--out", out, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--kinds", "one-hop,riddle"], 2, "There is no kind of question 'riddle'"),
        (["--facts", "none.csv"], 1, "There is no facts file"),
        (["--teacher", "http://"], 2, "http://"),
        (["--kinds", "bridge"], 1, "No question about"),
    ],
)
def test_errors_are_one_sentence_with_a_fix(
    index: Path, tmp_path: Path, options: list[str], code: int, sentence: str
) -> None:
    result = run(index, "--out", tmp_path / "q.jsonl", *options)
    assert result.exit_code == code
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "q.jsonl").exists() and not list(tmp_path.glob(".q*"))
