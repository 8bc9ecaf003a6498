"""`data inspect`: what a question set is made of, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app

ROWS = [
    {"question": "Which is larger?", "answer": "Fitri", "type": "comparison", "supporting_facts": [["A", 0], ["B", 1]]},
    {"question": "Who \x1b[31mwas\x1b[0m it?", "answer": "Ali", "type": "bridge", "supporting_facts": [["C", 0]]},
    {"question": "which is  larger?", "answer": "Iro", "type": "bridge", "supporting_facts": [["A", 0], ["C", 1]]},
]


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["data", "inspect", *(str(argument) for argument in arguments)])


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(ROWS))
    return path


def test_help() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(len(line) <= 90 for line in result.output.splitlines())
    for name in ("HotpotQA", "MuSiQue", "PopQA", "hub:OWNER/NAME", "--samples", "--json"):
        assert name in result.output


def test_every_form_is_in_the_help() -> None:
    from ragr1_lite.data.questions.forms import FORMS, OWN

    shown = " ".join(run("--help").output.split())
    assert [form.name for form in FORMS if form is not OWN and form.name not in shown] == []


def test_json(questions: Path) -> None:
    found = json.loads(run(questions, "--json").stdout)
    assert [sample["id"] for sample in found.pop("samples")] == ["0", "1", "2"]
    assert found == {
        "form": "HotpotQA",
        "questions": 3,
        "by_kind": {"bridge": 2, "comparison": 1},
        "hops": {"1": 1, "2": 2},
        "aliases": {"mean": 0.0, "max": 0},
        "with": {"titles": 3, "decompositions": 0, "evidences": 0},
        "duplicates": 1,
        "bad": 0,
    }


def test_samples_are_drawn_by_seed_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"question": f"{i}?", "answers": ["a"]}) + "\n" for i in range(50)))

    def samples(*arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(run(path, "--json", *arguments).stdout)["samples"]
        return found

    assert len(samples()) == 3
    assert samples("--samples", "5") == samples("--samples", "5") != samples("--samples", "5", "--seed", "1")
    assert samples("--samples", "0") == []
    again = tmp_path / "again.jsonl"
    again.write_text("".join(json.dumps(row) + "\n" for row in samples()))
    found = json.loads(run(again, "--json").stdout)
    assert (found["form"], found["samples"]) == ("ragr1-lite", samples())


def test_for_people(questions: Path) -> None:
    result = run(questions)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:7] == [
        "Form        HotpotQA",
        "Questions   3",
        "Kinds       bridge 2, comparison 1",
        "Hops        1-hop 1, 2-hop 2",
        "With gold   titles 3",
        "Duplicates  1",
        "Bad rows    0",
    ]
    assert "Question     Who was it?" in result.stdout, "without what a terminal would obey"
    assert "Gold titles  A; B" in result.stdout


def test_several_sets_are_one(questions: Path, tmp_path: Path) -> None:
    other = tmp_path / "bamboogle.csv"
    other.write_text("Question,Answer\nWho?,Ali\n")
    result = run(questions, other, "--samples", "0")
    assert result.stdout.splitlines()[:2] == ["Form        HotpotQA 3, plain 1", "Questions   4"]


def test_bad_rows_are_counted_and_named_on_stderr(questions: Path) -> None:
    questions.write_text(json.dumps([*ROWS, {"question": "Who?"}]))
    result = run(questions, "--json")
    assert json.loads(result.stdout)["bad"] == 1
    assert "row 4 has no `answers`" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "There is no question in"),
        ('{"_id": "1", "text": "A claim."}', "has no `question` and no `answers`, only `_id`, `text`"),
    ],
)
def test_one_sentence_and_exit_code_1(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(text)
    result = run(path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert words in result.stderr
