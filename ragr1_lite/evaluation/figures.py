"""The figures of an evaluation: means over all with intervals, means by kind, and why answers were wrong."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rewards import refuses, well_formed
from ragr1_lite.core.types import Reading, StopReason, Trajectory
from ragr1_lite.evaluation.intervals import Interval, bootstrap, wilson
from ragr1_lite.evaluation.resources import Resources
from ragr1_lite.evaluation.results import Cause, Result, failures

SCORES: dict[str, Callable[[Result], float]] = {
    "em": lambda one: one.em,
    "f1": lambda one: one.f1,
    "cover_em": lambda one: one.cover_em,
}
"""What has an interval, by name."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One pass over a set of questions.

    Attributes:
        label: What was evaluated.
        results: ``samples`` for each question, in the questions' order.
        samples: How often each question was answered.
        resources: What it took, where that was metered.
        not_asked: Questions that are left out of all figures, because none of those before them got an answer.
        shots: Questions that the prompt answered for example.
        unanswerable: As ``results``, of questions whose gold passages were hidden; only :attr:`refusals` count them.
    """

    label: str
    results: tuple[Result, ...]
    samples: int = 1
    resources: Resources | None = None
    not_asked: int = 0
    shots: int = 0
    unanswerable: tuple[Result, ...] = ()

    @property
    def every(self) -> tuple[Result, ...]:
        """All results."""
        return (*self.results, *self.unanswerable)

    @property
    def refusals(self) -> dict[str, Interval]:
        """See :func:`refusal_shares`."""
        right, wrong = (self._by_question(some, _refused) for some in (self.unanswerable, self.results))
        return refusal_shares(right, wrong)

    @property
    def refused(self) -> str:
        """A sentence of the :attr:`refusals`; empty where no question was unanswerable."""
        return refusal_sentence(self.label, self.refusals)

    @property
    def given_up(self) -> str:
        """A sentence that says how many questions were not asked; empty where all were."""
        asked, others = len(self.every) // self.samples, self.not_asked
        if not others:
            return ""
        return f"{self.label}: 0 of the first {asked} questions got an answer; the other {others} were not asked."

    @property
    def readings(self) -> str:
        """A sentence that says how answers were read; empty where all were in tags."""
        read = {name: number for name, number in self.read_by().items() if number}
        if not read.keys() - {"tag"}:
            return ""
        none = len(self.results) - sum(read.values())
        parts = [f"{number} by {name}" for name, number in read.items()] + [f"{none} not at all"] * bool(none)
        return f"{self.label}: of {len(self.results)} answers {', '.join(parts)}."

    @property
    def trajectories(self) -> tuple[Trajectory, ...]:
        """One per result."""
        return tuple(one.trajectory for one in self.results)

    def figures(self, kind: str | None = None) -> dict[str, Any]:
        """Means over all questions, or over those of one kind.

        Returns:
            ``n``, ``em``, ``f1``, ``valid`` (share of trajectories that kept the protocol), ``rounds`` and ``queries``
            per answer, and ``seconds_per_question``: of one answer, where there are several.
        """
        chosen = self._of(kind)
        return {
            "n": len(chosen) // self.samples,
            "em": _mean(chosen, SCORES["em"]),
            "f1": _mean(chosen, SCORES["f1"]),
            "valid": _mean(chosen, _valid),
            "rounds": _mean(chosen, lambda one: one.trajectory.rounds),
            "queries": _mean(chosen, lambda one: one.trajectory.queries),
            "seconds_per_question": _mean(chosen, lambda one: one.seconds),
        }

    def intervals(self, kind: str | None = None) -> dict[str, list[float]]:
        """The 95 % intervals of :data:`SCORES`, ``[low, high]``, by resampling questions; none where there is none."""
        chosen = self._of(kind)
        return {name: bootstrap(self._by_question(chosen, of)).bounds for name, of in SCORES.items() if chosen}

    def spread(self) -> dict[str, float]:
        """How the answers of drawn samples differ.

        Returns:
            The standard deviation of each of :data:`SCORES` from one sample of all questions to the next, and
            ``any_right``, the share of questions with a right answer among theirs.
        """
        rounds = [self.results[number :: self.samples] for number in range(self.samples)]
        means = {name: [statistics.fmean(map(of, some)) for some in rounds] for name, of in SCORES.items()}
        right = [self.results[at : at + self.samples] for at in range(0, len(self.results), self.samples)]
        return {
            **{name: round(statistics.stdev(values), 4) for name, values in means.items()},
            "any_right": round(statistics.fmean(float(any(one.em == 1 for one in some)) for some in right), 4),
        }

    def read_by(self) -> dict[str, int]:
        """How many answers each rule read."""
        return _counts(get_args(Reading), Counter(one.read_by for one in self.trajectories))

    def to_json(self) -> dict[str, Any]:
        """The figures over all questions, and ``by_kind`` where the questions have kinds.

        Returns:
            :meth:`figures`, and: ``not_asked``, where there are any; ``cover_em``; ``sampled_tokens`` and
            ``retrieved_tokens`` per question; ``ci``, see :meth:`intervals`; ``no_answer``, how many questions got
            none; :meth:`read_by`; ``shots``, where the prompt had any; ``causes`` of the errors, which sum to them, and
            ``stop_reasons`` of all, each ``{name: n}`` of answers; ``failures``, see
            :func:`~ragr1_lite.evaluation.results.failures`, with the shares of answers that failed in ``synthesis``
            and in ``retrieval``; :attr:`refusals`, where some questions were unanswerable; where it was metered,
            ``resources``, of which ``per_question`` is a share; where there are several, ``samples`` and their
            :meth:`spread`.
        """
        kinds = list(dict.fromkeys(t.example.kind for t in self.trajectories if t.example.kind))
        causes = _counts(get_args(Cause), Counter(one.cause for one in self.results))
        missed = {f"{name}_misses": round(causes[name] / max(1, len(self.results)), 4) for name in _MISSES}
        return {
            **self.figures(),
            **({"not_asked": self.not_asked} if self.not_asked else {}),
            **({"shots": self.shots} if self.shots else {}),
            "cover_em": _mean(self.results, SCORES["cover_em"]),
            "ci": self.intervals(),
            "sampled_tokens": _mean(self.results, lambda one: one.trajectory.sampled_tokens),
            "retrieved_tokens": _mean(self.results, lambda one: one.retrieved_tokens),
            "no_answer": sum(1 for one in self.trajectories if one.answer is None),
            "read_by": self.read_by(),
            "causes": causes,
            "stop_reasons": _counts(get_args(StopReason), Counter(one.stop_reason for one in self.trajectories)),
            "failures": failures(self.trajectories) | missed,
            **({"refusals": {name: one.to_json() for name, one in self.refusals.items()}} if self.refusals else {}),
            **({"samples": self.samples, "spread": self.spread()} if self.samples > 1 and self.results else {}),
            **({"resources": self._resources(self.resources)} if self.resources else {}),
            "by_kind": {kind: self.figures(kind) | {"ci": {"em": self.intervals(kind)["em"]}} for kind in kinds},
        }

    def _resources(self, spent: Resources) -> dict[str, Any]:
        each = spent.each(max(1, len(self.every) // self.samples))
        sampled = sum(one.trajectory.sampled_tokens for one in self.every)
        speed = round(sampled / max(spent.seconds, 1e-3), 1)
        return {**spent.to_json(), "tokens_per_second": speed, "per_question": each}

    def _by_question(self, chosen: Sequence[Result], of: Callable[[Result], float]) -> list[float]:
        """The mean over each question's answers."""
        values = list(map(of, chosen))
        return [statistics.fmean(values[at : at + self.samples]) for at in range(0, len(values), self.samples)]

    def _of(self, kind: str | None) -> tuple[Result, ...]:
        return tuple(one for one in self.results if kind in (None, one.trajectory.example.kind))


