"""What a model says, understood while it still grows, and what an answer cost; every view of a question shows these."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ragr1_lite.core.types import StopReason
from ragr1_lite.ui.text import clean, count

if TYPE_CHECKING:
    from ragr1_lite.assistant import Answer

NO_ANSWER: dict[StopReason, str] = {
    "answer": "",
    "invalid": "The model wrote neither a search nor an answer.",
    "length": "The model thought for longer than it may in one go.",
    "budget": "The model still wanted to search when its rounds were used up.",
    "context": "There was no room left for what the search found.",
}
"""Why a question has no answer."""

_TAGS = tuple(f"<{slash}{name}>" for name in ("think", "search", "answer") for slash in ("", "/"))
_TAG = re.compile("|".join(_TAGS))
_ACTION = re.compile(r"<(search|answer)>")
_INSTANT = 0.1
"""Seconds below which a time is told in milliseconds."""


class Spoken(NamedTuple):
    """What a turn says so far, without tags; ``action`` is ``search``, ``answer`` or empty."""

    think: str
    action: str = ""
    content: str = ""


def read(text: str) -> Spoken:
    """Understands a turn that may still be growing; a tag that has only begun is not shown.

    >>> read("<think>Two facts.</think><search>area of Ch")
    Spoken(think='Two facts.', action='search', content='area of Ch')
    >>> read("<think>Two facts.</thi").think
    'Two facts.'
    """
    begun = text.rfind("<")
    if begun >= 0 and any(tag.startswith(text[begun:]) for tag in _TAGS):
        text = text[:begun]
    action = _ACTION.search(text)
    if action is None:
        return Spoken(_without_tags(text))
    content = text[action.end() :].partition(f"</{action[1]}>")[0]
    return Spoken(_without_tags(text[: action.start()]), action[1], _without_tags(content))


def figures(answer: Answer) -> list[str]:
    """What an answer cost: rounds, queries, and the time, told apart where there was a search."""
    trajectory = answer.trajectory
    time = f"{answer.seconds:.1f} s"
    if trajectory.rounds:
        time += f": thinking {_short(answer.phases['generate'])}, searching {_short(answer.phases['search'])}"
    return [count(trajectory.rounds, "round"), count(trajectory.queries, "query"), time]


def _short(seconds: float) -> str:
    """A time of which a search in process takes very little.

    >>> _short(3.42), _short(0.0123), _short(0.0002)
    ('3.4 s', '12 ms', '<1 ms')
    """
    if seconds >= _INSTANT:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "<1 ms"


def _without_tags(text: str) -> str:
    return clean(_TAG.sub("", text)).strip()
