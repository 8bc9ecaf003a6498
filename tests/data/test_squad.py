"""SQuAD's files and rows, and MRQA's: each question with its answers, and each context once as a passage."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Example, Passage
from ragr1_lite.data.questions import read_questions, read_set
from ragr1_lite.retrieval import read_corpus

TEXT = "Oste Mill was built in 1874 by Hanna Bell."
WHO = {"id": "q1", "question": "Who built Oste Mill?", "answers": [{"text": "Hanna Bell", "answer_start": 31}]}
WHEN = {
    "id": "q2",
    "question": "When was it built?",
    "answers": [{"text": "1874"}, {"text": "in 1874"}, {"text": "1874"}],
}
WHY = {"id": "q3", "question": "Why was it built?", "answers": [], "is_impossible": True}
FILE = {"version": "1.1", "data": [{"title": "Oste Mill", "paragraphs": [{"context": TEXT, "qas": [WHO, WHEN, WHY]}]}]}
ROW = {
    "id": "q1",
    "title": "Oste Mill",
    "context": TEXT,
    "question": "Who built Oste Mill?",
    "answers": {"text": ["Hanna Bell"], "answer_start": [31]},
}
EXPECTED = Example("q1", "Who built Oste Mill?", ("Hanna Bell",), hops=1, titles=("Oste Mill",))
PASSAGE = Passage("0", "Oste Mill", TEXT)


def saved(folder: Path, content: Any, name: str = "set.json") -> Path:
    rows = content if isinstance(content, list) else [content]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("swap", [False, True], ids=["version first", "data first"])
@pytest.mark.parametrize("name", ["set.json", "set.jsonl", "set"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_of_articles(swap: bool, name: str, indent: int | None, tmp_path: Path) -> None:
    if indent and name.endswith("jsonl"):
        pytest.skip("these are no lines")
    fields = dict(reversed(FILE.items())) if swap else FILE
    (tmp_path / name).write_text(json.dumps(fields, indent=indent), encoding="utf-8")
    notices: list[object] = []
    first, second = read_questions(tmp_path / name, report=notices.append)
    assert (first.example, second.example.answers) == (EXPECTED, ("1874", "in 1874"))
    assert [one.text for one in notices if isinstance(one, Notice)] == [
        "Left out 1 questions that their set says cannot be answered"
    ]
    assert list(read_corpus([tmp_path / name])) == [PASSAGE], "each context is one passage"


def test_rows(tmp_path: Path) -> None:
    unanswerable = ROW | {"id": "q3", "answers": {"text": [], "answer_start": []}}
    path = saved(tmp_path, [ROW, unanswerable, ROW | {"id": "q4", "context": "Another text."}], "rows.jsonl")
    found = read_set(path)
    assert [one.example.id for one in found.questions] == ["q1", "q4"] and found.questions[0].example == EXPECTED
    assert (found.unanswerable, found.bad, dict(found.forms)) == (1, 0, {"SQuAD": 2})
    assert [one.text for one in read_corpus([path])] == [TEXT, "Another text."]


def test_parquet_as_the_hub_has_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([ROW]), path)
    assert [one.example for one in read_questions(path)] == [EXPECTED]
    assert list(read_corpus([path])) == [PASSAGE]


def test_a_table_holds_the_answers_as_pandas_spells_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(ROW))
        table.writeheader()
        table.writerow(ROW)
    assert [one.example for one in read_questions(path)] == [EXPECTED]
    assert list(read_corpus([path])) == [PASSAGE]


def test_mrqa_has_a_paragraph_a_line_after_a_header(tmp_path: Path) -> None:
    question = {"qid": "a", "question": "Who built Oste Mill?", "answers": ["Hanna Bell"], "detected_answers": []}
    lines = [{"header": {"dataset": "X"}}, {"id": "", "context": TEXT, "qas": [question, question | {"qid": "b"}]}]
    path = saved(tmp_path, lines, "mrqa.jsonl")
    assert [(one.example.id, one.example.answers) for one in read_questions(path)] == [
        ("a", ("Hanna Bell",)),
        ("b", ("Hanna Bell",)),
    ]
    assert list(read_corpus([path])) == [Passage("0", "", TEXT)]


def test_a_long_context_is_cut_as_a_long_text_is(tmp_path: Path) -> None:
    text = "\n\n".join(f"Part {number} " + "of the story goes on and on. " * 12 for number in range(40))
    found = list(read_corpus([saved(tmp_path, [ROW | {"context": text}], "rows.jsonl")]))
    assert len(found) > 10 and found[0].id == "0#1" and {one.title for one in found} == {"Oste Mill"}
