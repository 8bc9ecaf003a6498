"""Several ways of answering the same questions, by turns: batch after batch, so that a noisy machine hits all alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from ragr1_lite.assistant import Assistant
from ragr1_lite.core.events import Advance, Notice, Part, Report, RolloutFinished, ignore, phase
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rewards import OURS, Scorer
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Example, Sampler, Searcher
from ragr1_lite.evaluation.figures import Evaluation
from ragr1_lite.evaluation.resources import Meter, Resources
from ragr1_lite.evaluation.results import Result, apart, from_row, share_seconds, to_journal
from ragr1_lite.files.journal import Journal
from ragr1_lite.models.cpu_speed import look_at_threads_again


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of answering: who samples and searches, by which rules."""

    label: str
    sampler: Sampler
    searcher: Searcher
    protocol: Protocol
    limits: Limits

    @classmethod
    def of(cls, label: str, assistant: Assistant) -> Variant:
        """The way an assistant answers."""
        return cls(label, assistant.sampler, assistant.searcher, assistant.protocol, assistant.limits)


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

    def sampler(self, variant: Variant, batch: int) -> Any:
        """The variant's sampler for a batch; drawn ones have a seed of their own, so that a resumed run draws alike."""
        if not self.temperature:
            return variant.sampler
        drawing: Any = variant.sampler
        return drawing.drawing(random.Random(f"{self.seed} {batch}").getrandbits(32), self.temperature)


GREEDY = Draws()


@dataclass(frozen=True, slots=True)
class _Part:
    """A batch that a variant has answered."""

    results: tuple[Result, ...]
    resources: Resources

    def to_rows(self) -> list[dict[str, Any]]:
        return [*map(to_journal, self.results), {"resources": self.resources.to_json()}]

    @classmethod
    def from_rows(cls, rows: Sequence[dict[str, Any]], scorer: Scorer) -> _Part:
        *results, last = rows
        return cls(tuple(from_row(row, scorer) for row in results), Resources.from_json(last["resources"]))


def evaluate_variants(
    examples: Sequence[Example],
    variants: Sequence[Variant],
    *,
    scorer: Scorer = OURS,
    draws: Draws = GREEDY,
    batch_size: int | None = None,
    give_up_after: int | None = None,
    journal: Journal | None = None,
    report: Report = ignore,
) -> list[Evaluation]:
    """Answers every question in every way.

    Questions of like length share a batch; all are one where ``batch_size`` is None. Each finished batch goes into the
    journal, and batches that it holds are not answered again. A variant that answers none of the first
    ``give_up_after`` questions is asked no more. Where a mode does not search, free text is read as well as tags.

    Returns:
        One evaluation per variant, its results in the questions' order.
    """
    batches = cut(examples, batch_size, draws.samples, first=give_up_after or 0)
    finished = iter(journal.pieces[: len(batches) * len(variants)] if journal else ())
    parts: list[list[_Part]] = [[] for _ in variants]
    name = f"Evaluating {', '.join(variant.label for variant in variants)}"
    with phase(report, name, len(examples) * draws.samples * len(variants), "questions") as advance:
        progress = _Progress(advance, report, max(1, len(variants) * sum(len(one.question) for one in examples)))
        for number, batch in enumerate(batches):
            asked = [examples[at] for at in batch]
            for variant, answered in zip(variants, parts, strict=True):
                before = [result.trajectory.answer for part in answered for result in part.results]
                if give_up_after and len(before) >= give_up_after * draws.samples and {*before} == {None}:
                    progress.end(asked, 0, "skipped")
                    continue
                look_at_threads_again(report)
                rows = next(finished, None)
                part = (
                    _Part.from_rows(rows, scorer) if rows else _answer(asked, variant, scorer, draws, number, progress)
                )
                progress.end(asked, len(part.results), "skipped" if rows else "ended")
                if journal and not rows:
                    journal.add(part.to_rows())
                answered.append(part)
    order = [at for batch in batches for at in batch for _ in range(draws.samples)]
    found = [_evaluation(variant, some, order, draws) for variant, some in zip(variants, parts, strict=True)]
    for evaluation in found:
        if evaluation.given_up:
            report(Notice(evaluation.given_up))
    return found


def cut(examples: Sequence[Example], batch_size: int | None, samples: int = 1, *, first: int = 0) -> list[list[int]]:
    """The questions' numbers in batches of at most ``batch_size`` answers, those of like length together.

    The ``first`` questions share no batch with the others and come before them.
    """
    size = max(1, len(examples) if batch_size is None else batch_size // samples)
    batches: list[list[int]] = []
    for numbers in (range(len(examples))[:first], range(len(examples))[first:]):
        order = sorted(numbers, key=lambda at: len(examples[at].question)) if batch_size else list(numbers)
        batches += [order[begin : begin + size] for begin in range(0, len(order), size)]
    return batches


def _answer(
    examples: Sequence[Example], variant: Variant, scorer: Scorer, draws: Draws, batch: int, progress: _Progress
) -> _Part:
    """Rolls out a batch, the answers to one question next to each other: they share its prompt."""
    asked = [example for example in examples for _ in range(draws.samples)]
    with Meter() as meter:
        trajectories = run_rollouts(
            asked,
            draws.sampler(variant, batch),
            variant.searcher,
            protocol=replace(variant.protocol, free_text=True),
            limits=variant.limits,
            report=progress,
        )
    spent = meter.resources
    samples = [at % draws.samples for at in range(len(asked))]
    mode = variant.protocol.mode
    return _Part(share_seconds(trajectories, spent.seconds, mode=mode, scorer=scorer, samples=samples), spent)


def _evaluation(variant: Variant, parts: Sequence[_Part], order: Sequence[int], draws: Draws) -> Evaluation:
    """The parts as one, in the questions' order."""
    results = [result for part in parts for result in part.results]
    places = sorted(range(len(results)), key=lambda place: (order[place], results[place].sample))
    resources = [part.resources for part in parts]
    spent = reduce(lambda earlier, later: later.after(earlier), resources) if resources else None
    ordered = [results[place] for place in places]
    answerable, unanswerable = apart(ordered, lambda one: one.trajectory.example.hidden)
    not_asked = (len(order) - len(results)) // draws.samples
    shots = 0 if variant.protocol.searches else len(variant.protocol.shots)
    return Evaluation(variant.label, answerable, draws.samples, spent, not_asked, shots, unanswerable)


class _Progress:
    """Counts finished rollouts for a phase; of all else they report, notices alone pass.

    The time left follows from whole batches: the rows of one end late, and all at once. A question costs what it is
    long, since short ones ask for one thing and share the first batches.
    """

    def __init__(self, advance: Advance, report: Report, work: int) -> None:
        self._advance, self._report, self._work = advance, report, work
        self._done = self._ended = self._length = 0

    def __call__(self, event: object) -> None:
        if isinstance(event, RolloutFinished):
            self._done += 1
            self._advance(self._done, share=self._length / self._work, part="going on")
        elif isinstance(event, Notice):
            self._report(event)

    def end(self, examples: Sequence[Example], answers: int, part: Part) -> None:
        """Ends a batch of questions that got so many answers."""
        self._done = self._ended = self._ended + answers
        self._length += sum(len(example.question) for example in examples)
        self._advance(self._done, share=self._length / self._work, part=part)
