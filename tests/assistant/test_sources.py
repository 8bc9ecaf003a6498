"""Where an answer is from: which passages are named, in which order, and what is said of each."""

from __future__ import annotations

import pytest

from ragr1_lite.assistant import Answer, source_of
from ragr1_lite.core.protocol import NOT_FOUND
from ragr1_lite.core.types import Example, Passage, Segment, Trajectory, Turn

MILL = Passage("mill.md#2", "The mill", "The mill was built in 1784.", 2.0, "History")
MILLER = Passage("mill.md#7", "The mill", "Anna Roth is the miller.", 1.5)
CHURCH = Passage("church.pdf#1", "The church", "It was built in 1612.", 1.0, "page 3")
RIVER = Passage("https://example.org/wend", "The Wend", "A mill of 1784 stands on it.", 0.5)


def answer(text: str | None, *turns: Turn) -> Answer:
    last = Turn("answer", "So.", answer=text) if text is not None else Turn("invalid")
    example = Example("q", "When was the mill built?", ())
    return Answer(Trajectory(example, (Segment("prompt", ()),), (*turns, last), "answer"), 1.0)


def search(*found: tuple[Passage, ...], cut: tuple[tuple[Passage, ...], ...] | None = None) -> Turn:
    return Turn("search", queries=tuple(f"query {n}" for n in range(len(found))), passages=found, cut=cut)


def test_those_that_hold_the_answer_come_first_and_each_once() -> None:
    first, second = search((CHURCH, MILL), (MILLER,)), search((MILL, RIVER))
    assert answer("1784", first, second).sources == (MILL, RIVER, CHURCH, MILLER)
    assert answer("1784").sources == () == answer(None, first).sources


def test_a_passage_that_was_once_cut_short_was_read_whole() -> None:
    cut = Passage("mill.md#2", "The mill", "The mill", 2.0, "History")
    whole, short = search((MILL,)), search((MILL,), cut=((cut,),))
    assert [one["id"] for one in answer("1784", whole, short, search((CHURCH,))).cited] == ["mill.md#2"]
    assert answer("1784", short, search((CHURCH,))).sources == (cut, CHURCH)


def test_the_few_to_name_hold_the_answer_where_some_do() -> None:
    assert answer("1784", search((CHURCH, MILL, MILLER), (RIVER,))).cited == [source_of(MILL), source_of(RIVER)]
    many = tuple(Passage(str(number), f"Row {number}", "1784") for number in range(5))
    assert [one["id"] for one in answer("1784", search(many)).cited] == ["0", "1", "2"]
    assert [one["title"] for one in answer("yes", search((CHURCH, MILL))).cited] == ["The church", "The mill"]
    assert answer("1784", search((MILL,))).held and not answer("yes", search((MILL,))).held


def test_passages_of_one_place_are_named_once() -> None:
    parts = tuple(Passage(f"notes.txt#{number}", "Notes", "1784") for number in range(1, 4))
    pages = tuple(Passage(f"book.pdf#{number}", "Book", "1784", place=f"page {number}") for number in range(1, 3))
    cited = answer("1784", search(parts, pages)).cited
    assert [(one["file"], one.get("place")) for one in cited] == [
        ("notes.txt", None),
        ("book.pdf", "page 1"),
        ("book.pdf", "page 2"),
    ]
    rows = [Passage(str(at), title, "1784", file="r.jsonl") for at, title in enumerate(["Mill", "Mill", "", ""])]
    assert [one["title"] for one in answer("1784", search(tuple(rows))).cited] == ["Mill", "", ""]


@pytest.mark.parametrize(
    ("passage", "known"),
    [
        (MILL, {"file": "mill.md", "place": "History"}),
        (MILLER, {"file": "mill.md"}),
        (CHURCH, {"file": "church.pdf", "place": "page 3"}),
        (RIVER, {"url": "https://example.org/wend"}),
        (Passage("https://example.org/a#3", "A", ""), {"url": "https://example.org/a#3"}),
        (Passage("chad-people", "Chad", ""), {}),
        (Passage("Q42#3", "A long row, cut", ""), {}),
        (Passage("a#b.txt#12", "Odd", ""), {"file": "a#b.txt"}),
        (Passage("javascript:alert(1)", "Odd", ""), {}),
    ],
)
def test_what_is_known_of_a_source(passage: Passage, known: dict[str, str]) -> None:
    assert source_of(passage) == {"title": passage.title, "id": passage.id, **known}


def test_the_json_form_names_all_of_them() -> None:
    form = answer("1784", search((CHURCH, MILL))).to_json()
    assert form["sources"] == [{**source_of(MILL), "holds": True}, {**source_of(CHURCH), "holds": False}]


def test_a_refusal_has_no_sources_and_says_so() -> None:
    """Not even a passage that happens to say the same words."""
    words = Passage("notes.md#1", "Notes", "It is not in your documents.")
    for text in (NOT_FOUND, "Not in your documents."):
        refused = answer(text, search((MILL, words)))
        assert refused.refused and not refused.held and refused.sources == () and refused.cited == []
        assert refused.to_json() | {"refused": True, "sources": [], "answer": text} == refused.to_json()
    known = answer("1784", search((MILL,)))
    assert not known.refused and "refused" not in known.to_json() and not answer(None).refused
