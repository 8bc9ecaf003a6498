"""`data generate --unanswerable`: gold trajectories that search in vain and say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite import world
from ragr1_lite.assistant import Setup
from ragr1_lite.core.errors import ConfigError, RunError
from ragr1_lite.core.protocol import NOT_FOUND
from ragr1_lite.data.trajectories import read_records
from ragr1_lite.datagen.generate import generate
from ragr1_lite.datagen.rejection import ELSEWHERE

GOLD = Setup(model="gold", index="world", k=2, batch_size=4)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """The world's, with the titles of all but some passages that hold their facts: capitals have one of their own."""
    rows = [
        {"id": one.id, "question": one.question, "answers": [*one.answers], "gold_titles": [*one.titles]}
        for one in (each.example for each in world.questions("train", limit=16, kinds=["one-hop"]))
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_refusals_are_written_of_what_the_documents_do_not_hold(questions: Path, tmp_path: Path) -> None:
    paths = {"out": tmp_path / "t.jsonl", "rejected": tmp_path / "r.jsonl"}
    counts = generate(questions, GOLD, unanswerable=0.5, **paths)
    kept, others = read_records(paths["out"]), rows_of(paths["rejected"])
    refused = [one for one in kept if one.example.hidden]
    elsewhere = [row for row in others if row["reason"] == ELSEWHERE]
    assert len(refused) + len(elsewhere) == 8 and refused and elsewhere
    assert all(one.answer == NOT_FOUND and one.example.answers == (NOT_FOUND,) for one in refused)
    assert not {one.title for each in refused for one in each.found} & {
        name for one in refused for name in one.example.hidden
    }
    assert all(row["hidden"] and row["answer"] == NOT_FOUND for row in elsewhere)
    assert generate(questions, GOLD, unanswerable=0.5, **paths, resume=True) == counts
    generate(questions, GOLD, out=tmp_path / "plain.jsonl")
    plain = {row["id"]: row for row in rows_of(tmp_path / "plain.jsonl")}
    same = [row for row in rows_of(paths["out"]) if "hidden" not in row]
    assert same and all({**row, "seed": 0} == {**plain[row["id"]], "seed": 0} for row in same)


def test_an_interrupted_run_goes_on_with_the_same_share_alone(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(questions, GOLD, out=tmp_path / "whole.jsonl", unanswerable=0.5)
    module = "ragr1_lite.datagen.generate.compose_plans"
    from ragr1_lite.datagen.gold import compose_plans

    calls: list[int] = []

    def stops(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compose_plans(*arguments, **options)

    out = tmp_path / "t.jsonl"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, stops)
        generate(questions, GOLD, out=out, unanswerable=0.5)
    with pytest.raises(RunError, match="unanswerable"):
        generate(questions, GOLD, out=out, resume=True)
    generate(questions, GOLD, out=out, unanswerable=0.5, resume=True)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_other_teachers_are_not_told_to_refuse(questions: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Only the gold teacher"):
        generate(questions, Setup(model="smollm2-135m", index="world"), out=tmp_path / "t.jsonl", unanswerable=0.5)
