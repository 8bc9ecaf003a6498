"""The retrieval ceiling: for how many questions the answer can be retrieved at all, known before a training.

An answer is within reach where one of its spellings is in the title or text of a retrieved passage as whole words, both
normalised as for exact match. It may be there by chance, so this is what the best reader could reach. Of *yes* and *no*
a passage shows nothing: such questions are counted apart, and judged by their gold titles alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ragr1_lite.core.events import Report, ignore, phase
from ragr1_lite.core.rewards import haystack, needle, normalize, title_recall
from ragr1_lite.core.types import Passage, Searcher
from ragr1_lite.data.questions import Question
from ragr1_lite.evaluation.intervals import bootstrap, wilson

CLOSED = frozenset({"yes", "no"})
_REFERENCE = re.compile(r"#\d+")
WAYS = {"question": "the question", "gold_queries": "its gold queries"}
"""What is searched: the question itself, or the sub-queries that its set gives for it."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What one question's searches found, by way; ``None`` where it cannot be said.

    Attributes:
        kind: The question's.
        closed: Whether its answer is yes or no.
        answer: Whether an answer is within the passages found: 1.0 or 0.0.
        titles: Share of the gold titles that is among them.
    """

    kind: str
    closed: bool
    answer: dict[str, float | None]
    titles: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How far an index reaches for a set of questions, ``k`` passages per query."""

    k: int
    reaches: tuple[Reach, ...]

    def figures(self, kind: str | None = None) -> dict[str, Any]:
        """Counts, and what the set allows of each measure and way.

        Returns:
            ``questions``; ``yes_no``; ``answer`` (an answer is within the top k), ``titles`` (recall of gold titles)
            and ``all_titles`` (share of questions with every gold title found), each ``{way: Interval.to_json()}``.
        """
        chosen = [reach for reach in self.reaches if kind is None or reach.kind == kind]
        figures: dict[str, Any] = {"questions": len(chosen), "yes_no": sum(reach.closed for reach in chosen)}
        figures |= {"answer": {}, "titles": {}, "all_titles": {}}
        for way in WAYS:
            answers = [value for reach in chosen if (value := reach.answer[way]) is not None]
            titles = [value for reach in chosen if (value := reach.titles[way]) is not None]
            if answers:
                figures["answer"][way] = wilson(answers).to_json()
            if titles:
                figures["titles"][way] = bootstrap(titles).to_json()
                figures["all_titles"][way] = wilson([float(value == 1) for value in titles]).to_json()
        return figures

    @property
    def kinds(self) -> list[str]:
        """The questions' kinds, in the order they came."""
        return [kind for kind in dict.fromkeys(reach.kind for reach in self.reaches) if kind]

    def to_json(self) -> dict[str, Any]:
        """``k``, the figures over all questions, and the same ``by_kind`` where the questions have kinds."""
        return {"k": self.k, **self.figures(), "by_kind": {kind: self.figures(kind) for kind in self.kinds}}

    def rows(self) -> dict[str, Any]:
        """What a person reads, name by name."""
        figures = self.figures()
        rows: dict[str, Any] = {"questions": figures["questions"], "answered_by_yes_or_no": figures["yes_no"]}
        names = {"answer": "an answer in", "titles": "gold titles in", "all_titles": "every gold title in"}
        for measure, name in names.items():
            for way, one in figures[measure].items():
                bounds = f"{one['mean']:.3f} ({one['low']:.3f} to {one['high']:.3f}) of {one['n']:,}"
                rows[f"{name} the top {self.k} of {WAYS[way]}"] = bounds
        for kind in self.kinds:
            if answers := self.figures(kind)["answer"]:
                rows[f"{kind}: an answer in"] = {WAYS[way]: one["mean"] for way, one in answers.items()}
        return rows


def ceiling(searcher: Searcher, questions: Sequence[Question], k: int, *, report: Report = ignore) -> Ceiling:
    """Searches every question and its gold queries, all in one call, and looks for the answers.

    What the gold queries of a question find counts together, ``k`` passages each.
    """
    gold = [gold_queries(question) for question in questions]
    queries = [query for one, more in zip(questions, gold, strict=True) for query in (one.example.question, *more)]

    @cache
    def searchable(title: str, text: str) -> str:
        """Title and text, normalised each by itself, so that no answer runs from one into the other."""
        return haystack(title) + haystack(text)

    reaches = []
    with phase(report, "Searching questions and gold queries", len(queries), "queries"):
        found = iter(searcher.search(queries, k))
        for question, more in zip(questions, gold, strict=True):
            passages = {"question": next(found)}
            if more:
                passages["gold_queries"] = tuple(passage for _ in more for passage in next(found))
            reaches.append(_reach(question, passages, searchable))
    return Ceiling(k, tuple(reaches))


def gold_queries(question: Question) -> tuple[str, ...]:
    """The searches that a question's set gives for it, each once.

    In this order: the hops, with ``#1`` filled in by the first answer; subject and relation of the triples; else the
    gold titles, without the parentheses that distinguish namesakes.
    """
    if question.hops:
        answers = {f"#{number}": hop.answer for number, hop in enumerate(question.hops, start=1)}
        filled = [_REFERENCE.sub(lambda mark: answers.get(mark[0], mark[0]), hop.question) for hop in question.hops]
        queries = [query.replace(" >> ", " ") for query in filled]
    elif question.triples:
        queries = [f"{subject} {relation}" for subject, relation, _ in question.triples]
    else:
        queries = [re.sub(r"\s*\([^)]*\)$", "", title) or title for title in question.example.titles]
    return tuple(dict.fromkeys(queries))


def _reach(question: Question, found: Mapping[str, Sequence[Passage]], searchable: Callable[[str, str], str]) -> Reach:
    wanted = [form for answer in question.example.answers if (form := normalize(answer))]
    closed = not CLOSED.isdisjoint(wanted)
    answer: dict[str, float | None] = dict.fromkeys(WAYS)
    titles: dict[str, float | None] = dict.fromkeys(WAYS)
    for way, passages in found.items():
        if wanted and not closed:
            texts = [searchable(passage.title, passage.text) for passage in passages]
            answer[way] = float(any(needle(form) in text for text in texts for form in wanted))
        titles[way] = title_recall(question.example.titles, passages)
    return Reach(question.example.kind, closed, answer, titles)
