"""The log of answers: what a line holds, where the file is, and that an answer never fails by it."""

from __future__ import annotations

import json
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.files.answer_log import AnswerLog


def row(question: str, answer: str | None = "Chad", *titles: str) -> dict[str, Any]:
    return {"question": question, "answer": answer, "sources": [{"title": title} for title in titles], "turns": []}


@pytest.fixture
def log(tmp_path: Path) -> AnswerLog:
    return AnswerLog(tmp_path / "new" / "answers.jsonl")


def test_answers_are_kept_in_order_with_their_time_and_numbers(log: AnswerLog) -> None:
    assert log.read() == []
    for question in ("First?", "Zweitens – ü?"):
        log.add(row(question) | {"number": 7})  # a row's own does not count
    first, second = log.read()
    assert (first["number"], first["question"], second["number"], second["question"]) == (
        1,
        "First?",
        2,
        "Zweitens – ü?",
    )
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    assert [json.loads(line)["question"] for line in log.path.read_text("utf-8").splitlines()][0] == "First?"
    log.clear()
    assert log.read() == [] and not log.path.exists()
    log.clear()  # nothing is there


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_nobody_else_may_read_it(log: AnswerLog) -> None:
    log.add(row("Which?"))
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_all_words_must_be_in_question_answer_or_titles(log: AnswerLog) -> None:
    log.add(row("What is the capital of Chad?", "N'Djamena", "Capital and people of Chad"))
    log.add(row("What is the capital of Mali?", None))
    found = [[one["number"] for one in log.read(words)] for words in (["CAPITAL"], ["capital", "people"], ["none"])]
    assert found == [[1, 2], [1], []]


def test_what_no_utf8_can_hold_is_kept_too(log: AnswerLog) -> None:
    log.add(row("half \ud83d of it"))
    assert log.read()[0]["question"] == "half ? of it"


def test_after_half_a_line_the_next_one_is_whole(log: AnswerLog) -> None:
    log.add(row("First?"))
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "quest')
    log.add(row("Third?"))
    notices: list[Any] = []
    assert [one["question"] for one in log.read(report=notices.append)] == ["First?", "Third?"]
    assert [notice.level for notice in notices] == ["warning"] and ":2 is not JSON" in notices[0].text


@pytest.mark.parametrize("change", [{"answer": 3}, {"sources": "none"}, {"turns": [1]}, {"time": None}])
def test_a_line_of_another_form_is_no_answer(change: dict[str, Any], log: AnswerLog) -> None:
    log.add(row("First?"))
    log.add(row("Second?") | change)
    assert [one["question"] for one in log.read()] == ["First?"]


def test_another_file_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("words\n" * 20, "utf-8")
    with pytest.raises(DataError, match="question and answer"):
        AnswerLog(tmp_path / "other").read()


def test_where_it_cannot_be_written_one_warning_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    log, said = AnswerLog(tmp_path / "file" / "answers.jsonl"), list[Any]()
    for _ in range(3):
        log.add(row("Which?"), said.append)
    assert [type(notice) for notice in said] == [Notice] and said[0].level == "warning"
    assert "not in the log" in said[0].text and said[0].text.endswith("leave the log out by --no-log.")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_warning() -> None:
    said: list[Any] = []
    AnswerLog(Path("/dev/full")).add(row("Which?"), said.append)
    assert len(said) == 1 and "No space left" in said[0].text


def test_the_users_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def path() -> Path | None:
        found = AnswerLog.of_user()
        return found.path if found else None

    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("RAGR1_LITE_LOG", "off")
    assert path() is None
    monkeypatch.setenv("RAGR1_LITE_LOG", "~/mine.jsonl")
    assert path() == tmp_path / "home" / "mine.jsonl"
    monkeypatch.delenv("RAGR1_LITE_LOG")
    assert path() == tmp_path / "xdg_data_home" / "ragr1-lite" / "answers.jsonl"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert path() == tmp_path / "home" / ".local" / "share" / "ragr1-lite" / "answers.jsonl"
