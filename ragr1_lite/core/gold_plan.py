"""Gold plans: what a perfect run thinks, searches and answers. Trajectories are made from them with real retrieval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One retrieval round: the thought before the search, and at least one query."""

    think: str
    queries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GoldPlan:
    """Every round of a perfect run, then its last thought and answer.

    Attributes:
        steps: The retrieval rounds in order; empty where no search is needed.
        think: The thought before the answer.
        answer: The answer as it should be written.
    """

    steps: tuple[Step, ...]
    think: str
    answer: str
