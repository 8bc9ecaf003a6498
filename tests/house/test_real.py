"""examples/real: its splits keep training apart from tests, its commands are those of the command line and go on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from inspect import getsource
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import typer

from examples.real import reproduce
from examples.real.pages import Mix, compared, page, parts, pieces, quotes_late, some
from examples.real.reproduce import RECIPES, TABLES, Real, step
from examples.real.splits import FILES, HeldOut, comparisons, ids, mix, read, split_rows, write
from ragr1_lite.cli.main import app
from ragr1_lite.config import load_recipe
from ragr1_lite.data.trajectories import read_records

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
        else:
            assert (ROOT / command[1]).is_file()
        return subprocess.CompletedProcess(command, 0)

    def made(result: Path, *words: object) -> None:
        step(result, *words)
        result.parent.mkdir(parents=True, exist_ok=True)
        if result.suffix == ".md":
            result.write_text("the table")
        else:
            result.mkdir(exist_ok=True)

    monkeypatch.setattr(reproduce.subprocess, "run", run)
    monkeypatch.setattr(reproduce, "step", made)
    return commands


def parse(words: list[str]) -> None:
    command = typer.main.get_command(app)
    while subcommands := getattr(command, "commands", None):
        command, words = subcommands[words[0]], words[1:]
    context = command.make_context("it", words)
    if recipe := context.params.get("recipe"):
        load_recipe(recipe, context.params["overrides"])


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
    rows = ["base-direct", "once-rag", "once-cot-rag", "base-multi", "sq", "mq"]
    files = [str(tmp_path / "eval" / f"{table}-{row}.jsonl") for row in rows]
    for command in ran[-2:]:
        assert command[2] == "report" and command[3 : 3 + len(files)] == files
    assert printed.endswith("the table\n")
    done = len(ran)
    real.table(table)
    assert len(ran) == done


def test_the_adapter_for_pages_goes_on_from_the_sets(ran: list[list[str]], tmp_path: Path) -> None:
    real = Real(Path("data"), tmp_path)
    real.prepare()
    real.adapter()
    first, second, third = (command for command in ran if command[2:3] == ["sft"])
    assert f"model.adapter={tmp_path}/sft-qwen0.5b-mq" in second and f"output={tmp_path}/sft-qwen0.5b-mq" in first
    assert f"model.adapter={tmp_path}/sft-qwen0.5b-pages" in third and "train.steps=120" in third
    assert f"data.train={tmp_path}/gold-pages.jsonl" in second and f"data.train={tmp_path}/compared.jsonl" in third
    [made] = (
        command for command in ran if f"{tmp_path}/gold/2wiki-made-multi.jsonl" in command and "generate" in command
    )
    assert f"{tmp_path}/made.jsonl" in made, "only made questions that do not leak are trained on"
    files = {word for command in ran for word in command}
    drawn = {f"{tmp_path}/gold/pages/{name}.jsonl" for name in re.findall(r'self\.rows\("([^"]+)"\)', getsource(Mix))}
    assert len(drawn) == 6 and drawn <= files, "every file that is drawn from is made"


def test_grpo_goes_on_from_a_short_sft_and_is_held_against_it(ran: list[list[str]], tmp_path: Path) -> None:
    real = Real(Path("data"), tmp_path)
    real.prepare()
    real.grpo()
    [sft] = (command for command in ran if command[2:3] == ["sft"])
    assert f"data.train={tmp_path}/gold-multi-k1.jsonl" in sft and "retrieval.k=1" in sft
    [grpo] = (command for command in ran if command[2:3] == ["grpo"])
    assert {f"model.adapter={tmp_path}/grpo-smollm2-start", f"data.train={tmp_path}/comparisons.jsonl"} <= {*grpo}
    reports = [[Path(word).stem for word in command[3:5]] for command in ran if command[2:3] == ["report"]]
    before, after = "grpo-smollm2-start-2wiki", "grpo-smollm2-2wiki"
    assert reports[-1] == [before, after] and len(reports) == 4


def test_comparisons_are_chosen_in_their_order(tmp_path: Path) -> None:
    rows = [{"id": n, "kind": ("bridge", "comparison")[n % 2]} for n in range(6)]
    write(tmp_path / "gold.jsonl", rows)
    comparisons(tmp_path / "out.jsonl", tmp_path / "gold.jsonl")
    assert list(read(tmp_path / "out.jsonl")) == rows[1::2]


def test_half_of_what_the_adapter_learns_last_compares(tmp_path: Path) -> None:
    kinds = {
        "sets": ["bridge", "comparison", "bridge_comparison"],
        "pages": ["list"],
        "made": ["one-hop", "comparison"],
    }
    for name, given in kinds.items():
        write(tmp_path / name, [{"id": f"{name}-{kind}-{n}", "kind": kind} for n in range(200) for kind in given])
    compared(*(tmp_path / name for name in kinds), tmp_path / "out.jsonl")
    drawn = Counter(row["kind"] for row in read(tmp_path / "out.jsonl"))
    assert drawn["bridge"] == 170 and drawn["list"] == 110 and "one-hop" not in drawn
    assert drawn["comparison"] + drawn["bridge_comparison"] == 170 + 110


# --- pages --------------------------------------------------------------------------------------------------------


def test_a_passage_is_cut_into_pieces_that_keep_its_title_and_all_its_sentences() -> None:
    passages = [
        {"id": str(n), "title": f"Page {n}", "text": "One is here. Two is there. Three is away."} for n in range(9)
    ]
    cut = [list(pieces(one)) for one in passages]
    assert {len(one) for one in cut} == {1, 2, 3}
    for passage, found in zip(passages, cut, strict=True):
        assert {piece["title"] for piece in found} == {passage["title"]}
        headless = [piece["text"].partition("\n")[2] if len(found) > 1 else piece["text"] for piece in found]
        assert " ".join(headless) == passage["text"]
    assert list(pieces({"id": "1", "title": "Page 1", "text": "One."})) == [
        {"id": "1", "title": "Page 1", "text": "One."}
    ]


def test_the_parts_of_a_question_with_earlier_answers_in_them() -> None:
    hops = [("Silver Heron >> director", "Ada Quist"), ("where was #1 born ?", "Ribe"), ("#2 >> rank", "1")]
    row = {
        "id": "q",
        "gold_titles": ["Silver Heron", "Ada Quist"],
        "question_decomposition": [{"question": asked, "answer": answer} for asked, answer in hops],
    }
    texts = {"Silver Heron": ["A film by Ada Quist."], "Ada Quist": ["She was born in Ribe."]}
    found = [(one["question"], one["answers"], one["gold_titles"]) for one in parts([row, row], texts)]
    assert found == [
        ("Who directed Silver Heron?", ["Ada Quist"], ["Silver Heron"]),
        ("Where was Ada Quist born?", ["Ribe"], ["Ada Quist"]),
    ]


def test_a_list_is_one_search_for_all_and_says_them_in_order(tmp_path: Path) -> None:
    def one_hop(name: str, capital: str) -> dict[str, Any]:
        passages = [[{"title": name, "text": f"{name}\nCapital: {capital}"}]]
        search = {"think": f"I need the capital of {name}.", "queries": [f"{name} capital"], "passages": passages}
        end = {"think": f"{name}: Capital: {capital}. So the capital of {name} is {capital}.", "queries": []}
        return {"id": name, "kind": "one-hop", "answer": capital, "gold_titles": [name], "turns": [search, end]}

    rows = [one_hop("Chad", "N'Djamena"), one_hop("Mali", "Bamako")]
    [made] = Mix(tmp_path).lists(rows, 1, [2])
    first, second = made["gold_titles"]
    capital = {"Chad": "N'Djamena", "Mali": "Bamako"}
    search, end = made["turns"]
    assert search["queries"] == [f"{first} capital", f"{second} capital"]
    assert search["think"] == f"I need the capital of {first} and the capital of {second}."
    assert [one["title"] for found in search["passages"] for one in found] == [first, second]
    assert made["answer"] == f"{capital[first]}, {capital[second]}" and f"{first} and {second}" in made["question"]
    said = f"{first}: Capital: {capital[first]}. {second}: Capital: {capital[second]}."
    assert end["think"] == f"{said} So the answer is {made['answer']}."
    assert len(Mix(tmp_path).lists(rows, 2, [2])) == 1, "no trajectory is in two lists"


def test_some_are_drawn_that_quote_late_and_of_a_relation_not_too_many(tmp_path: Path) -> None:
    text = "Ribe\nIt is a town in Denmark. Its cathedral was begun in 1150."
    thoughts = ["It is a town in Denmark."] * 90 + ["Its cathedral was begun in 1150."] * 10
    found = [{"think": "I look up Ribe.", "passages": [[{"text": text}]]}]
    rows = [{"kind": "one-hop", "turns": [*found, {"think": f"Ribe: {thought}"}]} for thought in thoughts]
    assert sum(map(quotes_late, Mix(tmp_path).some(rows, 12, "one-hop"))) >= 8
    made = [{"kind": "one-hop", "evidences": [["A", relation, "B"]]} for relation in "xxxxxxxxxxy"]
    assert Counter(row["evidences"][0][1] for row in some(made)) == {"x": 8, "y": 1}


def test_comparisons_are_worded_as_people_do_three_times_in_four(tmp_path: Path) -> None:
    mix = Mix(tmp_path)
    asked = Counter(
        mix.worded({"question": "Which has the smaller area, Chad or Mali?"})["question"] for _ in range(200)
    )
    assert set(asked) == {"Which has the smaller area, Chad or Mali?", "Which is smaller, Chad or Mali?"}
    assert 120 < asked["Which is smaller, Chad or Mali?"] < 180


@pytest.mark.parametrize(("as_table", "line"), [(False, "\nCapital: Bamako\n"), (True, "\n| Capital | Bamako |\n")])
def test_a_country_has_its_figures_in_lines_or_tables(as_table: bool, line: str) -> None:
    facts = {"region": "africa", "area": "1 sq km", "highest": "Hombori 1,155 m", "capital": "Bamako"}
    text = page("Mali", facts | {"population": "23 (2025 est.)", "borders": "Niger 838 km (long)"}, as_table)
    assert line in text and "Mali borders on Niger 838 km." in text and "1,155 m" in text and "est." not in text


def test_what_a_thought_quotes() -> None:
    text = "Ribe\nIt is a town in Denmark. Its cathedral was begun in 1150."
    for quoted, late in (("It is a town in Denmark.", False), ("Its cathedral was begun in 1150.", True)):
        turns = [{"think": "I look up Ribe.", "passages": [[{"text": text}]]}, {"think": f"Ribe: {quoted}"}]
        assert quotes_late({"turns": turns}) is late


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
