"""What a pass over questions comes to: means over all with intervals, means by kind, and why answers were wrong."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from ragr1_lite.core import StopReason, Trajectory
from ragr1_lite.evaluate.causes import Cause
from ragr1_lite.evaluate.failures import failures
from ragr1_lite.evaluate.intervals import bootstrap
from ragr1_lite.evaluate.results import Result
from ragr1_lite.rewards import well_formed

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
        results: One per question, in the questions' order.
        seconds: Wall time of all rollouts.
    """

    label: str
    results: tuple[Result, ...]
    seconds: float

    @property
    def trajectories(self) -> tuple[Trajectory, ...]:
        """One per question."""
        return tuple(one.trajectory for one in self.results)

    def figures(self, kind: str | None = None) -> dict[str, Any]:
        """Means over all questions, or over those of one kind.

        Returns:
            ``n``, ``em``, ``f1``, ``valid`` (share of well-formed trajectories), ``rounds`` and ``queries`` per
            question, and ``seconds_per_question``.
        """
        chosen = self._of(kind)
        return {
            "n": len(chosen),
            "em": _mean(chosen, SCORES["em"]),
            "f1": _mean(chosen, SCORES["f1"]),
            "valid": _mean(chosen, lambda one: well_formed(one.trajectory)),
            "rounds": _mean(chosen, lambda one: one.trajectory.rounds),
            "queries": _mean(chosen, lambda one: one.trajectory.queries),
            "seconds_per_question": _mean(chosen, lambda one: one.seconds),
        }

    def intervals(self, kind: str | None = None) -> dict[str, list[float]]:
        """The 95 % intervals of :data:`SCORES`, ``[low, high]``; none where there is no question."""
        chosen = self._of(kind)
        return {name: bootstrap([of(one) for one in chosen]).bounds for name, of in SCORES.items() if chosen}

    def to_json(self) -> dict[str, Any]:
        """The figures over all questions, and ``by_kind`` where the questions have kinds.

        Returns:
            Beside :meth:`figures`: ``cover_em``; ``sampled_tokens`` and ``retrieved_tokens`` per question; ``ci``, see
            :meth:`intervals`; ``no_answer``, how many questions got none; ``causes`` of the errors, whose number they
            sum to, and ``stop_reasons`` of all, each ``{name: n}``; ``failures``, see
            :func:`~ragr1_lite.evaluate.failures.failures`, with the shares of questions that failed in ``synthesis``
            and in ``retrieval``.
        """
        kinds = list(dict.fromkeys(t.example.kind for t in self.trajectories if t.example.kind))
        causes = _counts(get_args(Cause), Counter(one.cause for one in self.results))
        missed = {f"{name}_misses": round(causes[name] / max(1, len(self.results)), 4) for name in _MISSES}
        return {
            **self.figures(),
            "cover_em": _mean(self.results, SCORES["cover_em"]),
            "ci": self.intervals(),
            "sampled_tokens": _mean(self.results, lambda one: one.trajectory.sampled_tokens),
            "retrieved_tokens": _mean(self.results, lambda one: one.retrieved_tokens),
            "no_answer": sum(1 for one in self.trajectories if one.answer is None),
            "causes": causes,
            "stop_reasons": _counts(get_args(StopReason), Counter(one.stop_reason for one in self.trajectories)),
            "failures": failures(self.trajectories) | missed,
            "by_kind": {kind: self.figures(kind) | {"ci": {"em": self.intervals(kind)["em"]}} for kind in kinds},
        }

    def _of(self, kind: str | None) -> tuple[Result, ...]:
        return tuple(one for one in self.results if kind in (None, one.trajectory.example.kind))


_MISSES = ("synthesis", "retrieval")


def _mean(results: tuple[Result, ...], of: Callable[[Result], float]) -> float:
    return round(statistics.fmean(map(of, results)), 4) if results else 0.0


def _counts(names: tuple[str, ...], counted: Counter[Any]) -> dict[str, int]:
    """How many there are of each, those of which there are none too."""
    return {name: counted[name] for name in names}
