"""Trajectories for SFT from a question set. The ``gold`` teacher composes them from the set's supporting facts.

HotpotQA's form is read: each question names the titles of its gold passages. What a trajectory retrieves is real; it is
kept only where the search found the gold passages and the answer stands in them.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.config import RetrievalConfig
from ragr1_lite.core import Example, Mode, Passage, Searcher, Trajectory
from ragr1_lite.data.files import QUESTION_FORM, parse_question, write_records
from ragr1_lite.data.gold import ByteTokenizer, gold_trajectories
from ragr1_lite.errors import DataError
from ragr1_lite.events import Report, ignore
from ragr1_lite.jsonlines import BadLine, read_rows
from ragr1_lite.plans import GoldPlan, Step
from ragr1_lite.protocol import Protocol
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.rewards import normalize
from ragr1_lite.rollout import Limits

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“(])")
_LONGEST_SENTENCE = 40
"""Words of a passage's sentence that a thought may quote."""


@dataclass(frozen=True, slots=True)
class Supported:
    """A question with the titles of its gold passages, in reading order."""

    example: Example
    titles: tuple[str, ...]


class Rejected(Exception):
    """Why a question gives no trajectory."""


def generate(
    questions: Path,
    *,
    index: str,
    out: Path,
    teacher: str = "gold",
    mode: Mode = "multi",
    limit: int | None = None,
    k: int | None = None,
    report: Report = ignore,
) -> dict[str, Any]:
    """Writes one trajectory per question that can be answered from what its searches find.

    Args:
        questions: Question file with ``gold_titles`` or ``supporting_facts`` and ``type``.
        index: ``world`` or an index folder.
        out: The trajectory file to write.
        teacher: ``gold``.
        mode: ``multi``: independent titles are searched at once. ``single``: one after the other.
        limit: At most this many questions.
        k: Passages per query; by default what recipes take.
        report: Receives notices.

    Returns:
        ``{"questions", "kept", "rejected": {reason: n}, "rounds", "queries", "by_kind": {kind: kept}}``, rounds and
        queries being means over what was kept.

    Raises:
        DataError: The file has no such questions, or nothing could be kept.
    """
    if teacher != "gold":
        raise DataError(f"There is no teacher {teacher!r}", "Use --teacher gold.")
    searcher = open_searcher(index, report)
    supported = list(read_rows(questions, _parse, QUESTION_FORM + " It needs `gold_titles` too.", report))[:limit]
    trajectories, rejected = compose(supported, searcher, mode=mode, k=k or RetrievalConfig().k)
    if not trajectories:
        raise DataError(
            f"No question of {questions} gave a trajectory ({dict(rejected)})", "Check that the index fits."
        )
    write_records(out, trajectories)
    return {
        "questions": len(supported),
        "kept": len(trajectories),
        "rejected": dict(rejected),
        "rounds": round(statistics.fmean(one.rounds for one in trajectories), 3),
        "queries": round(statistics.fmean(one.queries for one in trajectories), 3),
        "by_kind": dict(Counter(one.example.kind for one in trajectories)),
    }


def compose(
    supported: Sequence[Supported], searcher: Searcher, *, mode: Mode, k: int
) -> tuple[list[Trajectory], Counter[str]]:
    """Trajectories of the questions that can be kept, and how many were rejected for which reason.

    All questions' searches are one call to the searcher; the kept ones are then replayed by rollouts.
    """
    searches = [_searches(one, mode) for one in supported]
    found = iter(searcher.search([query for rounds in searches for queries in rounds for query in queries], k))
    examples: list[Example] = []
    plans: list[GoldPlan] = []
    rejected: Counter[str] = Counter()
    for one, rounds in zip(supported, searches, strict=True):
        passages = [passage for queries in rounds for _ in queries for passage in next(found)]
        try:
            plans.append(_plan(one, rounds, passages))
            examples.append(one.example)
        except Rejected as reason:
            rejected[str(reason)] += 1
    text = ByteTokenizer()
    limits = Limits(max_rounds=8, k=k, document_tokens=10**6, total_document_tokens=10**8, max_length=10**9)
    kept = gold_trajectories(examples, plans, text, searcher, protocol=Protocol(mode), limits=limits)
    if len(kept) < len(plans):
        rejected["more parallel queries than a tag may hold"] = len(plans) - len(kept)
    return kept, rejected


