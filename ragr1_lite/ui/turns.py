"""A model's turn, read while the model still writes it, and what an answer cost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ragr1_lite.core.safe_text import clean
from ragr1_lite.core.types import StopReason, Trajectory
from ragr1_lite.ui.text import count, one_line

if TYPE_CHECKING:
    from ragr1_lite.assistant import Answer

NO_ANSWER: dict[StopReason, str] = {
    "answer": "",
    "invalid": "The model wrote neither a search nor an answer.",
    "length": "The model's thought was longer than one turn may be.",
    "budget": "The model still wanted to search when its rounds were used up.",
    "context": "There was no room left for the search results.",
}
"""Why a question has no answer."""

REFUSED = "Not in your documents, as far as the model searched them."
"""An answer that says so, in a sentence."""

_TAGS = tuple(f"<{slash}{name}>" for name in ("think", "search", "answer") for slash in ("", "/"))
_TAG = re.compile("|".join(_TAGS))
_ACTION = re.compile(r"<(search|answer)>")
_LONGEST = 80  # characters of a source's title or place that are shown at most


class PartialTurn(NamedTuple):
    """A turn so far, without tags; ``action`` is ``search``, ``answer`` or empty."""

    think: str
    action: str = ""
    content: str = ""


def read_partial(text: str) -> PartialTurn:
    """Reads a turn that may still be growing; an unfinished tag at the end is left out.

    >>> read_partial("<think>Two facts.</think><search>area of Ch")
    PartialTurn(think='Two facts.', action='search', content='area of Ch')
    >>> read_partial("<think>Two facts.</thi").think
    'Two facts.'
    """
    begun = text.rfind("<")
    if begun >= 0 and any(tag.startswith(text[begun:]) for tag in _TAGS):
        text = text[:begun]
    action = _ACTION.search(text)
    if action is None:
        return PartialTurn(_without_tags(text))
    content = text[action.end() :].partition(f"</{action[1]}>")[0]
    return PartialTurn(_without_tags(text[: action.start()]), action[1], _without_tags(content))


def last_thought(trajectory: Trajectory) -> str:
    """The thought before the answer; empty where the last turn searched."""
    last = trajectory.turns[-1] if trajectory.turns else None
    return clean(last.think) if last and not last.passages else ""


def costs(answer: Answer) -> list[str]:
    """Rounds, queries, and the time; its parts where there was a search."""
    trajectory = answer.trajectory
    time = f"{answer.seconds:.1f} s"
    if trajectory.rounds:
        time += f": thinking {_short(answer.phases['generate'])}, searching {_short(answer.phases['search'])}"
    return [count(trajectory.rounds, "round"), count(trajectory.queries, "query"), time]


def cited(answer: Answer) -> list[dict[str, str]]:
    """The sources to name under an answer, each as a line of ``text``, with its ``url`` where it has one."""
    return [_named(source) for source in answer.cited]


def _named(source: dict[str, str]) -> dict[str, str]:
    where = ", ".join(one_line(source[key], _LONGEST) for key in ("file", "url", "place") if key in source)
    title = one_line(source["title"] or source["id"], _LONGEST)
    named = {"text": f"{title} ({where})" if where else title}
    return named | {"url": clean(source["url"])} if "url" in source else named


def _short(seconds: float) -> str:
    if seconds >= 0.1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "<1 ms"


def _without_tags(text: str) -> str:
    return clean(_TAG.sub("", text)).strip()
