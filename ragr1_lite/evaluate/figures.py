"""What a pass over questions comes to: means over all, and by kind."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ragr1_lite.core import Trajectory
from ragr1_lite.rewards import exact_match, f1, well_formed


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One pass over a set of questions.

    Attributes:
        label: What was evaluated.
        trajectories: One per question, in the questions' order.
        seconds: Wall time of all rollouts.
    """

    label: str
    trajectories: tuple[Trajectory, ...]
    seconds: float

    def figures(self, kind: str | None = None) -> dict[str, Any]:
        """Means over all questions, or over those of one kind.

        Returns:
            ``n``, ``em``, ``f1``, ``valid`` (share of well-formed trajectories), ``rounds`` and ``queries`` per
            question, and ``seconds_per_question`` (of the whole batch: kinds share it by the tokens they sampled).
        """
        chosen = [t for t in self.trajectories if kind is None or t.example.kind == kind]
        mean: Callable[[Callable[[Trajectory], float]], float] = lambda of: (  # noqa: E731
            round(statistics.fmean(map(of, chosen)), 4) if chosen else 0.0
        )
        tokens = sum(t.sampled_tokens for t in self.trajectories) or 1
        return {
            "n": len(chosen),
            "em": mean(lambda t: exact_match(t.answer, t.example.answers)),
            "f1": mean(lambda t: f1(t.answer, t.example.answers)),
            "valid": mean(well_formed),
            "rounds": mean(lambda t: t.rounds),
            "queries": mean(lambda t: t.queries),
            "seconds_per_question": mean(lambda t: self.seconds * t.sampled_tokens / tokens),
        }

    def to_json(self) -> dict[str, Any]:
        """The figures over all questions, and ``by_kind`` where the questions have kinds."""
        kinds = list(dict.fromkeys(t.example.kind for t in self.trajectories if t.example.kind))
        return {**self.figures(), "by_kind": {kind: self.figures(kind) for kind in kinds}}
