"""Who has the places of a batch: where near misses go on, what teaches, and the figures of a step.

A near miss is a rollout that found the evidence and gave no right answer.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ragr1_lite.core.rewards import evidence
from ragr1_lite.core.types import Reward, Trajectory

_OF_PLACES = {"trained", "expert", "continued"}
"""Among a row's figures, those that describe the place and not the rollout."""


@dataclass(frozen=True, slots=True)
class Place:
    """A row of the batch and what it earned; of a continued one also the ``first``, which had its place before."""

    trajectory: Trajectory
    reward: Reward
    first: Place | None = None


def row_of(place: Place) -> dict[str, float]:
    """A place's figures by name; what is no part of its reward is left out.

    They are those of what was sampled from the question alone. ``trained`` is the reward that the trainer gets.
    """
    shown = place.first or place
    trajectory = shown.trajectory
    return shown.reward.parts | {
        "reward": shown.reward.total,
        "invalid": float(trajectory.stop_reason != "answer"),
        "rounds": float(trajectory.rounds),
        "queries": float(trajectory.queries),
        "tokens": float(trajectory.sampled_tokens),
        "trained": place.reward.total,
        "expert": float(trajectory.expert),
        "continued": float(place.first is not None),
    }


def describe(rows: Sequence[Mapping[str, float]], group_size: int) -> dict[str, float]:
    """Means over the sampled rollouts that have the figure, and the shares of groups with signal and without.

    Groups stand one after the other, ``group_size`` rows each; their signal is that of what is trained. Of the
    expert's rows and of continued ones, where there are any, their number and mean reward.
    """
    groups = [rows[start : start + group_size] for start in range(0, len(rows), group_size)]
    live = [has_signal([row["trained"] for row in group]) for group in groups]
    signal = statistics.fmean(live)
    sampled = [row for row in rows if not row["expert"]]
    names = dict.fromkeys(["reward", *(name for row in sampled for name in row if name not in _OF_PLACES)])
    figures = {name: statistics.fmean(row[name] for row in sampled if name in row) for name in names}
    figures |= {"signal": signal, "dead": 1.0 - signal}
    for name in ("expert", "continued"):
        if earned := [row["trained"] for row in rows if row[name]]:
            figures |= {name: float(len(earned)), f"{name}_reward": statistics.fmean(earned)}
    return figures


def has_signal(rewards: Sequence[float]) -> bool:
    """Whether a group teaches anything: its rewards are not all equal."""
    return max(rewards) > min(rewards)


def to_continue(group: Sequence[Place], places: int) -> dict[int, Trajectory]:
    """The places of a group that are sampled anew, and the trajectory that they go on from: the best near miss's.

    The best was shown most gold passages; of equals it needed the fewest turns, then it comes first. It keeps its own
    place, as experts do; of the others the last are taken. None where an answer is right or none was shown any.
    """
    sampled = [place for place, one in enumerate(group) if not one.trajectory.expert]
    begun = {place: up_to_evidence(group[place].trajectory) for place in sampled}
    best = max(sampled, key=lambda place: (evidence(begun[place]) or 0.0, -len(begun[place].turns)))
    if not evidence(begun[best]) or any(group[place].reward.parts["em"] == 1 for place in sampled):
        return {}
    others = [place for place in sampled if place != best]
    return dict.fromkeys(others[-places:], begun[best])


def up_to_evidence(trajectory: Trajectory) -> Trajectory:
    """Its shortest beginning, of whole turns with what they found, that has all of its evidence."""
    return next(
        begun
        for turns in range(len(trajectory.turns) + 1)
        if evidence(begun := _beginning(trajectory, turns)) == evidence(trajectory)
    )


def _beginning(trajectory: Trajectory, turns: int) -> Trajectory:
    """Each turn of a model that searches has two segments, its own and the information's; the prompt comes first."""
    return replace(trajectory, segments=trajectory.segments[: 1 + 2 * turns], turns=trajectory.turns[:turns])
