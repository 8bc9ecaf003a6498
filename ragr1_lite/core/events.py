"""What library code reports while it works. Nobody but :mod:`ragr1_lite.ui` draws them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from ragr1_lite.core.types import Passage, Reward, Trajectory

Report = Callable[[object], None]
Part = Literal["ended", "going on", "skipped"]
"""How the latest part of a phase stands: it ended, so that its time says something; it goes on, as rows of a batch
that end one by one; or it was skipped, as an earlier run did it."""


def ignore(event: object) -> None:
    """A report that drops every event."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know, such as which model was chosen and why."""

    text: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A piece of work with a known number of units begins; ``total`` is ``None`` where it is not known."""

    name: str
    total: int | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class PhaseAdvanced:
    """``done`` units of the current phase are finished, counted from its start.

    ``share`` of the work is behind, from 0 to 1, where the number of units is not known or units differ.
    """

    name: str
    done: int
    detail: str = ""
    share: float | None = None
    part: Part = "ended"


@dataclass(frozen=True, slots=True)
class PhaseFinished:
    """The phase of this name ended after ``seconds``."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepFinished:
    """One optimizer step of a training run, with its metrics, and the seconds to the run's end where they are known."""

    step: int
    total: int
    metrics: Mapping[str, float]
    left: float | None = None


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A state that ``--resume`` can go on from."""

    path: str
    step: int


@dataclass(frozen=True, slots=True)
class TextSampled:
    """New text of a row while it is sampled: alone, or with rows that are read (``SampleRequest.wanted``)."""

    row: int
    text: str


@dataclass(frozen=True, slots=True)
class Searched:
    """The queries of one row in one turn, answered."""

    row: int
    queries: tuple[str, ...]
    passages: tuple[tuple[Passage, ...], ...]


@dataclass(frozen=True, slots=True)
class RolloutFinished:
    """A row's trajectory is complete."""

    row: int
    trajectory: Trajectory


@dataclass(frozen=True, slots=True)
class RolloutsFinished:
    """A training step's rollouts, the expert's among them, and what each earned, in order, after ``seconds``."""

    trajectories: tuple[Trajectory, ...]
    rewards: tuple[Reward, ...]
    seconds: float


class Advance(Protocol):
    """What :func:`phase` hands to its block."""

    def __call__(self, done: int, detail: str = "", share: float | None = None, part: Part = "ended") -> None:
        """Reports a :class:`PhaseAdvanced`."""


@contextmanager
def phase(report: Report, name: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """Reports that a phase starts and, unless the block fails, that it finished.

    ::

        with phase(report, "Reading passages", len(files), "files") as advance:
            for done, file in enumerate(files, start=1):
                read(file)
                advance(done)
    """
    began = time.perf_counter()
    report(PhaseStarted(name, total, unit))
    yield lambda done, detail="", share=None, part="ended": report(PhaseAdvanced(name, done, detail, share, part))
    report(PhaseFinished(name, time.perf_counter() - began))
