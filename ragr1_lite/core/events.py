"""What library code reports while it works. Nobody but :mod:`ragr1_lite.ui` draws them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from ragr1_lite.core.types import Passage, Reward, Trajectory

Report = Callable[[object], None]


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

    ``share`` of the work is behind, from 0 to 1, where that is known although the number of units is not.
    """

    name: str
    done: int
    detail: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True)
class PhaseFinished:
    """The phase of this name ended after ``seconds``."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepFinished:
    """One optimizer step of a training run, with its metrics."""

    step: int
    total: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A state that ``--resume`` can go on from."""

    path: str
    step: int


@dataclass(frozen=True, slots=True)
class TextSampled:
    """New text of a row while it is being sampled; sent only where one row is sampled alone."""

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
    """A training step's rollouts and what each earned, in the same order, after ``seconds``."""

    trajectories: tuple[Trajectory, ...]
    rewards: tuple[Reward, ...]
    seconds: float


class Advance(Protocol):
    """What :func:`phase` hands to its block."""

    def __call__(self, done: int, detail: str = "", share: float | None = None) -> None:
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
    yield lambda done, detail="", share=None: report(PhaseAdvanced(name, done, detail, share))
    report(PhaseFinished(name, time.perf_counter() - began))
