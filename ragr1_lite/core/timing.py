"""How long work will take, from the parts of it that are done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

_SMALL = 1 / 64  # share of the work below which a part is joined with the next


class Pace:
    """Seconds per unit of work, by the latest half of the work that was done, and of that the middle half.

    So it follows a machine that gets slower or faster, and not a part that took ten times as long as all others. The
    first part, which pays for what happens only once, is left out as soon as there is another.

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
        if work <= 0:
            return
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
        latest: list[tuple[float, float]] = [self._first] if self._first and self._first_counts else []
        if self._work:
            done, latest = 0.0, []
            for part in reversed(self._later):
                if done >= self._work / 2:
                    break
                done += part[0]
                latest.append(part)
        return _middle(latest) * work if latest else None


def _middle(parts: Sequence[tuple[float, float]]) -> float:
    """The mean of seconds per work over the middle half of the work, from fast to slow."""
    whole = sum(work for work, _ in parts)
    passed = total = 0.0
    for work, seconds in sorted(parts, key=lambda part: part[1] / part[0]):
        inside = min(passed + work, 0.75 * whole) - max(passed, 0.25 * whole)
        passed += work
        total += max(0.0, inside) * seconds / work
    return total / (0.5 * whole)


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


class Stages:
    """How long work of several stages will take: each has so much work of some kinds, each kind its own pace.

    Args:
        work: By stage, in their order, its work by kind, such as ``{"SFT": {"trained": 150_000}}`` tokens.
        guess: Seconds per unit of each kind, which hold until one was measured; without them nothing is known so far.
    """

    def __init__(self, work: Mapping[str, Mapping[str, float]], guess: Mapping[str, float] | None = None) -> None:
        self._work = dict(work)
        self._paces: dict[str, Pace] = defaultdict(Pace)
        for kind, seconds in (guess or {}).items():
            self._paces[kind].add(1, seconds)

    def learn(self, kind: str, work: float, seconds: float) -> None:
        """Takes in how long some work of a kind took here."""
        self._paces[kind].add(work, seconds)

    def expect(self, stage: str, **work: float) -> None:
        """How much work a stage that is still to come has, where that is known better now; without any it is not."""
        if stage in self._work and work:
            self._work[stage] = work
        elif stage in self._work:
            self.end(stage)

    def end(self, stage: str) -> None:
        """A stage is over."""
        self._work.pop(stage, None)

    def left(self, now: float | None = None) -> str:
        """What is left in words, whole and by stage; ``now`` is left of the first one, where that is known.

        Empty while nothing is known of a kind of work that is still to come.
        """
        seconds: dict[str, float] = {}
        for stage, work in self._work.items():
            parts = [self._paces[kind].seconds(amount) for kind, amount in work.items()]
            if not seconds and now is not None:
                parts = [now]
            if None in parts:
                return ""
            seconds[stage] = sum(part for part in parts if part is not None)
        each = ", ".join(f"{stage} {about(took)}" for stage, took in seconds.items())
        return f"about {about(sum(seconds.values()))} to go on this machine: {each}" if seconds else ""
