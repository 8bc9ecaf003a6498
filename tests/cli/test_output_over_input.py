"""No command writes over what it reads: one sentence, exit code 1, and the input as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from tests.evaluation.test_report import row, saved


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    return saved(tmp_path / "in.jsonl", row("1", "Chad"))


@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--format", "md"]])
def test_a_report_over_the_evaluation(evaluated: Path, more: list[str], tmp_path: Path) -> None:
    before = evaluated.read_bytes()
    (tmp_path / "hard.jsonl").hardlink_to(evaluated)
    (tmp_path / "soft.jsonl").symlink_to(evaluated)
    for out in (evaluated, tmp_path / "hard.jsonl", tmp_path / "soft.jsonl", f"{tmp_path}/../{tmp_path.name}/in.jsonl"):
        result = run("report", evaluated, "-o", out, *more)
        assert result.exit_code == 1 and "which is read. Choose another -o." in " ".join(result.stderr.split())
    assert evaluated.read_bytes() == before


def test_a_report_over_what_it_reads_of_a_run(tmp_path: Path) -> None:
    metrics = saved(tmp_path / "metrics.jsonl", {"step": 1, "loss": 0.5})
    before = metrics.read_bytes()
    assert run("report", tmp_path, "-o", metrics, "--overwrite").exit_code == 1
    assert metrics.read_bytes() == before


@pytest.mark.parametrize("format", ["html", "md"])
def test_a_report_replaces_a_report_and_nothing_else(evaluated: Path, format: str, tmp_path: Path) -> None:
    page, other = tmp_path / f"page.{format}", tmp_path / "notes.txt"
    other.write_text("# mine\n", encoding="utf-8")
    for _ in range(2):
        assert run("report", evaluated, "-o", page, "--format", format).exit_code == 0
    result = run("report", evaluated, "-o", other, "--format", format)
    assert result.exit_code == 1 and "is no report. Add --overwrite" in " ".join(result.stderr.split())
    assert other.read_text("utf-8") == "# mine\n"
    assert run("report", evaluated, "-o", other, "--format", format, "--overwrite").exit_code == 0
    assert "ragr1-lite" in other.read_text("utf-8")


def test_a_card_that_somebody_went_on_with_is_no_report_any_more(evaluated: Path, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    run("report", evaluated, "-o", card, "--format", "md")
    card.write_text(f"---\nlicense: mit\n---\n{card.read_text('utf-8')}", encoding="utf-8")
    assert run("report", evaluated, "-o", card, "--format", "md").exit_code == 1


def test_an_index_over_its_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    corpus = saved(tmp_path / "c.jsonl", {"id": "1", "title": "T", "text": "A text."})
    assert run("index", "build", corpus, "--out", folder).exit_code == 0
    held = next(path for path in folder.iterdir() if path.name.startswith("passages"))
    before = held.read_bytes()
    for source, out in ((corpus, corpus), (folder, folder), (held, folder)):
        result = run("index", "build", source, "--out", out, "--overwrite")
        assert result.exit_code == 1 and "is read" in " ".join(result.stderr.split())
    assert held.read_bytes() == before and json.loads(corpus.read_text("utf-8"))["id"] == "1"


def test_a_recipe_over_itself(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("# my notes\nextends: sft-smollm2-135m\ntrain: {steps: 5}\n", encoding="utf-8")
    result = run("recipes", "copy", mine, mine, "--overwrite")
    assert result.exit_code == 1 and "which is read" in " ".join(result.stderr.split())
    assert "# my notes" in mine.read_text("utf-8")
