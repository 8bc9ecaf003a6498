"""Why an answer is wrong: exactly one cause for each error, so that the causes sum to the errors."""

from __future__ import annotations

from typing import Literal

from ragr1_lite.core.evidence import Evidence
from ragr1_lite.core.rewards import OURS, Scorer
from ragr1_lite.core.types import Trajectory

Cause = Literal["format", "budget", "unsearched", "synthesis", "retrieval"]


def cause(trajectory: Trajectory, scorer: Scorer = OURS) -> Cause | None:
    """The first of these that holds; ``None`` where the answer is right.

    - ``format``: the model wrote no usable tag, or was cut while it wrote.
    - ``budget``: it still searched in its last generation, or the sequence was full.
    - ``unsearched``: nothing was ever retrieved for it.
    - ``synthesis``: what the model saw of the passages holds the answer; see :mod:`ragr1_lite.core.evidence`.
    - ``retrieval``: everything else; the answer was never before the model's eyes, or it cannot be said whether it was.
    """
    if scorer.exact_match(trajectory.answer, trajectory.example.answers) == 1.0:
        return None
    if trajectory.stop_reason in ("invalid", "length"):
        return "format"
    if trajectory.stop_reason in ("budget", "context"):
        return "budget"
    if not trajectory.rounds:
        return "unsearched"
    return "synthesis" if Evidence.of(trajectory.example).complete_in(trajectory.shown) else "retrieval"
