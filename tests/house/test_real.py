"""examples/real: its splits keep training apart from tests, its commands are those of the command line and go on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import typer

from examples.real import reproduce
from examples.real.reproduce import RECIPES, TABLES, Real, figures
from examples.real.splits import FILES, HeldOut, ids, mix, read, split_rows, write
from ragr1_lite.cli.main import app
from ragr1_lite.config import load_recipe
from ragr1_lite.core.rewards import OURS
from ragr1_lite.core.types import Example, Trajectory, Turn
from ragr1_lite.data.trajectories import read_records
from ragr1_lite.evaluation import Result, to_row

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("RAGR1_LITE_SHARED", ROOT.parent / "shared")) / "data"
TEST = {"question": "Who is older,  A or B?", "gold_titles": ["A", "B"]}


# --- the splits ---------------------------------------------------------------------------------------------------


def test_the_lists_hold_ids_alone_and_are_disjoint_but_for_the_quick_one() -> None:
    lists = {split: ids(split) for split in FILES}
    assert {path.stem for path in (ROOT / "examples" / "real" / "splits").iterdir()} == set(lists)
    assert {split: len(found) for split, found in lists.items()} == {
        "hotpotqa-train": 598,
        "hotpotqa-test": 632,
        "hotpotqa-test-200": 200,
        "2wiki-train": 350,
        "2wiki-test": 150,
        "musique-train": 60,
        "musique-test": 40,
    }
    assert all(re.fullmatch(r"\w+", id) for found in lists.values() for id in found)
    assert set(lists.pop("hotpotqa-test-200")) < set(lists["hotpotqa-test"])
    assert not any(set(one) & set(other) for one, other in combinations(lists.values(), 2))


@pytest.mark.parametrize(
    ("question", "titles", "leaks"),
    [
        ("who is older, A or  B?", [], True),
        ("Who is younger?", ["B", "A"], True),
        ("Who is oldest?", ["A", "B", "C"], True),
        ("When was A born?", ["A"], False),
        ("Who is older, A or C?", ["A", "C"], False),
    ],
)
def test_what_leaks(question: str, titles: list[str], leaks: bool) -> None:
    row = {"question": question} | ({"gold_titles": titles} if titles else {})
    assert HeldOut([TEST]).leak(row) is leaks


def test_a_fact_of_a_longer_test_question_leaks_if_it_takes_two_passages() -> None:
    tests = HeldOut([{"question": "?", "gold_titles": ["A", "B", "C", "D"]}, {"question": "??", "gold_titles": ["E"]}])
    asked = {"A": False, "AB": True, "AX": False, "E": True, "EX": False}
    assert {titles: tests.leak({"question": "!", "gold_titles": list(titles)}) for titles in asked} == asked


def test_a_mix_is_the_same_every_time_and_without_leaks(tmp_path: Path) -> None:
    for split in FILES:
        write(tmp_path / f"{split}.jsonl", [TEST])
    rows = [{"question": f"{number}?", "gold_titles": [str(number)]} for number in range(20)]
    write(tmp_path / "a", [*rows[:10], TEST])
    write(tmp_path / "b", rows[10:])
    for out in ("one", "two"):
        mix(tmp_path, tmp_path / out, tmp_path / "a", tmp_path / "b")
    mixed = list(read(tmp_path / "one"))
    assert mixed == list(read(tmp_path / "two")) != rows
    assert sorted(mixed, key=str) == sorted(rows, key=str)


# --- the commands -------------------------------------------------------------------------------------------------


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of a table, which are parsed and said to have made what they name."""
    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        assert command[0] == sys.executable
        commands.append(command[1:])
        if command[1:3] == ["-m", "ragr1_lite"]:
            parse(command[3:])
            made = command[command.index("--out") + 1] if "--out" in command else output(command)
            modes = [command[at + 1] for at, word in enumerate(command) if word == "--mode"]
            for path in [Path(made).with_stem(f"{Path(made).stem}-{mode}") for mode in modes] * (len(modes) > 1):
                path.mkdir(parents=True)
        else:
            made = command[-1] if command[2] == "questions" else command[4]
            made += "/musique-test.jsonl" * (command[2] == "questions")
        Path(made).mkdir(parents=True, exist_ok=True)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(reproduce.subprocess, "run", run)
    monkeypatch.setattr(reproduce, "figures", lambda file: [file.stem])
    return commands


