"""Question files that are refused in one sentence, and rows that are skipped and named."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
from pathlib import Path

import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.data.questions import read_questions, read_set
from ragr1_lite.retrieval import build_index
from tests.data.test_question_forms import (
    HOTPOTQA,
    MUSIQUE,
    POPQA,
    SHARED,
    WIKI2,
    array,
    file,
    jsonl,
    parquet,
)

ROW = {"question": "Who?", "answers": ["Idriss Déby"]}
ROWS = jsonl(*[ROW] * 3)
MEGABYTES_50 = b'{"question": "' + b"x" * 50_000_000 + b'", "answers": ["a"]}\n'
DEEP = b'{"question": "Who?", "answers": ' + b"[" * 50_000 + b"]" * 50_000 + b"}\n"
CORPUS = jsonl(*[{"id": str(number), "title": "Chad", "text": "A country."} for number in range(50)])
NO_ANSWERS = jsonl(*[{"_id": str(number), "text": "A claim.", "metadata": {}} for number in range(50)])

REFUSED: list[tuple[str, bytes, str]] = [
    ("empty.jsonl", b"", "There is no question in {path}"),
    ("blank.jsonl", b"\n \n\t\n", "There is no question in {path}"),
    ("empty.json", b"", "There is no question in {path}"),
    ("empty_list.json", b"[]", "There is no question in {path}"),
    ("empty.csv", b"", "There is no question in {path}"),
    ("header_only.csv", b"question,answer\n", "There is no question in {path}"),
    ("unknown", b"", "The question file {path} is of no known form"),
    ("unknown.toml", b"[a]\nb = 1\n", "The question file {path} is of no known form"),
    ("notes.md", b"# Chad\n\nA country.\n", "The question file {path} is of no known form"),
    ("page.html", b"<html><body>Chad</body></html>", "{path} is a document, not a question file"),
    ("paper.pdf", b"%PDF-1.7\n", "{path} is a document, not a question file"),
    ("word.doc", b"\xd0\xcf\x11\xe0\0\0", "The question file {path} is binary and of no known form"),
    ("binary.jsonl", ROWS + b"\0\1\2\n", "{path}:4 is binary, not text in UTF-8"),
    ("utf16.jsonl", ROWS.decode().encode("utf-16-le"), "{path}:1 is binary, not text in UTF-8"),
    ("utf16.csv", "question,answer\nWho?,a\n".encode("utf-16-be"), "{path}:1 is binary, not text in UTF-8"),
    ("long.jsonl", MEGABYTES_50, "There is no question in {path}; the first: {path}:1 is longer than 16 MiB"),
    ("long.json", b"[" + MEGABYTES_50 + b"]", "{path} has an element that is broken or longer than 16 MiB"),
    ("cut.jsonl.gz", gzip.compress(ROWS * 99)[:-9], "{path} is not a whole gzip file (*)"),
    ("no.jsonl.gz", b"no gzip", "{path} is not a whole gzip file (*)"),
    ("cut.jsonl.xz", lzma.compress(ROWS * 99)[:-9], "{path} is not a whole xz file (*)"),
    ("cut.json", array(*[ROW] * 3)[:-30], "{path} is cut off or not JSON after its element 2 (*)"),
    ("broken.json", b'[{"question": "Who?" "answers": 1}]', "{path} is cut off or not JSON after its element 0 (*)"),
    ("deep.json", b"[" + DEEP + b"]", "{path} is cut off or not JSON after its element 0 (nested too deeply)"),
    ("pretty.json", json.dumps(ROW, indent=1).encode(), "There is no question in {path}; the first: {path} row 1 is*"),
    ("lists.json", b"[[1, 2], [3]]", "There is no question in {path}; the first: {path} row 1 is not a JSON object"),
    ("latin.csv", b"question,answer\nO\xf9?,l\xe0\n", "There is no question in {path}; *:2 is not UTF-8"),
    (
        "columns.csv",
        b"id,text\n1,Chad\n",
        "{path} has the columns `id`, `text`, but none of them is `question` or `prompt`",
    ),
    ("foreign.csv", b"Frage,Antwort\nWer?,er\n", "{path} has no header that names its 2 columns"),
    ("numbers.tsv", b"a\tb\tc\n1\t2\t3\n", "{path} has no header that names its 3 columns"),
    (
        "columns.parquet",
        parquet({"id": "1", "text": "x"}),
        "{path} has the columns `id`, `text`, but none of them is `question` or `prompt`",
    ),
    (
        "typed.parquet",
        parquet({"question": 1, "answers": 2}),
        "There is no question in {path}; *row 1 has no `question`",
    ),
    ("cut.parquet", parquet(ROW)[:-20], "{path} is not a whole Parquet file (*)"),
    (
        "corpus.jsonl",
        CORPUS,
        "11 of the first 11 rows cannot be used; the first: {path}:1 "
        "has no `question` and no `answers`, only `id`, `title`, *",
    ),
    (
        "queries.jsonl",
        NO_ANSWERS,
        "11 of the first 11 rows cannot be used; the first: {path}:1 "
        "has no `question` and no `answers`, only `_id`, `text`",
    ),
    (
        "test.jsonl",
        jsonl(*[{"question": "Who?"}] * 50),
        "11 of the first 11 rows cannot be used; the first: {path}:1 has no `answers`",
    ),
]


@pytest.mark.parametrize(("name", "data", "sentence"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_a_file_is_refused_in_one_sentence(tmp_path: Path, name: str, data: bytes, sentence: str) -> None:
    path = file(tmp_path, name, data)
    with pytest.raises(DataError) as caught:
        read_questions(path)
    pattern = re.escape(sentence.replace("{path}", str(path))).replace(r"\*", ".*")
    assert re.fullmatch(pattern, caught.value.message), caught.value.message
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert caught.value.hint


SKIPPED: list[tuple[str, bytes, str]] = [
    ("json.jsonl", ROWS + b'{"question": "Who?", "answers": ["a"]\n' + ROWS, ":4 is not JSON (*)"),
    ("latin.jsonl", ROWS + '{"question": "Où?"}\n'.encode("latin-1") + ROWS, ":4 is not UTF-8"),
    ("cp1252.csv", b"question,answer\nWho?,a\nO\xf9?,b\nWhere?,c\n", ":3 is not UTF-8"),
    ("surrogate.jsonl", ROWS + b'{"question": "\\ud83d", "answers": ["a"]}\n', ":4 has half of a surrogate pair"),
    (
        "surrogate.json",
        b'[{"question": "\\ud83d", "answers": ["a"]}, ' + ROWS[:-1].split(b"\n")[0] + b"]",
        " row 1 has *",
    ),
    ("long.jsonl", ROWS + MEGABYTES_50 + ROWS, ":4 is longer than 16 MiB"),
    ("long.csv", b"question,answer\nWho?,a\nWho?," + b"x" * 50_000_000 + b"\nWhere?,c\n", ":3 is longer than 16 MiB"),
    ("deep.jsonl", ROWS + DEEP, ":4 is not JSON (*)"),
    ("missing.jsonl", ROWS + jsonl({"question": "Who?"}), ":4 has no `answers`"),
    ("null.jsonl", ROWS + jsonl({"question": "Who?", "answers": None}), ":4 has no `answers`"),
    ("dict.jsonl", ROWS + jsonl({"question": "Who?", "answer": {"a": "b"}}), ":4 has `answer` that are no * an object"),
    ("nested.jsonl", ROWS + jsonl({"question": "Who?", "answers": [["a"]]}), ":4 has `answers` * a list within a list"),
    ("blanks.jsonl", ROWS + jsonl({"question": "Who?", "answers": ["", " "]}), ":4 has no `answers`"),
    ("asked.jsonl", ROWS + jsonl({"question": " ", "answers": ["a"]}), ":4 has no `question`"),
    ("list.jsonl", ROWS + b"[1]\n", ":4 is not a JSON object"),
    ("short.csv", b"question,answer\nWho?,a\nWho?\nWhere?,c\n", ":3 has 1 column, not 2"),
    (
        "spelled.tsv",
        b"who\t['a']\nwhere\t['a'\nwhen\t['c']\n",
        ":2 has `answers` in a text that should spell a list and does not",
    ),
    (
        "code.tsv",
        b"who\t['a']\nwhere\t['a', open('b')]\n",
        ":2 has `answers` in a text that should spell a list and does not",
    ),
    (
        "numpy.tsv",
        b"who\t['a']\nwhere\t['a' 'b']\n",
        ":2 has `answers` in a text that should spell a list and does not",
    ),
    ("nothing.tsv", b"who\t['a']\nwhere\t['a', None]\n", ":2 has `answers` that are no texts but nothing"),
    ("popqa.jsonl", jsonl(POPQA, POPQA | {"possible_answers": '["a'}), ":2 has `possible_answers` in a text *"),
    ("titles.json", array(HOTPOTQA, HOTPOTQA | {"supporting_facts": ["Chad"]}), " row 2 has `supporting_facts` *"),
    ("hops.jsonl", jsonl(MUSIQUE, MUSIQUE | {"question_decomposition": [{}]}), ":2 has a `question_decomposition` *"),
    ("triples.json", array(WIKI2, WIKI2 | {"evidences": [["a", "b"]]}), " row 2 has `evidences` of an unknown form"),
]


@pytest.mark.parametrize(("name", "data", "reason"), SKIPPED, ids=[name for name, *_ in SKIPPED])
def test_a_bad_row_is_skipped_and_named(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    path = file(tmp_path, name, data)
    events: list[object] = []
    found = read_set(path, report=events.append)
    assert found.questions
    assert found.bad == 1
    [notice] = events
    assert isinstance(notice, Notice) and notice.level == "warning"
    pattern = re.escape(f"Skipped 1 of {len(found.questions) + 1} rows: {path}{reason}").replace(r"\*", ".*")
    assert re.fullmatch(pattern, notice.text), notice.text


def test_bad_rows_among_very_many_are_borne_up_to_one_in_a_hundred(tmp_path: Path) -> None:
    many = jsonl(*[ROW] * 2000)
    assert read_set(file(tmp_path, "q.jsonl", many + b"{\n" * 20)).bad == 20
    with pytest.raises(
        DataError, match=r"21 of the first 2021 rows cannot be used; the first: .*q.jsonl:2001 is not JSON"
    ):
        read_set(file(tmp_path, "q.jsonl", many + b"{\n" * 40))


def test_what_is_no_file(tmp_path: Path) -> None:
    def refusal(source: str | Path) -> str:
        with pytest.raises(DataError) as caught:
            read_questions(source)
        return caught.value.message

    none, pipe, index = tmp_path / "none.jsonl", tmp_path / "pipe.jsonl", tmp_path / "index"
    assert refusal(none) == f"There is no question file {none}"
    assert refusal(tmp_path) == f"{tmp_path} is a folder, not a question file"
    build_index([Passage("1", "Chad", "A country.")], index)
    assert refusal(index) == f"{index} is a folder, not a question file"
    os.mkfifo(pipe)
    assert refusal(pipe) == f"The question file {pipe} is no ordinary file"


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "scifact_queries.jsonl.gz").is_file(), reason="needs shared data")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("scifact_queries", "has no `question` and no `answers`, only `_id`, `text`"),
        ("corpus_hotpotqa", "has no `question` and no `answers`, only `id`, `title`, `text`"),
        ("trajectories_r1searcher_hotpotqa", "is a trajectory, not a question"),
    ],
)
def test_real_files_that_hold_no_questions(name: str, reason: str) -> None:
    path = SHARED / f"{name}.jsonl.gz"
    with pytest.raises(DataError) as caught:
        read_questions(path)
    assert caught.value.message == f"11 of the first 11 rows cannot be used; the first: {path}:1 {reason}"
