"""A question of a set, with what the set says about how it is answered."""

from __future__ import annotations

from dataclasses import dataclass

from ragr1_lite.core.types import Example


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a decomposed question, as MuSiQue has them.

    Attributes:
        question: The sub-question; ``#1`` stands in it for the answer of the first hop, ``#2`` for the second's.
        answer: Its answer.
        title: The passage that says so; empty where the set does not name it.
    """

    question: str
    answer: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """An example, and what its set says about a perfect run; what a set does not say is empty.

    Attributes:
        example: The question, its answers and its gold passages' titles, each once, in the set's order.
        hops: The decomposition, in order.
        triples: Evidence as subject, relation and object, as 2WikiMultiHopQA has it.
    """

    example: Example
    hops: tuple[Hop, ...] = ()
    triples: tuple[tuple[str, str, str], ...] = ()
