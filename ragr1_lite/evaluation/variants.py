"""Several ways of answering the same questions, by turns: piece after piece, so that a noisy machine hits all alike.

A piece is a batch of questions. What is finished is kept in a journal, where there is one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ragr1_lite.core.events import Notice, PhaseAdvanced, PhaseFinished, PhaseStarted, Report, RolloutFinished, ignore
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rewards import OURS, Scorer
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Example, Sampler, Searcher
from ragr1_lite.evaluation.figures import Evaluation
from ragr1_lite.evaluation.resources import Meter, Resources
from ragr1_lite.evaluation.results import Result, kept, restored, shared
from ragr1_lite.files.journal import Journal


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of answering: who samples and searches, by which rules."""

    label: str
    sampler: Sampler
    searcher: Searcher
    protocol: Protocol
    limits: Limits


@dataclass(frozen=True, slots=True)
class Draws:
    """How often each question is answered, and how.

    Attributes:
        samples: Answers to each question.
        temperature: Of the sampling; with 0 every answer is the likeliest, whatever the seed.
        seed: Of the sampling.
    """

    samples: int = 1
    temperature: float = 0.0
    seed: int = 0

    def sampler(self, arm: Arm, piece: int) -> Any:
        """The arm's sampler for a piece; drawn ones have a seed of their own, so that a resumed run draws alike."""
        if not self.temperature:
            return arm.sampler
        drawing: Any = arm.sampler
        return drawing.drawing(random.Random(f"{self.seed} {piece}").getrandbits(32), self.temperature)


GREEDY = Draws()


@dataclass(frozen=True, slots=True)
class Part:
    """A piece that an arm has answered."""

    results: tuple[Result, ...]
    seconds: float
    resources: Resources

    def to_rows(self) -> list[dict[str, Any]]:
        """For the journal."""
        return [*map(kept, self.results), {"seconds": self.seconds, "resources": self.resources.to_json()}]

    @classmethod
    def from_rows(cls, rows: Sequence[dict[str, Any]], scorer: Scorer) -> Part:
        """What :meth:`to_rows` gave."""
        *results, whole = rows
        spent = Resources.from_json(whole["resources"])
        return cls(tuple(restored(row, scorer) for row in results), whole["seconds"], spent)


def evaluate_arms(
    examples: Sequence[Example],
    arms: Sequence[Arm],
    *,
    scorer: Scorer = OURS,
    draws: Draws = GREEDY,
    batch_size: int | None = None,
    journal: Journal | None = None,
    report: Report = ignore,
) -> list[Evaluation]:
    """Answers every question in every way.

    Args:
        examples: The questions.
        arms: The ways.
        scorer: Holds answers against the accepted ones.
        draws: Answers to each question.
        batch_size: Answers to a piece; questions of like length are together. None: all are one piece.
        journal: Gets each finished piece; those that it has are not answered again.
        report: Receives a phase.

    Returns:
        One evaluation per arm, its results in the questions' order.
    """
    pieces = cut(examples, batch_size, draws.samples)
    work = [(number, arm) for number in range(len(pieces)) for arm in range(len(arms))]
    finished = iter(journal.pieces[: len(work)] if journal else ())
    parts: list[list[Part]] = [[] for _ in arms]
    with _progress(arms, len(examples) * draws.samples * len(arms), report) as progress:
        for number, arm in work:
            if rows := next(finished, None):
                part = Part.from_rows(rows, scorer)
                progress.skip(len(part.results))
            else:
                part = _answer([examples[at] for at in pieces[number]], arms[arm], scorer, draws, number, progress)
                if journal:
                    journal.add(part.to_rows())
            parts[arm].append(part)
    order = [at for piece in pieces for at in piece for _ in range(draws.samples)]
    return [_evaluation(arm.label, some, order, draws) for arm, some in zip(arms, parts, strict=True)]


def cut(examples: Sequence[Example], batch_size: int | None, samples: int = 1) -> list[list[int]]:
    """The questions' numbers in pieces of at most ``batch_size`` answers, those of like length together.

    >>> cut([Example(str(n), "?" * n, ("x",)) for n in (3, 1, 2)], 2)
    [[1, 2], [0]]
    """
    if batch_size is None:
        return [list(range(len(examples)))] if examples else []
    size = max(1, batch_size // samples)
    order = sorted(range(len(examples)), key=lambda at: len(examples[at].question))
    return [order[begin : begin + size] for begin in range(0, len(order), size)]


def _answer(
    examples: Sequence[Example], arm: Arm, scorer: Scorer, draws: Draws, piece: int, progress: _Progress
) -> Part:
    """Rolls out a piece, the answers to one question beside each other: they share its prompt."""
    asked = [example for example in examples for _ in range(draws.samples)]
    began = time.perf_counter()
    with Meter() as meter:
        trajectories = run_rollouts(
            asked,
            draws.sampler(arm, piece),
            arm.searcher,
            protocol=arm.protocol,
            limits=arm.limits,
            report=progress,
        )
    seconds = time.perf_counter() - began
    samples = [at % draws.samples for at in range(len(asked))]
    results = shared(trajectories, mode=arm.protocol.mode, seconds=seconds, scorer=scorer, samples=samples)
    return Part(results, seconds, meter.resources)


def _evaluation(label: str, parts: Sequence[Part], order: Sequence[int], draws: Draws) -> Evaluation:
    """The parts as one, in the questions' order."""
    results = [result for part in parts for result in part.results]
    places = sorted(range(len(results)), key=lambda place: (order[place], results[place].sample))
    spent: Resources | None = None
    for part in parts:
        spent = part.resources.after(spent) if spent else part.resources
    return Evaluation(
        label, tuple(results[place] for place in places), sum(part.seconds for part in parts), draws.samples, spent
    )


class _Progress:
    """Counts finished rollouts for a phase; of all else they report, notices alone pass."""

    def __init__(self, name: str, total: int, report: Report) -> None:
        self._name, self._total, self._report = name, total, report
        self._done = 0

    def __enter__(self) -> _Progress:
        self._began = time.perf_counter()
        self._report(PhaseStarted(self._name, self._total, "questions"))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._report(PhaseFinished(self._name, time.perf_counter() - self._began))

    def __call__(self, event: object) -> None:
        if isinstance(event, RolloutFinished):
            self.skip(1)
        elif isinstance(event, Notice):
            self._report(event)

    def skip(self, count: int) -> None:
        """These are finished."""
        self._done += count
        self._report(PhaseAdvanced(self._name, self._done))


def _progress(arms: Sequence[Arm], total: int, report: Report) -> _Progress:
    return _Progress(f"Evaluating {', '.join(arm.label for arm in arms)}", total, report)
