"""Near misses: rollouts that found the evidence and gave no right answer. From where their group goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ragr1_lite.core.rewards import evidence
from ragr1_lite.core.types import Trajectory
from ragr1_lite.training.grpo.figures import Place


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
