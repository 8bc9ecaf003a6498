"""Why answers are wrong, and how searches fail.

Each wrong answer has exactly one cause, so that the causes sum to the errors.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Literal

from ragr1_lite.core.evidence import Evidence
from ragr1_lite.core.rewards import OURS, Scorer
from ragr1_lite.core.types import Trajectory, Turn

Cause = Literal["format", "budget", "unsearched", "synthesis", "retrieval"]


def cause(trajectory: Trajectory, scorer: Scorer = OURS) -> Cause | None:
    """The first of these that holds; ``None`` where the answer is right.

    - ``format``: the model wrote no usable tag and no answer in free text, or was cut while it wrote.
    - ``budget``: it still searched in its last generation, or the sequence was full.
    - ``unsearched``: nothing was ever retrieved for it.
    - ``synthesis``: what the model saw of the passages holds the answer; see :mod:`ragr1_lite.core.evidence`.
    - ``retrieval``: everything else; the model never saw the answer, or whether it did cannot be known.
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


def failures(trajectories: Sequence[Trajectory]) -> dict[str, float | None]:
    """The failure signatures of searches; ``None`` where nothing could show them.

    Returns:
        ``query_imbalance``: the share of a search's passages with the answer that its best query brought, over searches
        with several queries that brought any; 1 means that one query did all the work.
        ``passage_overlap``: passages that two queries of a search both brought over those that either did, over all
        such pairs. ``repeated_queries``: the share of queries that an earlier turn had asked.
    """
    return {
        "query_imbalance": _mean(share for one in trajectories for share in _best_shares(one)),
        "passage_overlap": _mean(share for one in trajectories for turn in one.turns for share in _overlaps(turn)),
        "repeated_queries": _mean(float(again) for one in trajectories for again in _repeated(one)),
    }


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return round(statistics.fmean(known), 4) if known else None


def _best_shares(trajectory: Trajectory) -> Iterator[float]:
    """For each search with several queries and passages with the answer, the share of these that its best one found."""
    evidence = Evidence.of(trajectory.example)
    for turn in trajectory.turns:
        if len(turn.passages) < 2:
            continue
        useful = [{one.key for one in found if evidence.held_by(one)} for found in turn.passages]
        if every := set[tuple[str, str]]().union(*useful):
            yield max(map(len, useful)) / len(every)


def _overlaps(turn: Turn) -> Iterator[float]:
    """For each two queries of a search, the share of their passages that both found; none where they found nothing."""
    for one, other in combinations([{passage.key for passage in found} for found in turn.passages], 2):
        if one | other:
            yield len(one & other) / len(one | other)


def _repeated(trajectory: Trajectory) -> Iterator[bool]:
    """For each query that was answered, whether an earlier turn had asked it."""
    earlier: set[str] = set()
    for turn in trajectory.turns:
        if turn.passages:
            asked = [" ".join(query.casefold().split()) for query in turn.queries]
            yield from (query in earlier for query in asked)
            earlier.update(asked)
