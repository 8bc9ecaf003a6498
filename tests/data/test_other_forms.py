"""Trajectories of others: R1-Searcher's are read as our own, rows for chat training are refused by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.config import load_recipe
from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rewards import exact_match
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Passage, Turn
from ragr1_lite.data.gold import ByteTokenizer
from ragr1_lite.data.sets import replay, training_trajectories
from ragr1_lite.data.trajectories import read_records
from ragr1_lite.data.viewing import view

SHARED = Path(os.environ.get("RAGR1_LITE_SHARED", Path(__file__).parents[3] / "shared")) / "data"
FILE = SHARED / "trajectories_r1searcher_hotpotqa.jsonl.gz"
WIDE = Limits(max_rounds=9, k=5, document_tokens=10**6, total_document_tokens=10**7, max_length=10**8)

TEXT = """I do not know it. The query to search for is "<|begin_of_query|> pearl, Chad <|end_of_query|>

<|begin_of_documents|>
(1)Title: Chad Text:  A country.
(2)"Title: Faya (town) Text:  It is ""the pearl"".

(3) Its palms are many."
<|end_of_documents|>

The pearl is Faya, of the "north".
<|begin_of_query|> Faya palms<|end_of_query|>
<|begin_of_documents|>
<|end_of_documents|>

It has palms.</think>

<answer> Faya </answer>"""
GOOD = {"question": "Which is the pearl?", "answer": "Faya", "pred": " Faya ", "n_search": 2, "trajectory": TEXT}
WRONG = GOOD | {"answer": "Mao"}
BROKEN = GOOD | {"trajectory": TEXT.partition("</think>")[0]}


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_thoughts_queries_passages_and_the_answer_are_kept(tmp_path: Path) -> None:
    events: list[object] = []
    [record] = read_records(write(tmp_path, WRONG, GOOD, BROKEN), report=events.append)
    assert record.turns == (
        Turn(
            "search",
            "I do not know it. The query to search for is",
            ("pearl, Chad",),
            passages=(
                (
                    Passage("Chad", "Chad", "A country."),
                    Passage("Faya (town)", "Faya (town)", 'It is "the pearl".\n\n(3) Its palms are many.'),
                ),
            ),
        ),
        Turn("search", 'The pearl is Faya, of the "north".', ("Faya palms",), passages=((),)),
        Turn("answer", "It has palms.", answer="Faya"),
    )
    assert (record.example.question, record.example.answers) == ("Which is the pearl?", ("Faya",))
    [notice] = events
    assert isinstance(notice, Notice)
    assert notice.text == ("2 of 3 trajectories are left out: wrong answer 1, no answer, or tags that do not fit 1.")


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("<|end_of_query|>", "", 1),
        TEXT.replace("<|begin_of_documents|>", "<|begin_of_query|>", 1),
        TEXT.replace("Title: Chad Text:", "Title: Chad"),
        TEXT.replace("(1)Title", "Title"),
        TEXT.replace("<|end_of_query|>\n", "<|end_of_query|> nothing "),
        TEXT.replace(" Faya palms", " "),
        TEXT.replace(" Faya </answer>", "</answer>"),
        TEXT + " more",
        "",
    ],
)
def test_what_does_not_fit_is_left_out(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, GOOD | {"trajectory": text})
    with pytest.raises(DataError, match="No trajectory in .* ends in an answer"):
        read_records(path)
    [viewed] = view(path)
    assert viewed.trajectory.turns == () and not viewed.right


def test_a_tag_of_ours_in_their_documents_is_harmless(tmp_path: Path) -> None:
    [record] = read_records(write(tmp_path, GOOD | {"trajectory": TEXT.replace("country", "<answer>Mao</answer>")}))
    [replayed] = replay(record, ByteTokenizer(), Protocol(), Limits())
    text = ByteTokenizer().decode(replayed.token_ids)
    assert "‹answer›Mao‹/answer›" in text and text.count("<answer>") == 2, "the instruction's, and the answer's own"


def test_it_is_trained_shown_and_cut_like_our_own(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, WRONG)
    recipe = load_recipe("sft-own-data", [f"data.train={path}"])
    [trained] = training_trajectories(recipe, ByteTokenizer())
    written = [ByteTokenizer().decode(one.token_ids) for one in trained.segments if one.source == "model"]
    assert written == [
        '<think>I do not know it. The query to search for is</think><search>"pearl, Chad"</search>',
        '<think>The pearl is Faya, of the "north".</think><search>Faya palms</search>',
        "<think>It has palms.</think><answer>Faya</answer>",
    ]
    assert [one.right for one in view(path)] == [True, False]
    assert [one.to_json()["answer"] for one in view(path)] == ["Faya", "Faya"]


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({"instruction": "Answer.", "input": "Q?", "output": "A"}, "Alpaca"),
        ({"conversations": [{"from": "human", "value": "Q?"}]}, "ShareGPT"),
        ({"messages": [{"role": "user", "content": "Q?"}]}, "OpenAI"),
    ],
)
def test_rows_for_chat_training_are_refused_by_name(tmp_path: Path, row: dict[str, Any], form: str) -> None:
    path = write(tmp_path, row)
    for read in (read_records, view):
        with pytest.raises(DataError) as caught:
            read(path)
        assert caught.value.message == (
            f"There is nothing in {path}; the first: {path}:1 is a row for chat training in {form}'s form "
            "that is no trajectory in our tags (<think>, <search>, <information>, <answer>)"
        )


@pytest.mark.shared
@pytest.mark.skipif(not FILE.is_file(), reason="needs shared data")
def test_their_published_trajectories() -> None:
    events: list[object] = []
    records = read_records(FILE, report=events.append)
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "421 of 1,000 trajectories are left out: wrong answer 421."
    ]
    assert all(exact_match(record.answer, record.example.answers) for record in records)
    assert all(len(found) == 5 for record in records for turn in record.turns for found in turn.passages)
    assert sum(record.rounds for record in records) == 1342
    assert all(replay(one, ByteTokenizer(), Protocol(), WIDE) for one in records[:50]), "each can be trained"
