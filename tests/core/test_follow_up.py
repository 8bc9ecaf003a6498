"""Follow-ups are made whole by what was asked before; a question that is whole by itself stays as it is."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

import pytest

from ragr1_lite import world
from ragr1_lite.core import follow_up
from ragr1_lite.core.follow_up import whole_question

CAPITAL = ("What is the capital of Chad?", "N'Djamena")
LOWER = ("what is the capital of chad?", "N'Djamena")
AREA = ("What is the area of Chad?", "1,284,000 square kilometres")
NIAMEY = ("Which country has the capital Niamey?", "Niger")
LARGER = ("Which is larger, Chad or Mali?", "Chad")
EMMA = ("Who wrote Emma?", "Jane Austen")
AUSTEN = ("Where was Jane Austen born?", "Steventon")
RADIUM = ("Who discovered radium?", "Marie Curie")


def asked(question: str, *before: tuple[str, str]) -> str:
    messages = [{"role": "system", "content": "Be brief. What about Mali?"}]
    for earlier, answer in before:
        messages += [{"role": "user", "content": earlier}, {"role": "assistant", "content": answer}]
    return whole_question([*messages, {"role": "user", "content": question}])


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(follow_up)
    assert result.attempted and not result.failed


@pytest.mark.parametrize(
    ("before", "question", "whole"),
    [
        # the same of something else
        (CAPITAL, "And of Niger?", "What is the capital of Niger?"),
        (CAPITAL, "and niger", "What is the capital of niger?"),
        (CAPITAL, "What about Burkina Faso?", "What is the capital of Burkina Faso?"),
        (CAPITAL, "And how about the Isle of Man?", "What is the capital of the Isle of Man?"),
        (LOWER, "and of niger?", "what is the capital of niger?"),
        (("Who was king of France in 1700?", "Louis XIV"), "And of Spain?", "Who was king of Spain in 1700?"),
        (("Was Mozart born in Salzburg?", "yes"), "And in Vienna?", "Was Mozart born in Vienna?"),
        (RADIUM, "And polonium?", "Who discovered polonium?"),
        (EMMA, "And Ivanhoe?", "Who wrote Ivanhoe?"),
        # something else of the same
        (CAPITAL, "And the area?", "What is the area of Chad?"),
        (CAPITAL, "And its neighbours?", "What are the neighbours of Chad?"),
        (CAPITAL, "What about the population of Mali?", "What is the population of Mali?"),
        (CAPITAL, "What about the capital of the Netherlands?", "What is the capital of the Netherlands?"),
        (CAPITAL, "And the neighbours of Mali?", "What are the neighbours of Mali?"),
        (CAPITAL, "And the population of its capital?", "What is the population of the capital of Chad?"),
        # pronouns
        (CAPITAL, "How large is it?", "How large is Chad?"),
        (CAPITAL, "Is it larger than Niger?", "Is Chad larger than Niger?"),
        (CAPITAL, "How many people live there?", "How many people live in N'Djamena?"),
        (AREA, "What is its capital?", "What is the capital of Chad?"),
        (AREA, "And what is its highest point?", "What is the highest point of Chad?"),
        (NIAMEY, "What is its area?", "What is the area of Niger?"),
        (LARGER, "What is its capital?", "What is the capital of Chad?"),
        (LARGER, "What are their capitals?", "What are the capitals of Chad and Mali?"),
        (EMMA, "When was she born?", "When was Jane Austen born?"),
        (EMMA, "When was her first book published?", "When was Jane Austen's first book published?"),
        (EMMA, "When was it written?", "When was Emma written?"),
        (AUSTEN, "In which year did she die?", "In which year did Jane Austen die?"),
        (AUSTEN, "Who was her father?", "Who was the father of Jane Austen?"),
        (AUSTEN, "What did she write?", "What did Jane Austen write?"),
        (RADIUM, "What is its symbol?", "What is the symbol of radium?"),
    ],
)
def test_a_follow_up_is_made_whole(before: tuple[str, str], question: str, whole: str) -> None:
    assert asked(question, before) == whole


def test_one_follow_up_leads_to_the_next() -> None:
    spoken = (CAPITAL, ("And of Niger?", "Niamey"), ("What is its area?", "1,267,000 square kilometres"))
    assert asked("And the highest point?", *spoken) == "What is the highest point of Niger?"


@pytest.mark.parametrize("before", [CAPITAL, LOWER, NIAMEY, LARGER, EMMA, AUSTEN, RADIUM])
@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Niger?",
        "what is the capital of niger and what is its area?",
        "Which country has Niamey as its capital?",
        "Which country changed its capital in 1997?",
        "Which planet spins on its side?",
        "What animal lays its eggs in other nests?",
        "Which river is longer, and where does it end?",
        "How old was Mozart when he died?",
        "Mozart wrote it when?",
        "Before he died, where did Mozart live?",
        "How old was he when Mozart died?",
        "And which is larger, Chad or Mali?",
        "And when was Jane Austen born?",
        "And Then There Were None was written by whom?",
        "And Quiet Flows the Don is by whom?",
        "How long does it take to boil an egg?",
        "Is it true that Chad is larger?",
        "What time is it in Chad?",
        "Why is it dark at night?",
        "How many countries are there?",
        "What is there to see?",
        "  Which is larger,  Chad or Mali? ",
        "Thanks!",
        "Why?",
        "Wie heißt seine Hauptstadt?",
        "",
    ],
)
def test_a_whole_question_is_not_touched(question: str, before: tuple[str, str]) -> None:
    assert asked(question, before) == question == asked(question)


def test_no_question_of_the_world_or_of_our_examples_is_changed_by_another() -> None:
    questions = [one.example.question for split in world.SPLITS for one in world.questions(split)]
    pages = Path(__file__).parents[2] / "examples" / "pages"
    for file in sorted(pages.rglob("*.jsonl")):
        rows = map(json.loads, file.read_text("utf-8").splitlines())
        questions += [row["question"] for row in rows]
    assert len(questions) > 1000
    changed = [
        (before, question)
        for before, question in zip(questions, questions[1:], strict=False)
        if asked(question, (before, "Chad")) != question
    ]
    assert changed == []


@pytest.mark.parametrize(
    ("before", "question"),
    [
        (LARGER, "And Niger?"),  # in the place of which?
        (("What are the capitals of Chad and Mali?", "N'Djamena, Bamako"), "How many people live there?"),
        (("Was Mozart born in Salzburg?", "yes"), "When did he die?"),
        (("Was Mozart born in Salzburg?", "yes"), "And Haydn?"),
        (("Hello!", "Hello."), "What is its capital?"),
        (("Who was it?", "no idea, 3"), "When was she born?"),
    ],
)
def test_what_is_not_clear_stays(before: tuple[str, str], question: str) -> None:
    assert asked(question, before) == question


def test_nothing_was_asked() -> None:
    assert whole_question([]) == ""
    assert whole_question([{"role": "assistant", "content": "Hello. What about Chad?"}]) == ""
