"""`log`: what was answered, listed, searched, shown in full, and removed after a question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.files.answer_log import AnswerLog


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnswerLog:
    """A log of twenty-two answers, the last two of another kind."""
    monkeypatch.setenv("RAGR1_LITE_LOG", str(tmp_path / "answers.jsonl"))
    log = AnswerLog(tmp_path / "answers.jsonl")
    for number in range(20):
        log.add({"question": f"Which is number {number}?", "answer": str(number), "sources": [], "turns": []})
    source = {"title": "People of Chad", "id": "chad.md#1", "file": "chad.md", "place": "Capital"}
    turn = {"queries": ["capital of Chad", "Chad"], "passages": []}
    answer = {"question": "What is the capital of Chad?", "answer": "N'Djamena", "sources": [source], "turns": [turn]}
    log.add(answer | {"model": "script", "index": "books", "mode": "multi"})
    log.add({"question": "And of \x1b[31mMali?", "answer": None, "sources": [], "turns": []})
    return log


def run(*arguments: str, typed: str | None = None) -> Any:
    return CliRunner().invoke(app, ["log", *arguments], input=typed)


def listed(result: Any) -> list[list[str]]:
    assert result.exit_code == 0, result.stderr
    return [line.split() for line in result.stdout.splitlines()[1:]]


@pytest.mark.usefixtures("kept")
def test_the_last_twenty_are_listed_with_time_question_and_answer() -> None:
    lines = listed(run())
    assert [line[0] for line in lines] == [str(number) for number in range(3, 23)]
    assert lines[-2][3:] == ["What", "is", "the", "capital", "of", "Chad?", "N'Djamena"]
    assert lines[-1][3:] == ["And", "of", "Mali?", "(none)"]
    assert [line[0] for line in listed(run("--last", "1"))] == ["22"]


@pytest.mark.usefixtures("kept")
def test_words_are_looked_for_in_question_answer_and_titles() -> None:
    assert [line[0] for line in listed(run("people", "CAPITAL"))] == ["21"]
    assert run("nothing", "like", "it").stdout == "No answer has these words.\n"


def test_an_empty_log_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGR1_LITE_LOG", str(tmp_path / "answers.jsonl"))
    assert run().stdout == "No answer is in the log.\n"


def test_an_answer_in_full(kept: AnswerLog) -> None:
    shown = run("--show", "21").stdout
    for words in ("What is the capital of Chad?", "capital of Chad, Chad", "People of Chad, chad.md, Capital", "books"):
        assert words in shown
    (row,) = json.loads(run("--show", "21", "--json").stdout)["answers"]
    assert (row["number"], row["turns"][0]["queries"]) == (21, ["capital of Chad", "Chad"])
    assert "Sources" in shown and "Read" not in shown
    read = {"title": "Mali", "id": "mali", "holds": False}
    kept.add({"question": "Is Mali larger?", "answer": "yes", "sources": [read], "turns": []})
    assert "Read" in (shown := run("--show", "23").stdout) and "Sources" not in shown
    missing = run("--show", "99")
    assert missing.exit_code == 1 and "No answer has the number 99" in missing.stderr


def test_json_names_the_file(kept: AnswerLog) -> None:
    found = json.loads(run("--json", "mali").stdout)
    assert found["log"] == str(kept.path) and [one["number"] for one in found["answers"]] == [22]


@pytest.mark.parametrize(("typed", "left"), [("n\n", 22), ("y\n", 0)])
def test_it_is_emptied_after_a_question(
    typed: str, left: int, kept: AnswerLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragr1_lite.cli.commands import log

    monkeypatch.setattr(log, "on_terminal", lambda: True)
    result = run("--clear", typed=typed)
    assert result.exit_code == 0 and "Remove 22 answers from" in result.stderr
    assert len(kept.read()) == left and ("empty" in result.stdout) == (left == 0)


def test_where_nobody_can_be_asked_nothing_is_removed(kept: AnswerLog) -> None:
    result = run("--clear")
    assert result.exit_code == 2 and str(kept.path) in result.stderr and len(kept.read()) == 22


def test_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGR1_LITE_LOG", "OFF")
    result = run()
    assert result.exit_code == 2 and "There is no log: RAGR1_LITE_LOG is off" in result.stderr
