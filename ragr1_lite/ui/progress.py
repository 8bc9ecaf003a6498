"""The progress of a phase of work: how much is done, how long it took, how long the rest will take."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from ragr1_lite.ui.text import duration, one_line

SHORT = 0.5
"""Phases of fewer seconds leave no line."""
_MANY = 100  # units a second from which their rate is shown
_WIDE = 80  # columns from which a line has room for the rate


@dataclass(slots=True)
class Task:
    """A phase of work; times are in the clock's seconds."""

    name: str
    total: int | None  # in units, where known
    unit: str
    began: float
    done: int = 0
    skipped: int = 0  # done before, as in a resumed run
    detail: str = ""
    share: float | None = None  # done, where the total is not known
    moved: float = field(init=False)  # when it last advanced
    reported: float = field(init=False)  # when a line about it was last printed

    def __post_init__(self) -> None:
        self.moved = self.reported = self.began

    def advance(self, done: int, now: float, *, detail: str = "", share: float | None = None) -> None:
        """Sets the units done, counted from the start."""
        self.done, self.moved, self.detail, self.share = done, now, one_line(detail), share

    @property
    def progress(self) -> str:
        """Units done, such as ``1,200/25,531 passages``."""
        if self.total is None and not self.done:
            return ""
        of = "" if self.total in (None, self.done) else f"/{self.total:,}"
        return f"{self.done:,}{of} {self.unit}".rstrip()

    def times(self, now: float, *, rate: bool = True) -> str:
        """Time spent, time left where it can be estimated, and with ``rate`` units a second where they are many."""
        spent, here = now - self.began, self.done - self.skipped
        share = here / (self.total - self.skipped) if self.total else self.share
        parts = [duration(spent)]
        if share and here > 0 and share < 1:
            # Counted from the last advance: it must not grow during one long unit.
            left = (self.moved - self.began) / share * (1 - share) - (now - self.moved)
            parts += [f"{duration(left)} left"] if left > 0 else []
        if rate and spent >= SHORT and here / spent >= _MANY:
            parts.append(f"{here / spent:,.0f}/s")
        return " · ".join(parts)

    def bar(self, now: float, width: int | None = None) -> ProgressBar:
        """The share done as a bar; a pulsing one where it is not known."""
        return ProgressBar(
            total=self.total or 1,
            completed=self.done if self.total else self.share or 0,
            width=width,
            pulse=not self.total and self.share is None,
            style="bright_black",
            complete_style="cyan",
            finished_style="green",
            pulse_style="cyan",
            animation_time=now,
        )

    def line(self, now: float, width: int) -> Table:
        """Name, bar, units, times."""
        grid = Table.grid(Column(overflow="ellipsis"), *(Column(no_wrap=True) for _ in range(3)), padding=(0, 2))
        times = Text(self.times(now, rate=width >= _WIDE), "dim")
        grid.add_row(Text(sentence(self.name)), self.bar(now, min(24, max(8, width // 5))), Text(self.progress), times)
        return grid


def sentence(name: str) -> str:
    """A phase's name with a capital, for the beginning of a line."""
    name = one_line(name)
    return name[:1].upper() + name[1:]
