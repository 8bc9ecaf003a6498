"""Which trajectories are worth imitating: right, within the protocol, and supported by what was retrieved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rewards import exact_match, f1, normalize
from ragr1_lite.core.types import StopReason, Trajectory
from ragr1_lite.datagen.gold.facts import NOT_SUPPORTED as UNSUPPORTED
from ragr1_lite.datagen.gold.text import stands_in

Keep = Literal["em", "f1", "any"]

NO_ANSWER: dict[StopReason, str] = {
    "invalid": "no answer: a turn without a usable tag",
    "length": "no answer: a turn was cut off",
    "budget": "no answer: still searching after the last round",
    "context": "no answer: the sequence is full",
}
WRONG = "wrong answer"
NO_THOUGHT = "no thought before a tag"
OWN_INFORMATION = "the model wrote information itself"
TOO_MANY = "more queries in a tag than allowed"
TWICE = "a query twice in a tag"
AGAIN = "a query of an earlier turn again"
NOTHING_FOUND = "nothing was found"
ELSEWHERE = "hidden, and its answer was found elsewhere"

_MANY = 10**6
_CLOSED = {"yes", "no"}


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which answers count as right: by ``em`` (exact match), by ``f1`` from a threshold, or ``any`` answer."""

    keep: Keep = "em"
    threshold: float = 0.8

    def right(self, answer: str | None, answers: Iterable[str]) -> bool:
        """Whether an answer counts as right."""
        if self.keep == "f1":
            return f1(answer, answers) >= self.threshold
        return self.keep == "any" or exact_match(answer, answers) == 1.0


def why_rejected(
    trajectory: Trajectory, written: Sequence[str], *, protocol: Protocol, criteria: Criteria
) -> str | None:
    """The first reason why a trajectory should not be imitated; None where it should.

    ``written`` is what the model wrote in each of its turns: the turns themselves lack what the protocol drops, such as
    queries beyond the allowed number.
    """
    if trajectory.stop_reason != "answer":
        return NO_ANSWER[trajectory.stop_reason]
    if not criteria.right(trajectory.answer, trajectory.example.answers):
        return WRONG
    return _breach(trajectory, written, protocol) or _unsupported(trajectory, criteria)


def _breach(trajectory: Trajectory, written: Sequence[str], protocol: Protocol) -> str | None:
    """How the model breaks the protocol, if it does."""
    turns = trajectory.turns[len(trajectory.turns) - len(written) :]
    earlier: set[str] = set()
    for turn, text in zip(turns, written, strict=True):
        if not turn.think:
            return NO_THOUGHT
        if "<information>" in text:
            return OWN_INFORMATION
        if turn.kind != "search":
            continue
        queries = replace(protocol, max_queries=_MANY).parse_turn(text).queries
        if len(queries) > len(turn.queries):
            return TOO_MANY
        tag = text.rpartition("</search>")[0].rpartition("<search>")[2]
        if _letters([tag]) > _letters(queries):
            return TWICE
        folded = {query.casefold() for query in queries}
        if folded & earlier:
            return AGAIN
        earlier |= folded
    return None


def _letters(texts: Iterable[str]) -> int:
    """Letters and digits; parsing queries loses only those of a repeated query."""
    return sum(character.isalnum() for character in chain.from_iterable(texts))


def _unsupported(trajectory: Trajectory, criteria: Criteria) -> str | None:
    """Why the answer of a trajectory that searched is not supported by what was shown, if it is not.

    Yes, no, and what stands in the question cannot be looked for: for them, some passage is enough; a refusal
    needs none.
    """
    passages = trajectory.shown
    if trajectory.example.hidden or not any(turn.kind == "search" for turn in trajectory.turns):
        return None
    if not passages:
        return UNSUPPORTED if trajectory.found else NOTHING_FOUND
    example, answer = trajectory.example, trajectory.answer or ""
    if normalize(answer) in _CLOSED or stands_in(answer, example.question):
        return None
    texts = [f"{passage.title} {passage.text}" for passage in passages]
    spellings = [answer, *(example.answers if criteria.keep != "any" else ())]
    for spelling in spellings:
        whole = any(stands_in(spelling, text) for text in texts)
        # Where it lists several things, some text holds each.
        if whole or all(any(stands_in(part, text) for text in texts) for part in spelling.split(", ")):
            return None
    return UNSUPPORTED