def refusal_shares(right: Sequence[float], wrong: Sequence[float]) -> dict[str, Interval]:
    """Shares of refusals: ``right`` ones, where the passages were hidden, and ``wrong`` ones; none without both.

    Args:
        right: Of each question whose passages were hidden, the share of its answers that refuse.
        wrong: The same of the others.
    """
    interval = wilson if {*right, *wrong} <= {0.0, 1.0} else bootstrap
    return {"right": interval(right), "wrong": interval(wrong)} if right and wrong else {}


def refusal_sentence(name: str, shares: Mapping[str, Interval]) -> str:
    """What :func:`refusal_shares` found of somebody; empty where that is nothing."""
    said = [f"{one.mean:.0%} of {one.n} ({one.low:.0%}–{one.high:.0%})" for one in shares.values()]
    return f"{name} refused {said[0]} questions whose passages were hidden, and {said[1]} others." if said else ""


_MISSES = ("synthesis", "retrieval")


def _valid(result: Result) -> float:
    """Whether the protocol was kept: where the model does not search, an answer is all of it."""
    searches = Protocol(result.mode).searches
    return float(well_formed(result.trajectory) if searches else result.trajectory.stop_reason == "answer")


def _refused(result: Result) -> float:
    return float(refuses(result.trajectory.answer))


def _mean(results: tuple[Result, ...], of: Callable[[Result], float]) -> float:
    return round(statistics.fmean(map(of, results)), 4) if results else 0.0


def _counts(names: tuple[str, ...], counted: Counter[Any]) -> dict[str, int]:
    return {name: counted[name] for name in names}
