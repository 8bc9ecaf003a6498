"""One trajectory of a training step in a few lines: the question, the model's searches, its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from ragr1_lite.core.events import RolloutsFinished
from ragr1_lite.core.types import Reward, Trajectory, Turn
from ragr1_lite.ui.text import one_line, share, title_of

_TITLES = 3  # documents of a query that are named
_LONGEST = 400  # characters of a foreign text that any terminal's line might show
_NEEDED, _SEARCH, _THOUGHT, _DOCUMENT = range(4)
"""Kinds of lines, in the order in which they get room."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A trajectory and its reward."""

    trajectory: Trajectory
    reward: Reward

    @property
    def height(self) -> int:
        """Lines of the whole."""
        return sum(1 for _ in self._lines())

    @classmethod
    def of(cls, event: RolloutsFinished, *, failed: bool = False) -> Sample | None:
        """The rollout with the highest reward or, with ``failed``, the lowest.

        Of equals it is the one with the most queries at once, then with the most queries.
        """
        sign = -1 if failed else 1

        def rank(one: Sample) -> tuple[float, int, int]:
            at_once = max((len(turn.passages) for turn in one.trajectory.turns), default=0)
            return sign * one.reward.total, at_once, one.trajectory.queries

        rollouts = [cls(*pair) for pair in zip(event.trajectories, event.rewards, strict=True)]
        return max(rollouts, key=rank, default=None)

    def lines(self, height: int) -> list[Text]:
        """At most ``height`` lines; a narrow screen cuts them.

        Question and answer come first, then the queries, the thoughts and the beginnings of the documents.
        """
        every = list(self._lines())
        kept = sorted(range(len(every)), key=lambda number: every[number][0])[:height]
        return [every[number][1] for number in sorted(kept)]

    def _lines(self) -> Iterator[tuple[int, Text]]:
        right = self.reward.parts.get("em", 0.0) >= 1
        mark = ("✓", "bold green") if right else ("✗", "bold red")
        question = one_line(self.trajectory.example.question, _LONGEST)
        yield _NEEDED, _line(mark, (f" {share(self.reward.total)}  ", "dim"), (question, "bold"))
        for number, turn in enumerate(self.trajectory.turns, start=1):
            if turn.think:
                yield _THOUGHT, _line(("  " + one_line(turn.think, _LONGEST), "dim italic"))
            yield from _searches(turn, number)
        answer, accepted = self.trajectory.answer, one_line(" | ".join(self.trajectory.example.answers), _LONGEST)
        end = f"  No answer ({self.trajectory.stop_reason})" if answer is None else f"  Answer: {one_line(answer, 80)}"
        correction = "" if right or not accepted else f" · accepted: {accepted}"
        yield _NEEDED, _line((end, "green" if right else "red"), (correction, "dim"))


def _searches(turn: Turn, number: int) -> Iterator[tuple[int, Text]]:
    """A line a query, with the titles of what it found, and the beginning of the first document."""
    for place, query in enumerate(turn.queries):
        found = turn.passages[place] if turn.passages else ()
        titles = " · ".join(title_of(passage, 60) for passage in found[:_TITLES]) or "nothing found"
        head = (f"{'' if place else number:>3} ", "dim")
        yield _SEARCH, _line(head, (f"› {one_line(query, 60)}", "cyan"), (f" → {titles}", "dim"))
        if found:
            yield _DOCUMENT, _line((f"      {one_line(found[0].text, _LONGEST)}", "dim"))


def _line(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
