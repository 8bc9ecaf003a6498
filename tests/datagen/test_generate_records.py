"""Malformed trajectory lines: one sentence each, with file and line, and the good ones are kept."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Example, Passage
from ragr1_lite.data.trajectories import no_record, read_records, to_record, write_rows
from tests.support.scripted import ScriptedSampler, ScriptedSearcher

GOOD: dict[str, Any] = {
    "id": "q",
    "question": "Which?",
    "answers": ["Chad"],
    "kind": "bridge",
    "hops": 2,
    "pass_rate": 0.5,
    "answer": "Chad",
    "stop_reason": "answer",
    "turns": [
        {
            "kind": "search",
            "think": "t",
            "queries": ["a", "b"],
            "passages": [[{"id": "1", "title": "A", "text": "x", "score": 1}], []],
        },
        {"kind": "answer", "think": "t", "queries": [], "passages": []},
    ],
    "seed": 7,
    "teacher": "gold",
}


def with_value(path: str, value: Any) -> str:
    """The good line with something else in one place."""
    row = copy.deepcopy(GOOD)
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    place: Any = row
    for key in parents:
        place = place[key]
    place[last] = value
    return json.dumps(row)


MALFORMED = [
    (with_value("question", 5), "`question` is not text"),
    (with_value("question", " "), "`question` is empty"),
    (with_value("answers", "Chad"), "`answers` is not a list"),
    (with_value("answers", ["Chad", 3]), "`answers` holds something that is not text"),
    (with_value("answers", [""]), "`answers` are empty"),
    (with_value("answers", None), "`answers` is not a list"),
    (with_value("id", ["q"]), "`id` is not text or a number"),
    (with_value("kind", 3), "`kind` is not text"),
    (with_value("hops", "two"), "`hops` is not a whole number"),
    (with_value("hops", True), "`hops` is not a whole number"),
    (with_value("pass_rate", "0.5"), "`pass_rate` is not a number"),
    (with_value("answer", ["Chad"]), "`answer` is not text"),
    (with_value("answer", ""), "`answer` is empty"),
    (with_value("turns", {}), "`turns` is not a list"),
    (with_value("turns", "search"), "`turns` is not a list"),
    (with_value("turns", [[]]), "`turns` holds something that is not an object"),
    (with_value("turns.0.kind", 1), "`kind` is not text"),
    (with_value("turns.0.think", 5), "`think` is not text"),
    (with_value("turns.1.think", None), "`think` is not text"),
    (with_value("turns.0.queries", "a"), "`queries` is not a list"),
    (with_value("turns.0.queries", ["a", 2]), "`queries` holds something that is not text"),
    (with_value("turns.0.queries", ["a"]), "`passages` are not as many as `queries`"),
    (with_value("turns.0.passages", {}), "`passages` is not a list"),
    (with_value("turns.0.passages", ["ab", "c"]), "`passages` holds something that is not a list"),
    (with_value("turns.0.passages.0", ["x"]), "`passages` holds something that is not an object"),
    (with_value("turns.0.passages.0.0.text", 5), "`text` is not text"),
    (with_value("turns.0.passages.0.0.title", None), "`title` is not text"),
    (with_value("turns.0.passages.0.0.id", 1), "`id` is not text"),
    (with_value("turns.0.passages.0.0.score", "high"), "`score` is not a number"),
    ('{"id": 1', "is not JSON"),
    ("[]", "is not a JSON object"),
    ('"a trajectory"', "is not a JSON object"),
    (json.dumps(GOOD)[:-1] + ', "x": "\\ud800"}', "has half of a surrogate pair"),
    (b'{"question": "caf\xe9"}', "is not UTF-8"),
]


@pytest.mark.parametrize(("line", "reason"), MALFORMED, ids=[reason for _, reason in MALFORMED])
def test_a_malformed_line_is_one_sentence_and_the_good_ones_are_kept(
    tmp_path: Path, line: str | bytes, reason: str
) -> None:
    path, good = tmp_path / "t.jsonl", json.dumps(GOOD).encode()
    bad = line.encode() if isinstance(line, str) else line
    path.write_bytes(b"\n".join([good, bad, good]))
    events: list[object] = []
    assert len(read_records(path, report=events.append)) == 2
    [notice] = events
    assert isinstance(notice, Notice) and f"{path}:2 " in notice.text and reason in notice.text
    path.write_bytes(bad)
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert f"{path}:1 " in caught.value.message and reason in caught.value.message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "There is nothing in"),
        (b"\n \n", "There is nothing in"),
        (b"\0\0", "is binary"),
        (b"[" * 10**5, "is not JSON"),
        (b"x" * (2**24 + 1), "is longer than 16 MiB"),
    ],
    ids=["empty", "blank", "binary", "deep", "endless"],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_records(path)


def test_the_good_line_is_read_whole(tmp_path: Path) -> None:
    write_rows(tmp_path / "t", [GOOD])
    [record] = read_records(tmp_path / "t")
    assert record.example == Example("q", "Which?", ("Chad",), "bridge", 2, 0.5)
    assert record.turns[0].passages == ((Passage("1", "A", "x", 1),), ())
    assert record.turns[0].queries == ("a", "b") and record.answer == "Chad"


def test_a_question_without_a_trajectory_is_a_record_that_teaches_nothing(tmp_path: Path) -> None:
    asked = Example("q", "Which?", ("Chad",), hops=3, pass_rate=0.0)
    write_rows(tmp_path / "t", [no_record(asked)])
    with pytest.raises(DataError, match=r"No trajectory in .* ends in an answer"):
        read_records(tmp_path / "t")


@pytest.mark.parametrize("example", [Example("q", "Which?", ("a", "b"), "k", 2, 0.25), Example("q", "Which?", ("a",))])
def test_what_is_known_of_a_question_is_kept(tmp_path: Path, example: Example) -> None:
    sampler = ScriptedSampler(["<think>t</think><answer>a</answer>"])
    [one] = run_rollouts([example], sampler, ScriptedSearcher(), protocol=Protocol(), limits=Limits())
    write_rows(tmp_path / "t", [to_record(one)])
    assert [record.example for record in read_records(tmp_path / "t")] == [example]
    assert ("hops" in to_record(one)) == bool(example.hops)
