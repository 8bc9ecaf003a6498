"""Question files: what is read of a row, which rows are drawn, and that what is written is read back equal."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Example
from ragr1_lite.data.questions import Hop, Question, Summary, described, read_questions, read_set, to_row
from ragr1_lite.data.questions.fields import flattened, texts_of
from ragr1_lite.data.questions.forms import FORMS, KEYS, parse_question
from ragr1_lite.data.sets import load_examples
from ragr1_lite.files.json_lines import BadLine


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


def parsed(**row: Any) -> Question:
    return parse_question({"question": "Q?", "answers": ["a"]} | row, 0)[1]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "Q?", "answers": ["a", "b"]}, Example("0", "Q?", ("a", "b"))),
        ({"id": "x1", "question": " Q? ", "answers": ["a"], "kind": "bridge"}, Example("x1", "Q?", ("a",), "bridge")),
        ({"id": 7, "question": "Q?", "golden_answers": ["a"]}, Example("7", "Q?", ("a",))),
        ({"id": 0, "question": "Q?", "answer": "a"}, Example("0", "Q?", ("a",))),
        ({"id": None, "question": "Q?", "answer": ["a"], "type": "list"}, Example("0", "Q?", ("a",), "list")),
        ({"question": "Q?", "answers": None, "answer": "a"}, Example("0", "Q?", ("a",))),
        ({"question": "Q?", "answers": [" a", "b", "a", ""]}, Example("0", "Q?", ("a", "b"))),
        ({"question": "Q?", "answer": "a", "aliases": ["b", "a"]}, Example("0", "Q?", ("a", "b"))),
        ({"question": "São Tomé 東京?", "answers": ["é"]}, Example("0", "São Tomé 東京?", ("é",))),
        ({"question": "Q?", "answer": "[REC]"}, Example("0", "Q?", ("[REC]",))),
        ({"question": "Q?", "answers": "['a', \"b's\"]"}, Example("0", "Q?", ("a", "b's"))),
        ({"question": "Q?", "answers": ["a"], "hops": 3, "pass_rate": 1}, Example("0", "Q?", ("a",), "", 3, 1.0)),
        ({"question": "Q?", "answers": r"['a\d', 'b']"}, Example("0", "Q?", (r"a\d", "b"))),
        ({"question": "Q?", "answers": json.dumps(["a"] * 50_000)}, Example("0", "Q?", ("a",))),
        ({"id": "2hop__1_2", "question": "Q?", "answer": "a"}, Example("2hop__1_2", "Q?", ("a",), "2hop")),
        (
            {"question": "Q?", "answers": ["a"], "type": "b", "metadata": {"type": "c", "ID": "7"}},
            Example("7", "Q?", ("a",), "b"),
        ),
        ({"question": "Q?", "answers": ["a"], "turns": None}, Example("0", "Q?", ("a",))),
        ({"question": "Q?", "answers": ["a"], "answer": "b", "turns": []}, Example("0", "Q?", ("a",))),
        ({"question": "Q?", "answers": ["a"], "type": ["x"], "kind": ""}, Example("0", "Q?", ("a",))),
    ],
)
@pytest.mark.parametrize("name", ["q.jsonl", "q.jsonl.gz", "q"])
def test_what_is_read_of_a_question(tmp_path: Path, row: dict[str, Any], expected: Example, name: str) -> None:
    assert read_questions(write(tmp_path, row, name=name)) == [Question(expected)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"answers": ["a"]}, "has no `question`"),
        ({"question": " ", "answers": ["a"]}, "has no `question`"),
        ({"question": ["Q?"], "answers": ["a"]}, "has no `question`"),
        ({"text": "a passage", "id": 1}, "has no `question` and no `answers`, only `text`, `id`"),
        ({"prompt": [{"role": "user", "content": "Hello"}], "answers": ["a"]}, "has no `question`"),
        ({"question": "Q?"}, "has no `answers`"),
        ({"question": "Q?", "answers": []}, "has no `answers`"),
        ({"question": "Q?", "answers": [""]}, "has no `answers`"),
        ({"question": "Q?", "answer": {"value": "<unk>", "aliases": []}}, "has no `answers`"),
        ({"question": "Q?", "answers": [["a"]]}, "has `answers` that are no texts but a list within a list"),
        ({"question": "Q?", "answers": ["a", None]}, "has `answers` that are no texts but nothing"),
        ({"question": "Q?", "answers": {"a": 1}}, "has `answers` that are no texts but an object"),
        ('{"question": "Q?", "answer": NaN}', "has no `answers`"),
        ({"question": "Q?", "answers": "['a' 'b']"}, "has `answers` in a text that should spell a list"),
        ({"question": "Q?", "answers": "['a'\n 'b']"}, "has `answers` in a text that should spell a list"),
        ({"question": "Q?", "answers": "['a', 'b'"}, "has `answers` in a text that should spell a list"),
        ({"question": "Q?", "answers": "['a', __import__('os')]"}, "has `answers` in a text that should spell a list"),
        ({"question": "Q?", "answers": "['a', None]"}, "has `answers` that are no texts but nothing"),
        ({"question": "Q?", "answers": '["\\ud800"]'}, "has half of a surrogate pair"),
        ({"question": "Q?", "answers": ["a"], "hops": -1}, "has `hops` that is no whole number"),
        ({"question": "Q?", "answers": ["a"], "hops": 1.5}, "has `hops` that is no whole number"),
        ({"question": "Q?", "answers": ["a"], "pass_rate": 1.01}, "has a `pass_rate` that is no number from 0 to 1"),
        ('{"question": "Q?", "answers": ["a"], "pass_rate": NaN}', "has a `pass_rate` that is no number"),
        ({"question": "Q?", "answer": "what a model said", "turns": []}, "has no `answers`"),
        ({"question": "Q?", "answer": "a", "trajectory": "x"}, "is a trajectory, not a question"),
        ({"question": "Q?", "answers": ["a"], "gold_titles": [1]}, "has `gold_titles` that are no texts but a number"),
        ("{broken", "is not JSON"),
        ("[1, 2]", "is not a JSON object"),
        (b'{"question": "\xff"}', "is not UTF-8"),
        ('{"question": "\\ud800", "answers": ["a"]}', "has half of a surrogate pair"),
        ('{"question": ' + "[" * 100_000, "is not JSON"),
        ({"question": "Q?", "answers": "['" + "[" * 5000}, "has `answers` in a text that should spell a list"),
        ({"question": "Q?", "answers": "['a'," + "-" * 50_000 + "1]"}, "has `answers` in a text that should"),
        ({"question": "Q?", "answers": "['a'," + "'b'," * 50_000 + "]"}, "has `answers` in a text that should"),
        ({"question": "Q?", "answers": "['a'," + "(" * 5000 + ")" * 5000 + "]"}, "has `answers` in a text that should"),
    ],
)
def test_a_bad_row_is_named_with_its_file_and_line(tmp_path: Path, line: Any, reason: str) -> None:
    good = {"question": "Q?", "answers": ["a"]}
    path = write(tmp_path, good, "", line, good)
    events: list[object] = []
    assert [one.example.id for one in read_questions(path, report=events.append)] == ["0", "1"]
    [notice] = events
    assert isinstance(notice, Notice)
    assert notice.level == "warning"
    assert f"{path}:3 {reason}" in notice.text
    with pytest.raises(DataError) as caught:
        read_questions(write(tmp_path, line))
    assert caught.value.message.startswith(f"There is no question in {path}; the first: {path}:1 {reason}")
    assert '{"question": "…", "answers": ["…"]}' in caught.value.hint


@pytest.mark.parametrize(
    "row",
    [
        {"supporting_facts": [1]},
        {"supporting_facts": ["Chad"]},
        {"supporting_facts": 3},
        {"supporting_facts": [{"sent_id": 1}]},
        {"supporting_facts": [[]]},
        {"supporting_facts": {"sent_id": [0]}},
        {"supporting_facts": {"title": "Chad", "sent_id": [0]}},
        {"supporting_facts": "[['Chad'"},
        {"evidences": [["two", "parts"]]},
        {"evidences": ["abc"]},
        {"evidences": [{"fact": "a", "entity": "c"}]},
        {"evidences": "not a list"},
        {"evidences": {"fact": ["a"], "relation": ["b"], "entity": []}},
        {"evidences": [["a", "b", 3]]},
        {"question_decomposition": [{"question": "no answer"}]},
        {"question_decomposition": [{"question": "#1", "answer": 3}]},
        {"question_decomposition": ["#1"]},
        {"question_decomposition": [{"question": "a", "answer": "b"}], "paragraphs": [{"idx": 0}]},
    ],
)
def test_supporting_facts_of_another_form_make_a_bad_row(row: dict[str, Any]) -> None:
    with pytest.raises(BadLine, match=f"has (a )?`{next(iter(row))}`"):
        parsed(**row)


@pytest.mark.parametrize(
    ("row", "titles", "hops"),
    [
        ({}, (), 0),
        ({"gold_titles": ["B", " A", "B"]}, ("B", "A"), 2),
        ({"gold_titles": ["A"], "supporting_facts": [["B", 0]]}, ("A",), 1),
        ({"supporting_facts": [["A", 0], ["B", 3], ["A", 1]]}, ("A", "B"), 2),
        ({"supporting_facts": {"title": ["A", "B", "A"], "sent_id": [0, 1, 2]}}, ("A", "B"), 2),
        ({"supporting_facts": [{"title": "A", "sent_id": 0}, {"title": "B", "sent_id": 1}]}, ("A", "B"), 2),
        ({"supporting_facts": '[["A", 0], ["B", 3]]'}, ("A", "B"), 2),
        ({"supporting_facts": "[('A', 0), ('B', 3)]"}, ("A", "B"), 2),
        ({"metadata": {"supporting_facts": {"title": ["A"], "sent_id": [0]}}}, ("A",), 1),
        ({"type": "bridge", "level": "hard"}, (), 2),
        ({"type": "algebra", "level": "hard"}, (), 0),
        ({"gold_titles": ["A", "B"], "hops": 4}, ("A", "B"), 4),
        ({"paragraphs": "of any form, where there is no decomposition"}, (), 0),
    ],
)
def test_gold_titles_and_hops(row: dict[str, Any], titles: tuple[str, ...], hops: int) -> None:
    question = parsed(**row)
    assert (question.example.titles, question.example.hops) == (titles, hops)


@pytest.mark.parametrize(
    "evidences",
    [
        [["A", "b", "C"], [" D", "e", "F "]],
        '[["A", "b", "C"], ["D", "e", "F"]]',
        "[['A', 'b', 'C'], ('D', 'e', 'F')]",
        {"fact": ["A", "D"], "relation": ["b", "e"], "entity": ["C", "F"]},
        {"subject": ["A", "D"], "relation": ["b", "e"], "object": ["C", "F"]},
        [{"fact": "A", "relation": "b", "entity": "C"}, {"fact": "D", "relation": "e", "entity": "F"}],
    ],
)
def test_triples(evidences: object) -> None:
    question = parsed(evidences=evidences)
    assert question.triples == (("A", "b", "C"), ("D", "e", "F"))
    assert question.example.hops == 2


def test_a_prompt_ends_with_its_question() -> None:
    def asked(prompt: object) -> str:
        row = {"prompt": prompt, "golden_answers": ["a"]}
        return parse_question(row, 0)[1].example.question

    text = "Answer the given question. Say <answer> Beijing </answer>. Question: who is\tit? \n"
    assert asked(text) == "who is\tit?"
    assert asked([{"role": "system", "content": "Question: no"}, {"role": "user", "content": text}]) == "who is\tit?"
    assert asked("<|im_start|>user\nQuestion: A? QUESTION : B?<|im_end|>\n<|im_start|>assistant") == "B?"


def test_arrays_of_numpy_are_lists() -> None:
    import numpy as np

    row = flattened({"golden_answers": np.array(["a", "b"], dtype=object)})
    assert texts_of(row["golden_answers"], "golden_answers") == ["a", "b"]
    facts = {"title": np.array(["A", "B"], dtype=object), "sent_id": np.array([0, 1])}
    assert parsed(supporting_facts=facts).example.titles == ("A", "B")
    triples = np.array([["A", "b", "C"]], dtype=object)
    assert parsed(evidences=triples).triples == (("A", "b", "C"),)
    assert parsed(prompt=np.array([{"content": "Question: P?"}], dtype=object), question=None).example.question == "P?"


def test_every_key_that_a_form_names_is_read_from_tables() -> None:
    named = {key.partition(".")[0] for form in FORMS for key in (*form.answers, *form.aliases, *form.kinds)}
    assert named <= {*KEYS}
    assert FORMS[-1].fits({}), "the last form takes what is left"


def test_ids_are_unique_over_all_sources(tmp_path: Path) -> None:
    row = {"question": "Q?", "answers": ["a"]}
    first = write(tmp_path, row, row | {"id": "x"}, row | {"id": "x"}, row | {"id": "x-2"}, name="a.jsonl")
    second = write(tmp_path, row | {"id": "x"}, row, row | {"id": "5"}, name="b.jsonl")
    ids = [one.example.id for one in read_questions([first, second])]
    assert ids == ["0", "x", "x-2", "x-2-2", "x-3", "5", "5-2"]
    assert ids == [one.example.id for one in read_questions([first, second])]
    third = write(tmp_path, row | {"id": "y-2"}, row | {"id": "y"}, row | {"id": "y"}, name="c.jsonl")
    assert [one.example.id for one in read_questions(third)] == ["y-2", "y", "y-3"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no question file .*none.jsonl"):
        read_questions(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="is a folder, not a question file"):
        read_questions(tmp_path)
    with pytest.raises(DataError, match=r"There is no question in .*data.jsonl\. "):
        read_questions(write(tmp_path))
    with pytest.raises(DataError, match="There is no question in .*empty.jsonl"):
        good = write(tmp_path, {"question": "Q?", "answers": ["a"]}, name="good.jsonl")
        read_questions([good, write(tmp_path, name="empty.jsonl")])
    (tmp_path / "x.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="is not a whole gzip file"):
        read_questions(tmp_path / "x.jsonl.gz")


def test_another_kind_of_file_is_given_up_soon(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"11 of the first 11 rows cannot be used; the first: .*:1 has no `question`"):
        read_questions(write(tmp_path, *[{"text": "a passage"}] * 1000))


def test_what_a_set_calls_unanswerable_is_left_out(tmp_path: Path) -> None:
    row = {"question": "Q?", "answers": ["a"]}
    events: list[object] = []
    path = write(tmp_path, row | {"answerable": True}, *[row | {"answerable": False}] * 20)
    assert len(read_questions(path, report=events.append)) == 1
    assert events == [Notice("Left out 20 questions that their set says cannot be answered")]


def test_a_limit_is_a_draw_by_seed(tmp_path: Path) -> None:
    rows = [{"id": str(i), "question": f"{i}?", "answers": ["a"], "kind": "ab"[i % 2]} for i in range(40)]
    path = write(tmp_path, *rows)

    def ids(**options: Any) -> list[int]:
        return [int(one.id) for one in load_examples(str(path), "dev", **options)]

    assert ids() == list(range(40))
    assert ids(limit=100, seed=1) != ids(limit=100, seed=2)
    assert sorted(ids(limit=100)) == list(range(40))
    assert ids(limit=5, seed=1) == ids(limit=5, seed=1) != ids(limit=5, seed=2)
    assert ids(kinds=["a"]) == list(range(0, 40, 2))
    assert ids(kinds=["a"], limit=5, seed=1) != ids(kinds=["a"], limit=5, seed=2), "drawn, not the first five"
    assert all(i % 2 == 0 for i in ids(kinds=["a"], limit=5))
    assert ids(kinds=["c"]) == []


text = st.text(min_size=1, max_size=12).map(str.strip).filter(bool).filter(lambda one: not one.startswith("<unk>"))
questions = st.builds(
    Question,
    st.builds(
        Example,
        id=text,
        question=text,
        answers=st.lists(text, min_size=1, max_size=3, unique=True).map(tuple),
        kind=st.just("") | text,
        hops=st.integers(0, 9),
        pass_rate=st.none() | st.floats(0, 1),
        titles=st.lists(text, max_size=3, unique=True).map(tuple),
    ),
    st.lists(st.builds(Hop, text, text, st.just("") | text), max_size=2).map(tuple),
    st.lists(st.tuples(text, text, text), max_size=2).map(tuple),
)


@given(questions)
def test_what_is_written_is_read_back_equal(question: Question) -> None:
    row = json.loads(json.dumps(to_row(question)))
    form, again = parse_question(row, 0)
    assert again == question
    assert form.name == "ragr1-lite"


def test_a_row_says_no_more_than_is_known() -> None:
    question = Question(Example("1", "Q?", ("a",)))
    assert to_row(question) == {
        "id": "1",
        "question": "Q?",
        "answers": ["a"],
        "kind": "",
        "hops": 0,
        "pass_rate": None,
    }
    example = replace(question.example, titles=("A",))
    whole = replace(question, example=example, hops=(Hop("x", "y", "A"),), triples=(("s", "r", "o"),))
    assert to_row(whole) == to_row(question) | {
        "gold_titles": ["A"],
        "question_decomposition": [{"question": "x", "answer": "y", "title": "A"}],
        "evidences": [["s", "r", "o"]],
    }


def test_a_summary_counts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"question": "Who?", "answers": ["a", "b", "c"], "type": "bridge", "supporting_facts": [["A", 0], ["B", 0]]},
        {"question": " who? ", "answers": ["a"], "evidences": [["s", "r", "o"]] * 3},
        {"question": "WHO?", "answers": ["a"], "question_decomposition": [{"question": "x", "answer": "y"}]},
        {"question": "What?", "answers": ["a"]},
        {"question": "What?"},
    )
    found = read_set(path)
    summary = Summary.of(found, samples=2)
    json_form = summary.to_json()
    samples = json_form.pop("samples")
    assert json_form == {
        "form": "HotpotQA + 2WikiMultiHopQA + MuSiQue + plain",
        "questions": 4,
        "by_kind": {"bridge": 1},
        "hops": {"0": 1, "1": 1, "2": 1, "3": 1},
        "aliases": {"mean": 0.5, "max": 2},
        "with": {"titles": 1, "decompositions": 1, "evidences": 1},
        "duplicates": 2,
        "bad": 1,
    }
    rows = [to_row(question) for question in found.questions]
    assert len(samples) == 2 and all(sample in rows for sample in samples)
    assert Summary.of(found, samples=2).samples == summary.samples
    assert len({Summary.of(found, samples=1, seed=seed).samples for seed in range(20)}) > 1
    assert len(Summary.of(found, samples=99).samples) == 4
    assert summary.rows()["hops"] == {"unknown": 1, "1-hop": 1, "2-hop": 1, "3-hop": 1}
    assert summary.rows()["form"] == {"HotpotQA": 1, "2WikiMultiHopQA": 1, "MuSiQue": 1, "plain": 1}
    assert summary.rows()["aliases"] == "0.50 a question, at most 2"


def test_a_question_is_described_by_what_is_known() -> None:
    question = Question(Example("1", "Q?", ("a", "b"), "bridge", 2, titles=("A", "B")), (Hop("x", "y"), Hop("#1", "z")))
    assert described(question) == {
        "Question": "Q?",
        "Answers": "a; b",
        "Kind": "bridge, 2 hops",
        "Gold titles": "A; B",
        "Steps": "x → y\n#1 → z",
    }
    assert described(Question(Example("1", "Q?", ("a",)))) == {"Question": "Q?", "Answers": "a"}


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ({"answer": 1874}, ("1874",)),
        ({"answers": [36, -5, "many"]}, ("36", "-5", "many")),
        ({"answer": True}, ("yes",)),
        ({"answers": [False]}, ("no",)),
        ({"answer": 0}, ("0",)),
        ({"answer": 0.4}, ("0.4",)),
        ({"answer": 1874.0}, ("1874",)),
        ({"answers": "[1, 2.5]"}, ("1", "2.5")),
        ({"answer": "x", "answers": ["y", "x"]}, ("y", "x")),
    ],
)
def test_numbers_and_truths_are_answers(tmp_path: Path, row: dict[str, Any], answers: tuple[str, ...]) -> None:
    [found] = read_questions(write(tmp_path, {"question": "Q?", **row}))
    assert found.example.answers == answers
