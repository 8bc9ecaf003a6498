"""Facts of supporting passages, as HotpotQA names them: what they say is not told, only that they are needed."""

from __future__ import annotations

from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.facts import Fact, Query
from ragr1_lite.datagen.gold.text import clean, content, keywords, plain, words


def of_titles(question: Question) -> tuple[Fact, ...]:
    """One fact a gold passage: the passage itself."""
    asked = question.example.question
    titles = sorted(question.example.titles, key=lambda title: _place(plain(title), asked))
    return tuple(_of_title(title, asked) for title in titles)


def _place(name: str, question: str) -> int:
    """Where a question names a passage; after its end where it does not."""
    at = f" {words(question)} ".find(f" {words(name)} ")
    return at if at >= 0 else len(question)


def _of_title(title: str, question: str) -> Fact:
    """A gold passage; that it can be looked up by its name needs the name to be known."""
    name = plain(title)
    kind = [word for word in content(title[len(name) :]) if word in words(question).split()] if name != title else []
    ways = dict.fromkeys(clean(way) for way in (name, " ".join([name, *kind]), keywords(question)))
    return Fact(tuple(Query(way, (name,)) for way in ways), name, title=title)