def _parse(row: dict[str, Any], number: int) -> Supported:
    """A question whose gold titles are in reading order: those it names come first."""
    example = parse_question(row, number)
    titles = row.get("gold_titles") or [title for title, *_ in row.get("supporting_facts") or []]
    if not isinstance(titles, list) or not titles or not all(isinstance(title, str) for title in titles):
        raise BadLine("has no `gold_titles`")
    named = sorted(dict.fromkeys(titles), key=lambda title: not _names(example.question, title))
    return Supported(example, tuple(named))


def _searches(one: Supported, mode: Mode) -> list[list[str]]:
    """The queries of each round.

    Titles that the question names are independent of each other, so they are searched at once in ``multi`` mode; any
    other title can be known only from what was found before.
    """
    question = one.example.question
    named = [title for title in one.titles if _names(question, title)]
    hidden = [title for title in one.titles if title not in named]
    first = [_plain(title) for title in named] or [question]
    rounds = [first] if mode == "multi" else [[query] for query in first]
    return rounds + [[_plain(title)] for title in (hidden if named else hidden[1:])]


def _plan(one: Supported, searches: Sequence[Sequence[str]], passages: Sequence[Passage]) -> GoldPlan:
    """The plan whose thoughts quote what was found.

    Raises:
        Rejected: A gold passage was not found, a later query cannot be known by then, or the answer is not supported.
    """
    found = {passage.title: passage for passage in passages}
    if any(title not in found for title in one.titles):
        raise Rejected("gold passage not retrieved")
    answer = one.example.answers[0]
    closed = normalize(answer) in ("yes", "no")
    gold = [found[title] for title in one.titles]
    if not closed and not any(normalize(answer) in normalize(f"{p.title} {p.text}") for p in gold):
        raise Rejected("answer not in the gold passages")
    unnamed = searches[0] == [one.example.question]
    need = "I do not know the names yet, so I search for the question." if unnamed else f"I need {_join(searches[0])}."
    steps = [Step(need, tuple(searches[0]))]
    known = one.example.question
    for queries in searches[1:]:
        earlier = gold[: len(steps)]
        known = " ".join([known, *(passage.text for passage in earlier)])
        if not all(_names(known, query) for query in queries):
            raise Rejected("later query not known from earlier passages")
        steps.append(Step(f"{_quote(earlier[-1], queries[0])} Now I need {_join(queries)}.", tuple(queries)))
    quotes = [_quote(passage, "" if closed else answer) for passage in gold]
    return GoldPlan(tuple(steps), " ".join(dict.fromkeys(quotes)), answer)


def _quote(passage: Passage, wanted: str) -> str:
    """The passage's sentence that names what is wanted, else its first, cut to a readable length."""
    sentences = _SENTENCE.split(" ".join(passage.text.split())) or [""]
    chosen = next((one for one in sentences if wanted and normalize(wanted) in normalize(one)), sentences[0])
    words = chosen.split()
    cut = " …" if len(words) > _LONGEST_SENTENCE else ""
    return f"{_plain(passage.title)}: {' '.join(words[:_LONGEST_SENTENCE])}{cut}"


def _plain(title: str) -> str:
    """A title without its disambiguation: ``Lilu (mythology)`` is searched as ``Lilu``."""
    return re.sub(r"\s*\([^)]*\)$", "", title) or title


def _names(text: str, title: str) -> bool:
    return f" {normalize(_plain(title))} " in f" {normalize(text)} "


def _join(queries: Sequence[str]) -> str:
    return " and ".join([", ".join(queries[:-1]), queries[-1]] if len(queries) > 1 else queries)
