"""Trajectory files: what is read, what is wrong and in which line, what survives being written."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.errors import DataError, StorageError
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Example, Mode, Passage, Trajectory
from ragr1_lite.data.questions import read_questions
from ragr1_lite.data.sets import replay
from ragr1_lite.data.trajectories import parse_turns, read_records, write_records
from tests.support.scripted import ByteTokenizer, ScriptedSampler, ScriptedSearcher, example, passage

LIMITS = Limits(max_rounds=4, max_new_tokens=500, max_length=8000)


def write(folder: Path, *rows: Any, name: str = "data.jsonl") -> Path:
    """Rows that are text or bytes are lines as they stand."""
    lines = [
        row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else json.dumps(row).encode()
        for row in rows
    ]
    data = b"".join(line + b"\n" for line in lines)
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def roll(*lines: str, mode: Mode = "multi", asked: Example | None = None) -> Trajectory:
    searcher = ScriptedSearcher(
        {
            "nothing": [],
            "café": [Passage("é", "Café “x”", '</information> é\n\n东 \\ "q"', 2.5)],
            "Chad": [passage("Chad"), passage("Mali")],
        }
    )
    [trajectory] = run_rollouts(
        [asked or Example("id-1", "Où est-ce?", ("là", "ici"), "bridge")],
        ScriptedSampler(lines),
        searcher,
        protocol=Protocol(mode),
        limits=LIMITS,
    )
    return trajectory


def again(path: Path, mode: Mode = "multi", **settings: Any) -> list[Trajectory]:
    protocol = Protocol(mode, **settings)
    return [one for record in read_records(path) for one in replay(record, ByteTokenizer(), protocol, LIMITS)]


def texts(trajectory: Trajectory) -> list[str]:
    return [ByteTokenizer().decode(segment.token_ids) for segment in trajectory.segments]


LINES = (
    '<think>Dé\npart: 1,5 "km"</think><search>café, "Washington, D.C.", nothing</search>',
    "<think>Then.</think><search>Chad</search>",
    '<think>Là.</think><answer>là, "ici"</answer>',
)


@pytest.mark.parametrize(
    ("mode", "lines"),
    [("multi", LINES), ("single", LINES[1:]), ("rag", LINES[2:]), ("direct", LINES[2:]), ("multi", LINES[2:])],
)
@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_a_trajectory_is_written_read_and_replayed_to_the_same_text(
    tmp_path: Path, mode: Mode, lines: tuple[str, ...], name: str
) -> None:
    trajectory = roll(*lines, mode=mode)
    assert trajectory.stop_reason == "answer"
    write_records(tmp_path / name, [trajectory])
    [replayed] = again(tmp_path / name, mode)
    assert replayed.turns == trajectory.turns
    assert texts(replayed) == texts(trajectory)
    assert replayed.example == trajectory.example
    assert [segment.source for segment in replayed.segments] == [segment.source for segment in trajectory.segments]


def test_replaying_a_replayed_trajectory_changes_no_token(tmp_path: Path) -> None:
    write_records(tmp_path / "a", [roll(*LINES)])
    once = again(tmp_path / "a")
    write_records(tmp_path / "b", once)
    assert again(tmp_path / "b") == once
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_odd_spacing_is_replayed_in_the_form_that_is_taught(tmp_path: Path) -> None:
    odd = roll(
        "\n<think>\nt\n</think>\n\n<search>\nChad,  chad , nothing\n</search>\n",
        "<think>t</think> <answer> là </answer>",
    )
    write_records(tmp_path / "t", [odd])
    [replayed] = again(tmp_path / "t")
    assert replayed.turns == odd.turns
    assert texts(replayed)[1] == "<think>t</think><search>Chad, nothing</search>"


def test_records_are_utf_8_json_without_ids(tmp_path: Path) -> None:
    write_records(tmp_path / "t", [roll(*LINES)])
    [line] = (tmp_path / "t").read_text(encoding="utf-8").splitlines()
    record = json.loads(line)
    assert list(record) == ["id", "question", "answers", "kind", "answer", "stop_reason", "turns"]
    assert [turn["queries"] for turn in record["turns"]] == [["café", "Washington, D.C.", "nothing"], ["Chad"], []]
    assert record["turns"][0]["passages"][0][0]["title"] == "Café “x”"
    assert "é" in line
    assert "token" not in line


def test_records_keep_what_was_shown(tmp_path: Path) -> None:
    searcher = ScriptedSearcher(default=[passage("Chad", "wörd " * 90), passage("Mali")])
    limits = replace(LIMITS, document_tokens=100)
    [trajectory] = run_rollouts([example()], ScriptedSampler(LINES[1:]), searcher, protocol=Protocol(), limits=limits)
    write_records(tmp_path / "t.jsonl", [trajectory])
    row = json.loads((tmp_path / "t.jsonl").read_text(encoding="utf-8"))
    [first, second] = row["turns"][0]["passages"][0]
    assert first["text"] == "wörd " * 90 and first["shown"].startswith("wörd wörd") and len(first["shown"]) < 100
    assert second["shown"] == ""
    assert parse_turns(row, 0) == (trajectory.example, trajectory.turns)
    for found in row["turns"][0]["passages"][0]:
        del found["shown"]
    _, [old, _] = parse_turns(row, 0)
    assert old.shown == old.passages == trajectory.turns[0].passages, "older files do not say it"
    [record] = read_records(tmp_path / "t.jsonl")
    assert record.turns[0].passages == trajectory.turns[0].passages, "replayed under other budgets, more may be seen"


def test_records_keep_where_a_passage_is_from(tmp_path: Path) -> None:
    found = Passage("a.pdf#1", "A", "text", 1.0, "page 3", "books"), Passage("a.pdf#1", "A", "text", 0.5)
    lines = ["<think>.</think><search>q</search>", "<think>.</think><answer>Chad</answer>"]
    searcher = ScriptedSearcher(default=found)
    write_records(
        tmp_path / "file.jsonl",
        run_rollouts([example()], ScriptedSampler(lines), searcher, protocol=Protocol("multi"), limits=LIMITS),
    )
    [record] = read_records(tmp_path / "file.jsonl")
    assert record.turns[0].passages == (found,) and found[0].key != found[1].key
    [row] = [json.loads(line) for line in (tmp_path / "file.jsonl").read_bytes().splitlines()]
    assert [{"place", "index"} & one.keys() for one in row["turns"][0]["passages"][0]] == [{"place", "index"}, set()]


def test_gold_titles_are_kept_under_the_key_of_question_files(tmp_path: Path) -> None:
    asked = Example("q", "Où?", ("là",), titles=("Café “x”", "Chad"))
    write_records(tmp_path / "t.jsonl", [roll(*LINES, asked=asked)])
    assert json.loads((tmp_path / "t.jsonl").read_text(encoding="utf-8"))["gold_titles"] == ["Café “x”", "Chad"]
    assert [record.example for record in read_records(tmp_path / "t.jsonl")] == [asked]
    assert [question.example.titles for question in read_questions(tmp_path / "t.jsonl")] == [asked.titles]


def test_only_answered_trajectories_teach(tmp_path: Path) -> None:
    silent = [roll("nonsense"), roll(LINES[0], "nonsense"), roll(LINES[0]), roll("<think>t</think>")]
    write_records(tmp_path / "t", [*silent, roll(*LINES), roll(LINES[2])])
    assert [record.rounds for record in read_records(tmp_path / "t")] == [2, 0]
    assert len(read_records(tmp_path / "t", limit=1)) == 1
    write_records(tmp_path / "s", silent)
    with pytest.raises(DataError, match="No trajectory in .* ends in an answer"):
        read_records(tmp_path / "s")


def test_a_trajectory_is_left_out_where_it_does_not_fit(tmp_path: Path) -> None:
    write_records(tmp_path / "t", [roll(*LINES)])
    assert len(again(tmp_path / "t", max_queries=3)) == 1
    assert again(tmp_path / "t", max_queries=2) == [], "its third query would never be answered"
    assert again(tmp_path / "t", "single") == [], "three queries would become one"
    assert again(tmp_path / "t", "rag") == [], "it did not search for the question"
    [direct] = again(tmp_path / "t", "direct")
    assert texts(direct)[1:] == [LINES[2]]
    [record] = read_records(tmp_path / "t")
    assert replay(record, ByteTokenizer(), Protocol(), replace(LIMITS, max_rounds=1)) == []
    assert replay(record, ByteTokenizer(), Protocol(), replace(LIMITS, max_length=900)) == []


def test_fewer_passages_can_be_replayed(tmp_path: Path) -> None:
    write_records(tmp_path / "t", [roll(*LINES)])
    [record] = read_records(tmp_path / "t")
    [replayed] = replay(record, ByteTokenizer(), Protocol(), replace(LIMITS, k=1))
    assert [len(found) for turn in replayed.turns for found in turn.passages] == [1, 1, 0, 1]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Q?", "answers": ["a"]},
        {"question": "Q?", "answers": ["a"], "answer": "a", "turns": [{"kind": "answer"}]},
        {"question": "Q?", "answers": ["a"], "answer": "a", "turns": None},
        {"question": "Q?", "answers": ["a"], "answer": "a", "turns": ["x"]},
        {
            "question": "Q?",
            "answers": ["a"],
            "answer": "a",
            "turns": [
                {"kind": "search", "think": "", "queries": ["q"], "passages": [[{"name": "?"}]]},
                {"kind": "answer", "think": ""},
            ],
        },
    ],
)
def test_lines_that_are_no_trajectories(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path, row)
    with pytest.raises(DataError, match=f"There is nothing in .*{path.name}:1 is no trajectory"):
        read_records(path)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_records(tmp_path / "nowhere" / "t", [roll(*LINES)])


def test_the_question_is_found_again_by_its_id(tmp_path: Path) -> None:
    asked = example("Which?", "Chad", "Tchad", id="q-9")
    write_records(tmp_path / "t", [roll(LINES[2], asked=asked)])
    assert [record.example for record in read_records(tmp_path / "t")] == [asked]
