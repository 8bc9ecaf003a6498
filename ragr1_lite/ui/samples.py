"""One trajectory of a training step in a few lines: what was asked, what the model searched for, what it answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from ragr1_lite.core.events import RolloutsFinished
from ragr1_lite.core.types import Passage, Reward, Trajectory, Turn
from ragr1_lite.ui.text import one_line, share

_TITLES = 3
"""Documents of a query that are named."""
_LONGEST = 400
"""Characters of a foreign text that any terminal's line might show."""
_NEEDED, _SEARCHED, _THOUGHT, _READ = range(4)
"""What a line is, in the order in which lines are given room."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A trajectory and what it earned."""

    trajectory: Trajectory
    reward: Reward

    @property
    def right(self) -> bool:
        """Whether the answer is an accepted one."""
        return self.reward.parts.get("em", 0.0) >= 1

    @property
    def height(self) -> int:
        """Lines of the whole."""
        return sum(1 for _ in self._tell())

    @classmethod
    def of(cls, event: RolloutsFinished, *, failed: bool = False) -> Sample | None:
        """The rollout with the highest reward or, with ``failed``, the lowest.

        Of equals it is the one with the most queries at once, then with the most of all.
        """
        rollouts = [cls(*pair) for pair in zip(event.trajectories, event.rewards, strict=True)]
        sign = -1 if failed else 1
        return max(rollouts, key=lambda one: (sign * one.reward.total, *one._searched()), default=None)

    def lines(self, height: int) -> list[Text]:
        """At most ``height`` lines; a narrow screen cuts them.

        Question and answer come first, then the queries, the thoughts and the beginnings of what was read.
        """
        told = list(self._tell())
        kept = sorted(range(len(told)), key=lambda number: told[number][0])[:height]
        return [told[number][1] for number in sorted(kept)]

    def _searched(self) -> tuple[int, int]:
        """Queries answered at once, at most, and all together."""
        return max((len(turn.passages) for turn in self.trajectory.turns), default=0), self.trajectory.queries

    def _tell(self) -> Iterator[tuple[int, Text]]:
        mark = ("✓", "bold green") if self.right else ("✗", "bold red")
        question = one_line(self.trajectory.example.question, _LONGEST)
        yield _NEEDED, _line(mark, (f" {share(self.reward.total)}  ", "dim"), (question, "bold"))
        for number, turn in enumerate(self.trajectory.turns, start=1):
            if turn.think:
                yield _THOUGHT, _line(("  " + one_line(turn.think, _LONGEST), "dim italic"))
            yield from _searches(turn, number)
        yield _NEEDED, self._end()

    def _end(self) -> Text:
        answer, accepted = self.trajectory.answer, one_line(" | ".join(self.trajectory.example.answers), _LONGEST)
        said = f"  No answer ({self.trajectory.stop_reason})" if answer is None else f"  Answer: {one_line(answer, 80)}"
        style = "green" if self.right else "red"
        return _line((said, style), ("" if self.right or not accepted else f" · accepted: {accepted}", "dim"))


def _searches(turn: Turn, number: int) -> Iterator[tuple[int, Text]]:
    """A line a query, with the titles of what it found, and the beginning of the first document."""
    for place, query in enumerate(turn.queries):
        found = turn.passages[place] if turn.passages else ()
        titles = " · ".join(_title(passage) for passage in found[:_TITLES]) or "nothing found"
        head = (f"{'' if place else number:>3} ", "dim")
        yield _SEARCHED, _line(head, (f"› {one_line(query, 60)}", "cyan"), (f" → {titles}", "dim"))
        if found:
            yield _READ, _line((f"      {one_line(found[0].text, _LONGEST)}", "dim"))


def _title(passage: Passage) -> str:
    return one_line(passage.title, 60) or one_line(passage.id, 60)


def _line(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
