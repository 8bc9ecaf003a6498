"""Evaluations as files, compared in pairs, and on the screen."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.types import Example, Passage, Trajectory
from ragr1_lite.data.trajectories import read_records, to_record, write_records, write_rows
from ragr1_lite.data.viewing import view
from ragr1_lite.evaluation import (
    Evaluation,
    compare,
    read_results,
    to_row,
)
from ragr1_lite.evaluation.results import share_seconds
from ragr1_lite.ui.evaluations import comparison_table, evaluation_table
from tests.evaluation.test_evaluate import ANSWER, SEARCH, WRONG, measured
from tests.support.scripted import ScriptedSearcher, example

# --- files --------------------------------------------------------------------------------------------------------


def evaluated(**lines: Sequence[str]) -> Evaluation:
    """An evaluation of one question per name."""
    return measured(dict(enumerate(lines.values())), *(example(f"Larger: {name}?", "Chad", id=name) for name in lines))


def saved(path: Path, evaluation: Evaluation) -> Path:
    write_rows(path, map(to_row, evaluation.results))
    return path


def test_a_row_says_everything_of_its_question(tmp_path: Path) -> None:
    evaluation = evaluated(q1=[SEARCH, WRONG], q2=[ANSWER])
    path = saved(tmp_path / "x.jsonl", evaluation)
    first, second = read_results(path)
    (one, other) = evaluation.trajectories
    assert {key: first[key] for key in to_record(one)} == json.loads(json.dumps(to_record(one)))
    figures = "seconds em f1 cover_em cause rounds queries sampled_tokens retrieved_tokens segments sample"
    assert set(first) - set(to_record(one)) == {"mode", "read_by", *figures.split()}
    assert (first["mode"], first["em"], first["cause"], first["rounds"], first["queries"]) == (
        "multi",
        0,
        "synthesis",
        1,
        2,
    )
    assert first["sampled_tokens"] == one.sampled_tokens > 0
    assert [segment["source"] for segment in first["segments"]] == ["prompt", "model", "env", "model"]
    assert first["retrieved_tokens"] == first["segments"][2]["tokens"] == len(one.segments[2].token_ids)
    assert (second["em"], second["cause"], second["retrieved_tokens"]) == (1, None, 0)
    assert first["seconds"] / second["seconds"] == pytest.approx(one.sampled_tokens / other.sampled_tokens, rel=0.5)


def test_a_score_that_is_not_finite_is_null(tmp_path: Path) -> None:
    class Odd(ScriptedSearcher):
        def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
            scores = (float("nan"), float("inf"), 1.5)
            return [
                tuple(replace(one, score=score) for one, score in zip(found * 3, scores, strict=False))
                for found in super().search(queries, 1)
            ]

    path = saved(tmp_path / "x.jsonl", measured([SEARCH, ANSWER], searcher=Odd()))
    [row] = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text("utf-8").splitlines()]
    assert [one["score"] for one in row["turns"][0]["passages"][0]] == [None, None, 1.5]
    assert len(read_results(path)) == 1


def test_the_file_is_a_trajectory_file_still(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jsonl", evaluated(q1=[SEARCH, WRONG], q2=[ANSWER], q3=["?"]))
    assert [record.example.id for record in read_records(path)] == ["q1", "q2"]
    assert [one.right for one in view(path)] == [False, True, False]


def test_seconds_are_shared_by_tokens() -> None:
    trajectories = measured({0: [SEARCH, ANSWER], 1: [ANSWER]}, example(id="1"), example(id="2")).trajectories
    results = share_seconds(trajectories, mode="multi", seconds=8.0)
    assert sum(one.seconds for one in results) == pytest.approx(8.0)
    assert results[0].seconds / results[1].seconds == pytest.approx(
        trajectories[0].sampled_tokens / trajectories[1].sampled_tokens
    )
    assert share_seconds(trajectories[1:], mode="multi", seconds=3.0)[0].seconds == 3.0
    silent = Trajectory(example(), (), (), "context")
    assert [one.seconds for one in share_seconds([silent, silent], mode="multi", seconds=1.0)] == [0.5, 0.5]


def test_kinds_keep_their_figures() -> None:
    kinds = [Example("1", "Chad?", ("Chad",), "one"), Example("2", "Mali?", ("Mali",), "two")]
    figures = measured([ANSWER], *kinds).to_json()
    assert set(figures["by_kind"]["one"]) == {*measured([ANSWER]).figures(), "ci"}
    assert figures["by_kind"]["one"]["em"] == 1 and figures["by_kind"]["two"]["ci"] == {"em": [0, 0]}
    assert Evaluation("none", ()).to_json()["ci"] == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"em": None}, "`em` is not a share"),
        ({"f1": 1.5}, "`f1` is not a share"),
        ({"cover_em": True}, "`cover_em` is not a share"),
        ({"seconds": -1}, "`seconds` is not a number of seconds"),
        ({"seconds": float("nan")}, "`seconds` is not a number of seconds"),
        ({"rounds": 0.5}, "`rounds` is not a whole number"),
        ({"mode": "both"}, "`mode` is none of multi"),
        ({"stop_reason": None}, "`stop_reason` is none of answer"),
        ({"cause": "bad luck"}, "`cause` is none of None, format"),
        ({"segments": [{"source": "user", "tokens": 1}]}, "`segments` is not a list"),
        ({"id": None}, "it has no `id`"),
        ({"turns": None}, "`turns` is not a list"),
    ],
)
def test_a_wrong_row(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "x.jsonl", [to_row(evaluated(q=[ANSWER]).results[0]) | change])
    with pytest.raises(DataError, match=words) as error:
        read_results(tmp_path / "x.jsonl")
    assert "eval --out" in error.value.hint


def test_a_trajectory_file_is_no_evaluation(tmp_path: Path) -> None:
    write_records(tmp_path / "x.jsonl", evaluated(q=[ANSWER]).trajectories * 30)
    with pytest.raises(DataError, match="is no row of an evaluation"):
        read_results(tmp_path / "x.jsonl")


# --- comparing ----------------------------------------------------------------------------------------------------


def files(folder: Path, a: dict[str, bool], b: dict[str, bool]) -> tuple[Path, Path]:
    """Two evaluation files: by question, whether it was answered right."""
    rows = {right: to_row(evaluated(q=[SEARCH, ANSWER] if right else [WRONG]).results[0]) for right in (False, True)}
    for name, run in (("a", a), ("b", b)):
        write_rows(folder / f"{name}.jsonl", [rows[right] | {"id": id} for id, right in run.items()])
    return folder / "a.jsonl", folder / "b.jsonl"


def test_better_is_said_where_it_is(tmp_path: Path) -> None:
    a = {str(i): i < 50 for i in range(100)}
    b = {str(i): i < 70 for i in reversed(range(110))}
    found = compare(*files(tmp_path, a, b))
    figures = found.to_json()
    assert (figures["questions"], figures["only_a"], figures["only_b"], figures["better"]) == (100, 0, 10, "B")
    assert (figures["a"]["em"], figures["b"]["em"], figures["differences"]["em"]["difference"]) == (0.5, 0.7, 0.2)
    differences = figures["differences"]
    assert differences["rounds"]["difference"] == 0.2 and differences["queries"]["difference"] == 0.4
    low, high = differences["em"]["ci"]
    assert 0.1 < low < 0.2 < high < 0.3
    assert (
        found.verdict == f"B is better by .20 EM (95 % .{low * 100:.0f} to .{high * 100:.0f}, p < .01, 100 questions)"
    )
    turned = compare(*reversed(files(tmp_path, a, b)))
    assert turned.better == "A" and turned.verdict.startswith("A is better by .20 EM (95 % .1")


def test_nothing_is_said_where_nothing_can_be(tmp_path: Path) -> None:
    a = {str(i): i % 2 == 0 for i in range(40)}
    found = compare(*files(tmp_path, a, a | {"1": True, "0": False, "3": True}))
    assert found.better is None
    assert found.verdict.startswith("No significant difference: B's EM less A's is .03 (95 % −.05 to .")
    assert compare(*files(tmp_path, {"1": False}, {"1": True})).verdict.endswith(", p 1.00, 1 question)")


def test_pairs_are_made_by_id_and_samples_averaged(tmp_path: Path) -> None:
    a, b = files(tmp_path, {"1": True, "2": False}, {"2": False, "1": True, "3": True})
    with b.open("a", encoding="utf-8") as file:
        row = next(one for one in read_results(b) if one["id"] == "1")
        file.write(json.dumps(row | {"answer": "Mali"}) + "\n")
    figures = compare(a, b).to_json()
    assert (figures["questions"], figures["only_b"], figures["b"]["em"]) == (2, 1, 0.25)


def test_both_are_scored_alike(tmp_path: Path) -> None:
    a, b = files(tmp_path, {"1": True}, {"1": True})
    write_rows(b, [row | {"answer": "“Chad”", "em": 0.0} for row in read_results(b)])
    assert compare(a, b).figures[1]["em"] == 1 and compare(a, b, normalizer="squad").figures[1]["em"] == 0


def test_files_that_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="have no question in common"):
        compare(*files(tmp_path, {"1": True}, {"2": True}))
    a, b = files(tmp_path, {"1": True}, {"1": True})
    (row,) = read_results(b)
    write_rows(b, [row | {"question": "Another?"}])
    with pytest.raises(DataError, match="Question 1 differs between"):
        compare(a, b)
    write_rows(b, [row, row | {"question": "Another?"}])
    with pytest.raises(DataError, match="Several questions in .* have the id 1"):
        compare(a, b)
    write_rows(b, [row, row | {"id": "2", "mode": "rag"}])
    with pytest.raises(DataError, match=r"holds several modes \(multi, rag\)"):
        compare(a, b)
    with pytest.raises(DataError, match="does not exist"):
        compare(a, tmp_path / "none.jsonl")


# --- on the screen ------------------------------------------------------------------------------------------------


def shown(renderable: Any, console: Console) -> list[str]:
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_table_has_the_interval_and_the_causes() -> None:
    console = Console(file=io.StringIO(), width=100)
    lines = shown(evaluation_table([evaluated(q1=[ANSWER], q2=[WRONG], q3=["?"], q4=[ANSWER])], console), console)
    assert lines[1].split() == ["EM", "95", "%", "F1", "valid", "rounds", "queries", "s/question"]
    assert lines[2].split()[:4] == ["scripted", ".50", ".00–1.00", ".50"]
    assert lines[4] == "Wrong answers by cause"
    assert lines[5].split() == ["errors", "format", "budget", "unsearched", "synthesis", "retrieval"]
    assert lines[6].split() == ["scripted", "2", "1", "0", "1", "0", "0"]


def test_the_table_says_what_was_not_asked() -> None:
    console = Console(file=io.StringIO(), width=100)
    given_up = replace(evaluated(q1=["?"], q2=["?"]), label="base", not_asked=5)
    lines = shown(evaluation_table([given_up, evaluated(q1=[ANSWER], q2=[WRONG], q3=[ANSWER])], console), console)
    assert lines[0].startswith("2 / 3 questions")
    assert lines[-1] == "base: 0 of the first 2 questions got an answer; the other 5 were not asked."


def test_two_evaluations_side_by_side(tmp_path: Path) -> None:
    a, b = files(tmp_path, {"1": True, "2": False, "9": True}, {"1": True, "2": True})
    console = Console(file=io.StringIO(), width=200)
    found = compare(a, b)
    lines = shown(comparison_table(found, console), console)
    assert lines[0] == f"2 questions, A: {a}, B: {b}"
    assert lines[1].split() == ["A", "B", "B", "−", "A", "95", "%", "p"]
    assert lines[2].split()[:4] == ["EM", "0.500", "1.000", "+0.500"]
    assert [line.rsplit("  ", 6)[0].strip() for line in lines[2:4]] == ["EM", "F1"]
    assert lines[-2:] == ["Left out: 1 only in A.", f"{found.verdict}."]
