"""The passages and questions of the embedded world, read from this folder's files.

``tools/world`` in the repository writes the files. They hold one JSON object a line; a file is read when it is first
needed. The same draw gives the same questions in every process and on every machine.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.types import Example, GoldPlan, Mode, Passage, Step

Split = Literal["train", "dev", "test"]
SPLITS: Final = ("train", "dev", "test")
KINDS: Final = ("one-hop", "bridge", "compare-2", "compare-3", "list", "intersection", "everyday")


@dataclass(frozen=True, slots=True)
class Search:
    """A query and the ids of the passages that answer it, any one of which is enough; the main one comes first."""

    query: str
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorldQuestion:
    """A question of the world and how to answer it.

    Attributes:
        example: Id, question, accepted answers, kind, hops and gold passages' titles.
        searches: Every gold query in the order of the plans.
        multi: The plan with parallel queries.
        single: The plan with one query a round.
    """

    example: Example
    searches: tuple[Search, ...]
    multi: GoldPlan
    single: GoldPlan

    @property
    def support(self) -> tuple[str, ...]:
        """Ids of the passages that hold the facts, one per query."""
        return tuple(search.passages[0] for search in self.searches)

    def plan(self, mode: Mode) -> GoldPlan:
        """The gold plan of a mode; without rounds in ``rag`` and ``direct``, where the model does not search."""
        if mode == "multi":
            return self.multi
        return self.single if mode == "single" else replace(self.multi, steps=())


@cache
def passages() -> tuple[Passage, ...]:
    """Every passage of the world, distractors among them, always in the same order."""
    return tuple(Passage(**row) for row in _rows("passages"))


def questions(
    split: str,
    *,
    seed: int = 0,
    limit: int | None = None,
    kinds: Sequence[str] | None = None,
    mix: Mapping[str, float] | None = None,
) -> list[WorldQuestion]:
    """Questions of a split, shuffled by the seed. What belongs to a split never depends on the seed.

    Args:
        split: ``train``, ``dev`` or ``test``; they share no asked entity.
        seed: Of the order, and of the draw where there is a limit.
        limit: At most this many, without repeats; kinds are drawn evenly, or by ``mix``. All where ``None``.
        kinds: Only these kinds.
        mix: Weights by kind; a kind left out is not drawn. Where a kind runs out, the others fill up.

    Raises:
        ConfigError: The split or a kind is unknown, or a weight is negative.
    """
    weights = _weights(kinds, mix)
    if split not in SPLITS:
        raise ConfigError(f"The world has no split {split!r}", f"Choose one of {', '.join(SPLITS)}.")
    pools = {kind: _shuffled(pool, seed) for kind, pool in _pools(split).items() if weights.get(kind, 0) > 0}
    sizes = {kind: len(pool) for kind, pool in pools.items()}
    quotas = sizes if limit is None else _quotas(limit, weights, sizes)
    return _shuffled([question for kind, pool in pools.items() for question in pool[: quotas[kind]]], seed)


def gold_passages(question: str) -> tuple[str, ...]:
    """Ids of all passages that hold a fact of a question, by its id; none of a question that needs no search."""
    return _gold_passages().get(question, ())


@cache
def _gold_passages() -> dict[str, tuple[str, ...]]:
    every = (question for split in SPLITS for pool in _pools(split).values() for question in pool)
    return {one.example.id: tuple(id for search in one.searches for id in search.passages) for one in every}


def stable_hash(text: str) -> int:
    """A 32-bit hash that is the same in every process and on every machine.

    CRC-32 alone is linear: the hashes of "x:a" and "x:b" would differ by the same bits for every x. Two rounds of
    MurmurHash3's finalizer break that.
    """
    value = zlib.crc32(text.encode())
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        value = (value ^ (value >> 15)) * factor & 0xFFFFFFFF
    return value ^ (value >> 16)


def _weights(kinds: Sequence[str] | None, mix: Mapping[str, float] | None) -> dict[str, float]:
    """The weight of each kind that may be drawn."""
    weights = dict(mix) if mix is not None else dict.fromkeys(KINDS, 1.0)
    unknown = sorted({*weights, *(kinds or ())} - {*KINDS})
    if unknown:
        raise ConfigError(f"The world has no questions of kind {unknown[0]!r}", f"Choose among {', '.join(KINDS)}.")
    if min(weights.values(), default=0) < 0:
        raise ConfigError("A kind of question has a negative weight", "Give every kind a weight of 0 or more.")
    return {kind: weight for kind, weight in weights.items() if kinds is None or kind in kinds}


def _quotas(limit: int, weights: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, int]:
    """Shares the limit by weight, one question after the other, to the kind that is furthest behind its share."""
    quotas = dict.fromkeys(sizes, 0)
    for _ in range(min(limit, sum(sizes.values()))):
        open_kinds = [kind for kind in sizes if quotas[kind] < sizes[kind]]
        behind = min(open_kinds, key=lambda kind: (quotas[kind] + 1) / weights[kind])
        quotas[behind] += 1
    return quotas


def _shuffled(pool: Sequence[WorldQuestion], seed: int) -> list[WorldQuestion]:
    return sorted(pool, key=lambda question: (stable_hash(f"{seed}:{question.example.id}"), question.example.id))


@cache
def _pools(split: str) -> dict[str, list[WorldQuestion]]:
    """Every question of a split, by kind."""
    pools: dict[str, list[WorldQuestion]] = {kind: [] for kind in KINDS}
    for row in _rows(split):
        pools[row["kind"]].append(_question(row))
    return pools


def _question(row: Mapping[str, Any]) -> WorldQuestion:
    answers = tuple(row["answers"])
    example = Example(row["id"], row["question"], answers, row["kind"], row["hops"], titles=tuple(row["titles"]))
    searches = tuple(Search(one["query"], tuple(one["passages"])) for one in row["searches"])
    multi = GoldPlan(_steps(row["multi"]), row["think"], answers[0])
    single = replace(multi, steps=_steps(row["single"])) if "single" in row else multi
    return WorldQuestion(example, searches, multi, single)


def _steps(rows: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    return tuple(Step(row["think"], tuple(row["queries"])) for row in rows)


def _rows(name: str) -> Iterator[dict[str, Any]]:
    content = resources.files(__package__).joinpath(f"{name}.jsonl.gz").read_bytes()
    return map(json.loads, gzip.decompress(content).splitlines())
