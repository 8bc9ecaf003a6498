"""Shots: the same ones for a seed, with the steps that a set knows, and never what is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.types import Example, Shot
from ragr1_lite.data.sets import load_shots
from ragr1_lite.world import questions


def saved(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture
def train(tmp_path: Path) -> str:
    return saved(tmp_path / "train.jsonl", *({"question": f"Of {n}?", "answers": [f"a{n}", "x"]} for n in range(9)))


def test_a_seed_draws_the_same_ones(train: str) -> None:
    drawn = [load_shots(4, "mine.jsonl", train, [], seed=seed) for seed in range(5)]
    assert drawn == [load_shots(4, "mine.jsonl", train, [], seed=seed) for seed in range(5)]
    assert len(set(drawn)) > 1 and all(len(set(shots)) == 4 for shots in drawn)
    assert all(shot.answer == f"a{shot.question[3]}" and not shot.thought for shots in drawn for shot in shots)


def test_what_is_asked_is_left_out_and_changes_no_other(train: str) -> None:
    whole = load_shots(9, "mine.jsonl", train, [])
    asked = [Example("1", "of  3?", ("a3",)), Example("2", "Of 5?", ("a5",))]
    rest = load_shots(7, "mine.jsonl", train, asked)
    assert list(rest) == [shot for shot in whole if shot.question not in ("Of 3?", "Of 5?")]
    with pytest.raises(DataError, match="has 7 questions that are not asked, fewer than --shots 8"):
        load_shots(8, "mine.jsonl", train, asked)


def test_the_world_has_a_training_split_and_thoughts() -> None:
    asked = [one.example for one in questions("test", limit=50)]
    shots = load_shots(3, "world", None, asked, seed=1)
    known = {one.example.question: one for one in questions("train")}
    assert len(set(shots)) == 3 and shots != load_shots(3, "world", None, asked, seed=2)
    assert all(shot.thought == known[shot.question].multi.think for shot in shots)
    assert {shot.answer for shot in shots} <= {one.example.answers[0] for one in known.values()}


def test_steps_of_a_set_are_the_thought(tmp_path: Path) -> None:
    hops = [
        {"question": "Who made Heat?", "answer": "Mann"},
        {"question": "Where was #1 born?", "answer": "Chicago"},
    ]
    first = {"id": "1", "question": "Where was Heat's maker born?", "answer": "Chicago", "question_decomposition": hops}
    facts = [["Heat", "director", "Mann"], ["Mann", "place of birth", "Chicago"]]
    second = {"id": "2", "question": "Where?", "answer": "Chicago", "evidences": facts}
    shots = load_shots(2, "mine.jsonl", saved(tmp_path / "x.jsonl", first, second), [])
    assert set(shots) == {
        Shot(first["question"], "Chicago", "Who made Heat? Mann. Where was Mann born? Chicago."),
        Shot("Where?", "Chicago", "Heat director Mann. Mann place of birth Chicago."),
    }


def test_questions_of_ones_own_need_a_source() -> None:
    with pytest.raises(ConfigError, match=r"--shots needs --shots-from: .* mine\.jsonl"):
        load_shots(1, "mine.jsonl", None, [])
