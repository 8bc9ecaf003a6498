"""`data select` from the command line: counts, histogram, resuming, and one sentence for what is wrong."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.assistant import Setup
from ragr1_lite.cli.main import app
from ragr1_lite.data.questions import to_row
from ragr1_lite.datagen import selection
from ragr1_lite.datagen.selection import Rule, run
from tests.support.selecting import ScriptedTeacher, questions

URL = "http://127.0.0.1:1/v1"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty questions, and a teacher for them behind any URL."""
    monkeypatch.setattr(selection, "open_teacher", lambda recipe, **options: ScriptedTeacher())
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(to_row(question)) + "\n" for question in questions(40)))
    return path


def call(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["data", "select", *map(str, arguments)])


def test_counts_as_json(file: Path, tmp_path: Path) -> None:
    result = call(file, "--teacher", URL, "--tries", "3", "--out", tmp_path / "rl.jsonl", "--json")
    counts = json.loads(result.stdout)
    wanted = "kept histogram questions right_first hard_kept easy_kept train validation seconds"
    assert list(counts) == wanted.split()
    assert len(counts["histogram"]) == 5 and sum(counts["histogram"]) == counts["questions"] == 40
    assert counts["train"] == len((tmp_path / "rl.jsonl").read_text().splitlines())
    assert counts["validation"] == len((tmp_path / "rl.validation.jsonl").read_text().splitlines()) > 0


def test_histogram_and_counts_for_people(file: Path, tmp_path: Path) -> None:
    options = ["--by", "pass-rate", "--tries", "2", "--keep-between", "0.5", "0.5"]
    result = call(file, "--model", URL, *options, "--out", tmp_path / "rl.jsonl")
    lines = result.stdout.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [["0", "of", "2"], ["1", "of", "2"], ["2", "of", "2"]]
    assert all("█" in line for line in lines[:3])
    assert "Questions    40" in result.stdout and "Histogram" not in result.stdout
    rates = {json.loads(line)["pass_rate"] for line in (tmp_path / "rl.jsonl").read_text().splitlines()}
    assert rates == {0.5}


def test_a_run_is_not_replaced_unless_it_may_be(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "rl.jsonl"
    assert call(file, "--teacher", URL, "--out", out).exit_code == 0
    before = out.read_bytes()
    again = call(file, "--teacher", URL, "--out", out, "--seed", "1")
    assert again.exit_code == 1 and "exists" in again.stderr and out.read_bytes() == before
    again = call(file, "--teacher", URL, "--out", out, "--resume")
    assert again.exit_code == 0 and "is finished" in again.stderr and out.read_bytes() == before
    assert call(file, "--teacher", URL, "--out", out, "--seed", "1", "--overwrite").exit_code == 0
    assert out.read_bytes() != before


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--temperature", "0"], 2, "every rollout is the same"),
        (["--keep-between", "0.1", "0.9"], 2, "Add --by pass-rate"),
        (["--by", "pass-rate", "--keep-between", "0.9", "0.1"], 2, "no range of pass rates"),
        (["--by", "pass-rate", "--tries", "1"], 2, "--tries 1"),
        (["--easy-share", "2"], 2, "easy-share"),
        (["--by", "chance"], 2, "first-right"),
        (["--tries", "0"], 2, "tries"),
    ],
)
def test_wrong_options(file: Path, tmp_path: Path, options: list[str], code: int, words: str) -> None:
    result = call(file, "--teacher", URL, "--out", tmp_path / "rl.jsonl", *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert not (tmp_path / "rl.jsonl").exists() and not (tmp_path / ".rl.jsonl.journal").exists()


def test_wrong_files(file: Path, tmp_path: Path) -> None:
    empty, missing = tmp_path / "empty.jsonl", tmp_path / "missing.jsonl"
    empty.touch()
    for name in (empty, missing, tmp_path):
        result = call(name, "--teacher", URL, "--out", tmp_path / "rl.jsonl")
        assert result.exit_code == 1 and result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    (tmp_path / "rl").touch()
    result = call(file, "--teacher", URL, "--out", tmp_path / "rl" / "rl.jsonl")
    assert result.exit_code == 1 and "cannot be written" in result.stderr


def test_nothing_kept_is_told_with_its_histogram(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "open_teacher", lambda recipe, **_: ScriptedTeacher(lambda *_: False))
    result = call(file, "--teacher", URL, "--tries", "2", "--out", tmp_path / "rl.jsonl")
    assert result.exit_code == 1
    assert "None of 40 questions is kept; they were right never 40" in result.stderr


def test_defaults_are_those_of_the_library() -> None:
    from ragr1_lite.cli.commands.datagen import data_select

    ours = inspect.signature(data_select).parameters
    for owner, least in ((Rule, 6), (Setup, 6), (run, 5)):
        theirs = inspect.signature(owner).parameters
        shared = {*ours} & {*theirs}
        assert len(shared) >= least
        assert {name: ours[name].default for name in shared - {"out"}} == {
            name: theirs[name].default for name in shared - {"out"}
        }
