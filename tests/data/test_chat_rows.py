"""Rows for chat training: a whole trajectory in our tags is one, everything else is refused by its form's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.config import load_recipe
from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Example, GoldPlan, Passage, Step
from ragr1_lite.data.gold import ByteTokenizer, gold_trajectories
from ragr1_lite.data.questions import read_questions
from ragr1_lite.data.sets import replay
from ragr1_lite.data.trajectories import read_records, write_records
from ragr1_lite.training import sft
from tests.support.scripted import ScriptedSearcher

QUESTION = "Who built Oste Mill?"
SEARCH = "<think>Search.</think><search>Oste Mill builder</search>"
INFORMATION = "<information>Doc 1: Oste Mill. It was built by Hanna Bell. Doc 2: St. Ost. A saint.</information>"
ANSWER = "<think>So.</think><answer>Hanna Bell</answer>"
PROMPT = f"Think inside <think></think>, then search or answer.\nQuestion: {QUESTION}"
ALPACA = {"instruction": QUESTION, "input": "", "output": f"{SEARCH}\n{INFORMATION}\n{ANSWER}"}
SHAREGPT = {
    "conversations": [
        {"from": "system", "value": "You are kind."},
        {"from": "human", "value": PROMPT},
        {"from": "gpt", "value": SEARCH},
        {"from": "observation", "value": INFORMATION},
        {"from": "gpt", "value": ANSWER},
    ]
}
OPENAI = {
    "messages": [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": SEARCH},
        {"role": "tool", "content": INFORMATION},
        {"role": "assistant", "content": ANSWER},
    ]
}
TRL = {"prompt": OPENAI["messages"][:3], "completion": OPENAI["messages"][3:]}


def saved(folder: Path, *rows: dict[str, Any], array: bool = False) -> Path:
    path = folder / ("t.json" if array else "t.jsonl")
    path.write_text(json.dumps(rows) if array else "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("array", [False, True], ids=["lines", "array"])
@pytest.mark.parametrize("row", [ALPACA, SHAREGPT, OPENAI, TRL], ids=["Alpaca", "ShareGPT", "OpenAI", "TRL"])
def test_a_whole_trajectory_in_our_tags_is_one(row: dict[str, Any], array: bool, tmp_path: Path) -> None:
    [record] = read_records(saved(tmp_path, row, array=array))
    search, last = record.turns
    assert record.example == Example("0", QUESTION, ("Hanna Bell",))
    assert (search.think, search.queries) == ("Search.", ("Oste Mill builder",))
    assert search.passages[0][0] == Passage("Oste Mill", "Oste Mill", "It was built by Hanna Bell.")
    assert (last.think, last.answer) == ("So.", "Hanna Bell")
    [replayed] = replay(record, ByteTokenizer(), Protocol("single"), Limits())
    texts = [ByteTokenizer().decode(one.token_ids) for one in replayed.segments[1:]]
    assert texts == [SEARCH, f"\n{INFORMATION}\n", ANSWER], "to the letter"


def test_what_data_segment_writes_is_read_again(tmp_path: Path) -> None:
    """Of the samples of a trajectory the last one is all of it; parallel queries keep their documents."""
    from ragr1_lite.data.targets import samples, to_row

    example = Example("7", "Which is larger?", ("Chad",))
    plan = GoldPlan((Step("Both.", ("Chad", "Mali, larger")),), "Chad.", "Chad")
    tokenizer: Any = ByteTokenizer()
    [made] = gold_trajectories(
        [example], [plan], tokenizer, ScriptedSearcher(), protocol=Protocol(), limits=Limits(k=2)
    )
    for form in ("messages", "sharegpt"):
        rows = [to_row(sample, tokenizer, Protocol(), form) for sample in samples(made)]  # type: ignore[arg-type]
        notices: list[object] = []
        [record] = read_records(saved(tmp_path, *rows), report=notices.append)
        [again] = replay(record, tokenizer, Protocol(), Limits(k=2))
        assert again.segments[1:] == made.segments[1:] and record.example.id == "7"
        [notice] = notices
        assert isinstance(notice, Notice) and "that ends in a search 1" in notice.text


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("Hanna Bell built it.", "is a row for chat training in Alpaca's form that is no trajectory in our tags"),
        (f"{SEARCH}{INFORMATION}Hanna Bell", "is no trajectory in our tags"),
        (f"{SEARCH}{INFORMATION}{ANSWER} more", "is no trajectory in our tags"),
        ("<think>x</think><answer> </answer>", "is no trajectory in our tags"),
        (None, "is no trajectory in our tags"),
        (SEARCH, "a sample in Alpaca's form that ends in a search 1"),
        (f"{SEARCH}{INFORMATION}", "a sample in Alpaca's form that ends in a search 1"),
    ],
)
def test_everything_else_is_refused_by_name(output: Any, reason: str, tmp_path: Path) -> None:
    path = saved(tmp_path, ALPACA | {"output": output}, array=True)
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert reason in caught.value.message and caught.value.message.count("\n") == 0


def test_sft_refuses_them_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sft, "load_trainable", lambda *_: pytest.fail("a model was loaded"))
    path = saved(tmp_path, {"instruction": QUESTION, "input": "", "output": SEARCH}, array=True)
    recipe = load_recipe("sft-own-data", [f"data.train={path}", f"output={tmp_path}/run", "retrieval.index=world"])
    with pytest.raises(DataError, match="in Alpaca's form"):
        sft.train(recipe)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("row", "form"), [(ALPACA, "Alpaca"), (SHAREGPT, "ShareGPT"), (OPENAI, "OpenAI")])
def test_they_are_no_questions(row: dict[str, Any], form: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"is a row for chat training in {form}'s form, not a question"):
        read_questions(saved(tmp_path, row, array=True))


def test_our_own_records_stay_what_they_are(tmp_path: Path) -> None:
    [record] = read_records(saved(tmp_path, OPENAI))
    write_records(tmp_path / "own.jsonl", [record])
    assert read_records(tmp_path / "own.jsonl") == [record]