def parse(words: list[str]) -> None:
    command = typer.main.get_command(app)
    while subcommands := getattr(command, "commands", None):
        command, words = subcommands[words[0]], words[1:]
    context = command.make_context("it", words)
    if recipe := context.params.get("recipe"):
        load_recipe(recipe, context.params["overrides"])


def output(command: list[str]) -> str:
    [run] = [word.removeprefix("output=") for word in command if word.startswith("output=")]
    return f"{run}/adapter"


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_made_of_commands_and_nothing_is_done_twice(
    table: str, ran: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Real(Path("data"), tmp_path)
    real.table(table)
    kinds = [" ".join(command[2:4] if command[0] == "-m" else command[1:2]) for command in ran]
    assert kinds.count("sft " + RECIPES[table.rpartition("-")[2]]) == 2
    assert sum(kind.startswith("eval") for kind in kinds) == 4
    printed = capsys.readouterr().out
    assert printed.count("\n$ ") + 1 == len(ran) == printed.count("$ ")
    labels = re.findall(r"^\| ([^|]+) \| \S+ \|$", printed, re.MULTILINE)
    assert labels == ["direct", "rag", "cot-rag", "multi, zero-shot", "SFT mq", "SFT sq"]
    done = len(ran)
    real.table(table)
    assert len(ran) == done


def test_the_figures_of_an_evaluation(tmp_path: Path) -> None:
    def result(id: str, answer: str | None) -> dict[str, Any]:
        turn = Turn("answer", "t", answer=answer) if answer else Turn("invalid", "t")
        one = Trajectory(Example(id, "Q?", ("Chad",)), (), (turn,), "answer" if answer else "invalid")
        return to_row(Result(one, "multi", 2.0, OURS))

    write(tmp_path / "eval.jsonl", [result("1", "Chad"), result("2", "Chad"), result("3", "Mali"), result("4", None)])
    em, interval, f1, answered, *costs = figures(tmp_path / "eval.jsonl")
    assert (em, f1, answered, costs) == ("0.500", "0.500", "0.75", ["0.00", "0.00", "2.00"])
    assert interval == "0.000–1.000"


# --- the real files -----------------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "2wiki_train.jsonl.gz").is_file(), reason="needs shared data")
def test_no_question_for_training_is_one_of_a_test() -> None:
    splits = split_rows(SHARED)
    tests = HeldOut(row for split, rows in splits.items() if split.endswith("-test") for row in rows)
    assert [
        row["id"] for split, rows in splits.items() if split.endswith("-train") for row in rows if tests.leak(row)
    ] == []
    assert all(tests.leak(row) for row in splits["hotpotqa-test-200"])
    every = {row["id"]: row for row in read(SHARED / "hotpotqa_train.jsonl.gz")}
    assert sum(map(tests.leak, every.values())) == 2 == len(every) - len(splits["hotpotqa-train"])


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "2wiki_train.jsonl.gz").is_file(), reason="needs shared data")
def test_the_commands_give_training_that_is_apart_from_the_tests(tmp_path: Path) -> None:
    """MuSiQue's part of it, by the real commands; R1-Searcher's questions are partly those of a test."""
    for name in ("questions", "gold"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "examples/real/splits.py"]
    subprocess.run([*command, "questions", SHARED, tmp_path / "questions"], cwd=ROOT, check=True, timeout=300)
    theirs = SHARED / "trajectories_r1searcher_hotpotqa.jsonl.gz"
    mixed = tmp_path / "r1.jsonl"
    subprocess.run([*command, "mix", tmp_path / "questions", mixed, theirs], cwd=ROOT, check=True, timeout=300)
    asked = {
        " ".join(row["question"].casefold().split()) for row in read(tmp_path / "questions" / "hotpotqa-test.jsonl")
    }
    trained = {" ".join(record.example.question.casefold().split()) for record in read_records(mixed)}
    assert trained and not trained & asked
    assert {row["question"] for row in read(theirs)} - {row["question"] for row in read(mixed)}
