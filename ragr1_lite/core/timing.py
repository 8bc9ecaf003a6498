"""How long work will take, from the parts of it that are done."""

from __future__ import annotations

_SMALL = 1 / 64  # share of the work below which a part is joined with the next


class Pace:
    """Seconds per unit of work, by the latest half of the work that was done.

    So it follows a machine that gets slower or faster. The first part, which pays for what happens only once, is left
    out as soon as there is another.

    Args:
        first_counts: Whether the first part says anything until then.
    """

    def __init__(self, *, first_counts: bool = True) -> None:
        self._first: tuple[float, float] | None = None
        self._later: list[tuple[float, float]] = []
        self._work = 0.0  # of the later parts
        self._first_counts = first_counts

    def add(self, work: float, seconds: float) -> None:
        """Adds a part that took ``seconds``; ``work`` is in any unit, such as tokens or a share of the whole."""
        if self._first is None:
            self._first = (work, seconds)
            return
        self._work += work
        if self._later and self._later[-1][0] < self._work * _SMALL:  # else there would be one for each of a million
            last_work, last_seconds = self._later.pop()
            work, seconds = work + last_work, seconds + last_seconds
        self._later.append((work, seconds))

    def seconds(self, work: float) -> float | None:
        """Seconds for so much more work; ``None`` while nothing is known."""
        done, took = self._first if self._first and self._first_counts else (0.0, 0.0)
        if self._work:
            done = took = 0.0
            for part, seconds in reversed(self._later):
                if done >= self._work / 2:
                    break
                done, took = done + part, took + seconds
        return took / done * work if done else None


def about(seconds: float) -> str:
    """A time as one says it beforehand.

    >>> about(34), about(100), about(700), about(9000)
    ('35 seconds', '2 minutes', '12 minutes', '2.5 hours')
    """
    if seconds < 58:
        return f"{max(5, 5 * round(seconds / 5))} seconds"
    minutes = max(1, round(seconds / 60))
    if minutes < 100:
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    return f"{seconds / 3600:.1f} hours"
