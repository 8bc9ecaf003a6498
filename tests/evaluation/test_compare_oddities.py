"""Comparisons that say less than they seem to, and evaluation files with rows twice: both are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.evaluation import compare, read_results
from ragr1_lite.evaluation.report import write_report
from tests.evaluation.test_report import row, saved

OTHER = {"answers": ["Somebody"]}


@pytest.fixture
def files(tmp_path: Path) -> Any:
    def write(*sides: list[dict[str, Any]]) -> list[Path]:
        return [saved(tmp_path / f"{name}.jsonl", *rows) for name, rows in zip("ab", sides, strict=False)]

    return write


def said(*paths: Path, call: Any = compare) -> list[str]:
    notices: list[object] = []
    call(*paths, report=notices.append)
    assert all(isinstance(one, Notice) and one.level == "warning" for one in notices)
    return [one.text for one in notices if isinstance(one, Notice)]


def test_other_accepted_answers_are_said(files: Any) -> None:
    a, b = files([row("1", "Chad"), row("2", "Chad")], [row("1", "Chad", **OTHER), row("2", "Chad")])
    assert said(a, b) == [
        f"1 of 2 questions have other accepted answers in {b} than in {a}: each side is scored by its own, so the "
        "difference may be theirs"
    ]


def test_another_alias_is_another_answer_and_another_spelling_is_none(files: Any) -> None:
    longer = {"answers": ["Chad", "Tchad", "Republic of Chad"]}
    assert len(said(*files([row("1", "Chad")], [row("1", "Chad", **longer)]))) == 1
    assert said(*files([row("1", "Chad")], [row("1", "Chad", answers=["the tchad", "Chad!"])])) == []


def test_a_file_compared_with_itself_is_said(files: Any, tmp_path: Path) -> None:
    [a] = files([row("1", "Chad")])
    (tmp_path / "link.jsonl").symlink_to(a)
    assert said(a, tmp_path / "link.jsonl") == [f"{a} and {tmp_path}/link.jsonl are one file: nothing is compared"]


def test_the_same_questions_by_other_ids_are_said(files: Any) -> None:
    with pytest.raises(DataError, match="no question in common: they have the same ones by other ids"):
        compare(*files([row("1", "Chad")], [row("x-1", "Chad")]))
    with pytest.raises(DataError, match=r"no question in common\. "):
        compare(*files([row("1", "Chad")], [row("x-1", "Chad", question="Why?")]))


def test_a_row_twice_counts_once_and_is_said(files: Any) -> None:
    right, wrong = row("1", "Chad"), row("2", "Mali")
    a, b = files([right, wrong], [right, wrong, right])
    assert said(a, b) == [f"{b} has 1 of its rows twice: each counts once"]
    assert read_results(b) == read_results(a)


def test_a_report_says_it_too(files: Any, tmp_path: Path) -> None:
    [a] = files([row("1", "Chad"), row("1", "Chad")])
    notices: list[object] = []
    made = write_report([a], tmp_path / "card.md", format="md", report=notices.append)
    assert made["trajectories"] == 1 and len(notices) == 1


def test_answers_again_are_no_rows_twice_but_two_runs_in_one_file_are_said(files: Any) -> None:
    [a] = files([row("1", "Chad", sample=0), row("1", "Chad", sample=1)])
    assert said(a, call=read_results) == []
    [a] = files([row("1", "Chad"), row("1", "Mali")])
    assert said(a, call=read_results) == [f"{a} has 1 questions more than once, in rows that differ: all of them count"]
    assert len(read_results(a)) == 2
