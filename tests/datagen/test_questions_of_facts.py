"""What passages and files hold as facts, and nothing that only looks like one."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.rewards import normalize
from ragr1_lite.core.types import Passage
from ragr1_lite.datagen.gold.values import Quantity, forms, read_date, read_quantity
from ragr1_lite.datagen.questions.facts import Fact, ground, read_facts
from ragr1_lite.datagen.questions.structured import facts_of
from ragr1_lite.retrieval import Bm25Searcher


def said(text: str, title: str = "Oakvale", id: str = "oakvale.md#1", before: str = "") -> list[tuple[str, str, str]]:
    return [fact.triple for fact in facts_of(Passage(id, title, text), before)]


# Values


@given(st.dates(min_value=date(100, 1, 1)))
def test_every_form_of_a_day_is_that_day(day: date) -> None:
    for text in forms(str(day)):
        assert read_date(text) == (day.year, day.month, day.day)


@given(st.integers(0, 10**9), st.sampled_from(["", " m", " km²", "%", " people"]))
def test_every_form_of_a_number_is_that_number(number: int, unit: str) -> None:
    for text in forms(f"{number:,}{unit}"):
        assert (read := read_quantity(text)) is not None and read.number == number


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("340 metres", Quantity(340, "m")),
        ("340 m", Quantity(340, "m")),
        ("1.5 million", Quantity(1_500_000)),
        ("-12 °C", Quantity(-12, "°c")),
        ("1,5", None),
        ("nine", Quantity(9)),
        ("1 in 46", None),
        ("12 Main Street, Oakvale", None),
        ("room 12", None),
    ],
)
def test_quantities(text: str, quantity: Quantity | None) -> None:
    assert read_quantity(text) == quantity


def test_a_year_is_a_date_only_where_one_is_asked_for() -> None:
    assert read_date("1987") is None
    assert read_date("1987", years=True) == (1987, 0, 0)
    assert read_date("1987-13-01") is None
    assert forms("1987") == ("1987",)


def test_a_small_number_is_written_in_words_too() -> None:
    assert (forms("9"), forms("nine"), forms("1 in 46")) == (("9", "nine"), ("nine", "9"), ("1 in 46",))


# Passages


def test_lines_of_keys_are_about_the_title() -> None:
    text = "Oakvale is a town.\n- Mayor: Ada Quill (since 2010)\nPopulation: 3,210\n**Founded:** 1612"
    assert said(text, "Oakvale (town)") == [
        ("Oakvale (town)", "Mayor", "Ada Quill"),
        ("Oakvale (town)", "Population", "3,210"),
        ("Oakvale (town)", "Founded", "1612"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "Twin towns: Ashby, Marn",
        "Rivers: Lenn and Orr",
        "Note: bring boots",
        "See also: Ashby",
        "Founded: 1612 Mayor: Ada Quill",
        "Open: yes",
        "Homepage: https://oakvale.example",
        "History: The town was founded by monks who had come from the sea.",
        "Then she said: go home",
        "Mayor:",
        "12:30 the train leaves",
    ],
)
def test_what_is_no_single_fact_is_left(line: str) -> None:
    assert said(f"Oakvale is a town.\n{line}") == []


def test_lines_under_another_heading_are_about_something_else() -> None:
    assert said("Oakvale\nMayor: Ada Quill\nThe old mill\nHeight: 12 m\nKey facts\nPopulation: 3,210") == [
        ("Oakvale", "Mayor", "Ada Quill"),
        ("Oakvale", "Population", "3,210"),
    ]


def test_the_beginning_of_a_later_passage_may_be_under_a_heading_before_it() -> None:
    text = "Height: 12 m\nOakvale\nMayor: Ada Quill"
    assert said(text, id="oakvale.md#2") == [("Oakvale", "Mayor", "Ada Quill")]
    assert len(said(text, id="oakvale.md#1")) == 2


TABLE = "Light | Height | Keeper\nCrow Rock | 31 m | Odo Marsh\nLong Spit | 22 m | unknown"


def test_rows_of_a_table_are_about_their_first_cell() -> None:
    facts = [("Crow Rock", "Height", "31 m"), ("Crow Rock", "Keeper", "Odo Marsh"), ("Long Spit", "Height", "22 m")]
    assert said(f"Three lights.\n{TABLE}", "Lights") == facts
    head, *rows = TABLE.splitlines()
    assert said("\n".join([f"| {head} |", "|---|:-:|---|", *(f"| {row} |" for row in rows)]), "Lights") == facts


def test_a_document_may_begin_with_a_table_and_a_table_may_go_on_under_its_header() -> None:
    assert len(said(TABLE, "Lights", "lights.csv#1")) == 3
    head, *_, row = TABLE.splitlines()
    goes_on = f"{head}\nBlack Hook | 9 m |"
    assert said(goes_on, "Lights", "lights.csv#2", TABLE) == [("Black Hook", "Height", "9 m")]
    for lead in ("", "Lights of Oste\n"):
        rows = f"{lead}Crow Rock | tall | Odo Marsh\nLong Spit | low | Ada Quill"
        assert said(rows, "Lights", "lights.csv#2", f"{lead}Light | 1st row | 2nd row\n{row}") == []


def test_a_table_without_a_sure_header_is_left() -> None:
    assert said(TABLE, "Lights", "lights.csv#2") == said(TABLE, "Lights", "42") == []
    assert said("Lights.\nCrow Rock | 31 m\nLong Spit | 22 m", "Lights") == []
    assert said("Lights.\nLight | Height\nCrow Rock | 31 m | Odo", "Lights") == []


@pytest.mark.parametrize("header", ["Field | Value", "| Oakvale", "Item | Oakvale"])
def test_a_table_of_fields_is_about_the_title(header: str) -> None:
    assert said(f"Data\n{header}\nMayor | Ada Quill") == [("Oakvale", "Mayor", "Ada Quill")]


@pytest.mark.parametrize("subject", ["--out", "all", "FOLDER", "A disk that is full", "One, two"])
def test_a_row_without_a_name_is_no_subject(subject: str) -> None:
    assert said(f"Data\nOption | Default\n{subject} | required") == []


WHEN_AND_WHERE = [("born", "1866"), ("place of birth", "Dorley")]
GULL_BRIDGE = [("built", "1703"), ("built by", "Ada Quill"), ("arches", "five")]
DIRECTED = [("directed by", "Ada B. Quill")]


@pytest.mark.parametrize(
    ("title", "text", "facts"),
    [
        ("Bo Lind", "Bo K. Lind (born 4 May 1961) is a poet.", [("born", "4 May 1961")]),
        ("Bo Lind", "Bo Lind (1 May 1900 – 3 June 1961) sang.", [("born", "1 May 1900"), ("died", "3 June 1961")]),
        ("Bo Lind", "Bo Lind sang.\nEarly life\nHe was born in 1866 in Dorley, a town.", WHEN_AND_WHERE),
        ("Gull Bridge", "The bridge was built in 1703 by Ada Quill. It has five arches.", GULL_BRIDGE),
        ("Gulls (film)", "Gulls is a 1959 film directed by Ada B. Quill, and starring Bo Lind.", DIRECTED),
        (
            "Hern",
            "Hern is 12 miles long. It was opened at last on 4 May 1961.",
            [("long", "12 miles"), ("opened", "4 May 1961")],
        ),
    ],
)
def test_sure_sentences(title: str, text: str, facts: list[tuple[str, str]]) -> None:
    assert said(text, title) == [(title, *fact) for fact in facts]


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Chad", "The boat was built in 1961."),
        ("Chad", "Chad is dry. The boat is old. It was built in 1961."),
        ("Chad", "Chad is dry.\nThe old mill\nIt was built in 1961."),
        ("Chad", "Chad was awarded a cup in 1961."),
        ("Chad", "Chad was used in 1961 boats."),
        ("Chad", "Chad has seven of them."),
        ("Gulls (film)", "Gulls is a 1959 film directed by Ada Quill and Bo Lind."),
        ("Quill Family", "Ada Quill (born 4 May 1961) and her brothers are a band."),
    ],
)
def test_sentences_that_may_mean_something_else_are_left(title: str, text: str) -> None:
    assert said(text, title) == []


# Files


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.jsonl", '{"subject": "Oakvale", "relation": "mayor", "object": "Ada Quill"}\n'),
        ("f.jsonl", '{"question": "q", "evidences": [["Oakvale", "mayor", "Ada Quill"]]}\n'),
        ("f.json", '[{"subject": "Oakvale", "relation": "mayor", "object": "Ada Quill"}]'),
        ("f.csv", 'id,object,Subject,relation\n1,"Ada Quill",Oakvale,mayor\n'),
        ("f.tsv", "subject\tpredicate\tvalue\nOakvale\tmayor\tAda Quill\n"),
    ],
)
def test_facts_are_read_from_every_form(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert list(read_facts(path)) == [Fact("Oakvale", "mayor", "Ada Quill")]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("f.jsonl", '{"subject": "Oakvale", "relation": "mayor"}'),
        ("f.jsonl", '{"evidences": [["Oakvale", "mayor"]]}'),
        ("f.jsonl", '{"evidences": "Oakvale"}'),
        ("f.csv", "Oakvale,mayor"),
        ("f.csv", 'Oakvale,mayor,"Ada'),
    ],
)
def test_bad_lines_are_named_and_the_good_ones_kept(tmp_path: Path, name: str, bad: str) -> None:
    good = (
        "Oakvale,mayor,Ada Quill" if name == "f.csv" else json.dumps({"evidences": [["Oakvale", "mayor", "Ada Quill"]]})
    )
    head = ["subject,relation,object"] if name == "f.csv" else []
    path = tmp_path / name
    path.write_text("\n".join([*head, good, bad, good]) + "\n", encoding="utf-8")
    notices: list[object] = []
    assert [fact.triple for fact in read_facts(path, notices.append)] == [("Oakvale", "mayor", "Ada Quill")] * 2
    (notice,) = notices
    assert isinstance(notice, Notice) and f"{path}:{len(head) + 2}" in notice.text


@pytest.mark.parametrize(("name", "text"), [("f.csv", "a,b,c\n1,2,3\n"), ("f.jsonl", "{}\n"), ("f.csv", "")])
def test_a_file_without_facts_is_said_in_a_sentence(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="f\\."):
        list(read_facts(path))


# Grounding


def grounded(facts: list[Fact], *passages: tuple[str, str]) -> tuple[list[Fact], dict[str, int]]:
    index = Bm25Searcher.from_passages(Passage(str(i), *one) for i, one in enumerate(passages))
    kept, rejected = ground(facts, index)
    return kept, dict(rejected)


def test_a_fact_gets_the_title_of_the_passage_that_says_so() -> None:
    facts = [Fact("Oakvale", "Mayor", "Ada Quill"), Fact("Oakvale", "born", "5 October 1987")]
    passages = (
        ("Ada Quill", "She lives in Oakvale."),
        ("Oakvale", "Ada Quill rules it."),
        ("B", "October 5, 1987: Oakvale."),
    )
    kept, rejected = grounded(facts, *passages)
    assert [(fact.title, fact.relation) for fact in kept] == [("Oakvale", "mayor"), ("B", "date of birth")]
    assert rejected == {}


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ([Fact("Oakvale", "mayor", "Bo Lind")], "fact: no passage says so"),
        ([Fact("Marn", "mayor", "Ada Quill")], "fact: no passage says so"),
        ([Fact("Oakvale", "mayor", one, "Oakvale") for one in ("Ada", "Bo")], "fact: more than one answer"),
        ([Fact("Rook", "height", "12 m", "Rook")], "fact: several passages with the subject's name"),
        ([Fact("Rook (a", "height", "12 m", "Rook")], "fact: a name that cannot be asked by"),
    ],
)
def test_a_fact_that_is_not_sure_is_rejected(facts: list[Fact], reason: str) -> None:
    passages = (
        ("Oakvale", "Ada Quill rules Oakvale."),
        ("Rook", "12 m high."),
        ("Rook (bird)", "A rook."),
        ("C", "Marn."),
    )
    kept, rejected = grounded(facts, *passages)
    assert (kept, rejected) == ([], {reason: len(facts)})


def test_the_same_fact_in_two_forms_is_one() -> None:
    facts = [Fact("Bo", "born", "5 October 1987", "Bo"), Fact("Bo", "date of birth", "October 5, 1987", "Bo")]
    kept, rejected = grounded(facts, ("Bo", "Bo (born 5 October 1987) sings."))
    assert [fact.object for fact in kept] == ["5 October 1987"]
    assert rejected == {"fact: said twice": 1}


def test_a_namesake_is_asked_by_its_whole_title() -> None:
    facts = [Fact("Rook (film)", "director", "Ada Quill", "Rook (film)")]
    kept, _ = grounded(facts, ("Rook (film)", "A film."), ("Rook (bird)", "A bird."), ("Other", "Other."))
    assert [(fact.subject, fact.key) for fact in kept] == [("Rook (film)", "Rook (film)")]
    kept, _ = grounded(facts, ("Rook (film)", "A film."), ("Other", "Other."))
    assert [(fact.subject, fact.key) for fact in kept] == [("Rook", "Rook (film)")]


def test_normalised_forms_of_an_answer_differ_in_more_than_commas() -> None:
    assert {normalize(form) for form in forms("12,300 m")} == {"12300 m", "12300", "12300 metres", "12300 meters"}
