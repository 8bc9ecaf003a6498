"""Who has the places of a batch, and the figures of a step."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
