"""Rows of an index of a folder name their file, which costs the index nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from typer.testing import CliRunner

from ragr1_lite.assistant import source_of
from ragr1_lite.cli.main import app
from ragr1_lite.core.types import Example, Passage, Segment, Trajectory, Turn
from ragr1_lite.data.trajectories import parse_turns, to_record
from ragr1_lite.retrieval import build_index, open_searcher, read_corpus, update_index
from tests.support.corpora import lines, put

ROWS = [{"id": f"r{n}", "title": f"Boat {n}", "text": "A red boat."} for n in range(3)]


def files(index: Path) -> dict[str, str]:
    [found] = open_searcher(str(index)).search(["boat"], 20)
    return {one.id: source_of(one).get("file", "") for one in found}


def test_rows_name_their_file_also_after_an_update(tmp_path: Path) -> None:
    folder, index = tmp_path / "in", tmp_path / "index"
    put(folder / "a.txt", "A boat of wood.")
    put(folder / "b" / "rows.jsonl", lines(*ROWS))
    put(folder / "c.csv", "id,text\n9,The last boat.\n")
    build_index(read_corpus([folder]), index)
    rows = dict.fromkeys(("r0", "r1", "r2"), "b/rows.jsonl")
    assert files(index) == {"a.txt#1": "a.txt", **rows, "9": "c.csv"}
    put(folder / "a.txt", "Gone.")
    put(folder / "b" / "other.jsonl", lines({"id": "x", "text": "Another boat."}))
    update_index(index)
    assert files(index) == {"x": "b/other.jsonl", **rows, "9": "c.csv"}
    result = CliRunner().invoke(app, ["index", "search", str(index), "boat", "-k", "20", "--json"])
    [found] = json.loads(result.stdout)["results"]
    assert {one["id"]: one.get("file") for one in found["passages"]} == files(index)


def test_an_index_of_a_file_that_was_named_is_as_it_was(tmp_path: Path) -> None:
    build_index(read_corpus([put(tmp_path / "rows.jsonl", lines(*ROWS))]), tmp_path / "index")
    assert set(files(tmp_path / "index").values()) == {""}


def test_a_trajectory_keeps_it() -> None:
    row = Passage("r0", "Boat", "A red boat.", 1.0, file="rows.jsonl")
    turn = Turn("search", queries=("boat",), passages=((row, replace(row, id="r1", file="")),))
    trajectory = Trajectory(Example("q", "?", ("A",)), (Segment("prompt", ()),), (turn,), "answer")
    record = to_record(trajectory)
    assert ["file" in one for one in record["turns"][0]["passages"][0]] == [True, False]
    assert parse_turns(json.loads(json.dumps(record)), 1)[1][0].passages == turn.passages
