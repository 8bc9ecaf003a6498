"""The progress of a phase of work: how much is done, how long it took, how long the rest will take."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from ragr1_lite.core.events import Part
from ragr1_lite.core.timing import Pace, about
from ragr1_lite.ui.text import duration, one_line

SHORT = 0.5  # phases of fewer seconds leave no line
_LONG = 30.0  # seconds left from which a line says so beforehand
_SURE = 1.0  # seconds after which it does
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
    share: float | None = None  # done, where units do not say it
    expected: tuple[float, float] | None = None  # seconds left, and when that was said
    announced: bool = False  # whether a line has said how long it will take
    pace: Pace = field(default_factory=Pace)
    settled: tuple[float, float] = field(init=False)  # the share that was done when the latest part ended, and when
    reported: float = field(init=False)  # when a line about it was last printed

    def __post_init__(self) -> None:
        self.reported = self.began
        self.settled = (0.0, self.began)

    def advance(
        self, done: int, now: float, *, detail: str = "", share: float | None = None, part: Part = "ended"
    ) -> None:
        """Sets the units done, counted from the start, and learns from a part that ended."""
        self.done, self.detail, self.share = done, one_line(detail), share
        behind = self._behind
        if part == "skipped":
            self.skipped, self.settled = done, (behind, now)
        elif part == "ended" and behind > self.settled[0]:
            self.pace.add(behind - self.settled[0], now - self.settled[1])
            self.settled = (behind, now)
            self.expect(self.pace.seconds(1 - behind), now)
        elif not behind:  # nobody knows how much there is
            self.expected = None

    def expect(self, left: float | None, now: float) -> None:
        """Sets the seconds that are left, as of now."""
        self.expected = None if left is None else (left, now)

    def left(self, now: float) -> float | None:
        """Seconds left; ``None`` where that is not known, or no longer."""
        if self.expected is None or self._behind >= 1:
            return None
        left = self.expected[0] - (now - self.expected[1])
        return left if left > 0 else None

    @property
    def _behind(self) -> float:
        """The share of the work that is done."""
        return self.share if self.share is not None else self.done / self.total if self.total else 0.0

    @property
    def progress(self) -> str:
        """Units done, such as ``1,200/25,531 passages``."""
        if self.total is None and not self.done:
            return ""
        of = "" if self.total in (None, self.done) else f"/{self.total:,}"
        return f"{self.done:,}{of} {self.unit}".rstrip()

    def times(self, now: float, *, rate: bool = True) -> str:
        """Time spent, time left where it is known, and with ``rate`` units a second where they are many."""
        spent, left = now - self.began, self.left(now)
        parts = [duration(spent)] + ([] if left is None else [f"{duration(left)} left"])
        if rate and spent >= SHORT and (speed := (self.done - self.skipped) / spent) >= _MANY:
            parts.append(f"{speed:,.0f}/s")
        return " · ".join(parts)

    def announcement(self, now: float) -> str:
        """Once, as soon as it is known and worth a line: how long it will take."""
        left = self.left(now)
        if self.announced or left is None or left < _LONG or now - self.began < _SURE:
            return ""
        self.announced = True
        by = f"by the first {self.done:,} of {self.total:,} {self.unit}" if self.total else "by what is done"
        return f"{sentence(self.name)}: about {about(left)} to go on this machine, {by}"

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
