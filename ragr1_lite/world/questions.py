"""The questions of the world: every one of a split, or a balanced draw. The same in every process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import Final, TypeVar, cast

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.world import build
from ragr1_lite.world.attributes import COUNTRY_ATTRIBUTES, ELEMENT_ATTRIBUTES, KEYS, LISTS, NEIGHBOUR, Attribute
from ragr1_lite.world.build import WorldQuestion
from ragr1_lite.world.compare import RIVALS, Rivals
from ragr1_lite.world.everyday import items
from ragr1_lite.world.tables import SPLITS, Country, Entity, Split, countries, elements, split_of, stable_hash

T = TypeVar("T")
KINDS: Final = ("one-hop", "bridge", "compare-2", "compare-3", "list", "intersection", "everyday")

_PER_ATTRIBUTE: Final[Mapping[Split, int]] = {"train": 250, "dev": 12, "test": 30}
_LEAST_GAP = 0.03  # Of the larger number; below it a comparison hangs on how the source rounds.
_LEAST_YEARS = 3
_COMMON_WORDS: Final = (
    "am",
    "as",
    "at",
    "be",
    "by",
    "do",
    "he",
    "in",
    "is",
    "it",
    "me",
    "my",
    "no",
    "so",
    "to",
    "us",
)
_MOST_NEIGHBOURS: Final = {2: 10, 3: 6}  # By the number of countries asked about: thoughts stay short.


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
    pools = {kind: _shuffled(_pool(cast(Split, split), kind), seed) for kind in KINDS if weights.get(kind, 0) > 0}
    sizes = {kind: len(pool) for kind, pool in pools.items()}
    quotas = sizes if limit is None else _quotas(limit, weights, sizes)
    return _shuffled([question for kind, pool in pools.items() for question in pool[: quotas[kind]]], seed)


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
def _pool(split: Split, kind: str) -> tuple[WorldQuestion, ...]:
    """Every question of a kind in a split."""
    makers: dict[str, Callable[[Split], Iterator[WorldQuestion]]] = {
        "one-hop": _one_hops,
        "bridge": _bridges,
        "compare-2": lambda split: _comparisons(split, 2),
        "compare-3": lambda split: _comparisons(split, 3),
        "list": _lists,
        "intersection": _intersections,
        "everyday": _everyday,
    }
    return tuple(makers[kind](split))


def _asked(split: Split, attribute: Attribute) -> list[Entity]:
    """The entities of the split that have a clean value of the attribute."""
    rows: Sequence[Entity] = countries() if attribute in COUNTRY_ATTRIBUTES else elements()
    return [row for row in rows if split_of(row.id) == split and attribute.read(row)]


def _one_hops(split: Split) -> Iterator[WorldQuestion]:
    for attribute in (*COUNTRY_ATTRIBUTES, *ELEMENT_ATTRIBUTES):
        for entity in _asked(split, attribute):
            yield build.one_hop(entity, attribute)


def _bridges(split: Split) -> Iterator[WorldQuestion]:
    for key in KEYS:
        for entity in _asked(split, key.attribute):
            if not _names_one(key.attribute, entity):
                continue
            for target in key.targets:
                if target.read(entity):
                    yield build.bridge(entity, key, target)


@cache
def _owners(attribute: Attribute) -> dict[str, int]:
    """How many entities share a value, an alias counted as well."""
    owners: dict[str, int] = {}
    for row in (*countries(), *elements()):
        if isinstance(row, Country) == (attribute in COUNTRY_ATTRIBUTES):
            for value in set(attribute.read(row)):
                owners[value] = owners.get(value, 0) + 1
    return owners


def _names_one(attribute: Attribute, entity: Entity) -> bool:
    """Whether the value describes this entity alone, in words that a search can find."""
    value = attribute.read(entity)[0]
    word = value.strip(".").lower()
    if len(word) == 1 or word in _COMMON_WORDS:
        return False
    return _owners(attribute)[value] == 1 and value not in entity.name and entity.name not in value


def _comparisons(split: Split, size: int) -> Iterator[WorldQuestion]:
    for rivals in RIVALS:
        rows = _asked(split, rivals.attribute)
        number = {row.id: int(getattr(row, rivals.number)) for row in rows}

        def clear(group: Sequence[Entity], number: Mapping[str, int] = number, rivals: Rivals = rivals) -> bool:
            values = sorted(number[row.id] for row in group)
            gaps = zip(values, values[1:], strict=False)
            if rivals.rule.counted:
                return all(high - low >= _LEAST_GAP * high for low, high in gaps)
            return all(high - low >= _LEAST_YEARS for low, high in gaps)

        groups = _groups(rows, size, f"{split}:{rivals.attribute.name}", _PER_ATTRIBUTE[split], clear)
        for turn, group in enumerate(groups):
            winner = group[rivals.rule.winner([number[row.id] for row in group])]
            others = [row for row in group if row is not winner]
            yield build.compare([*others[: turn % size], winner, *others[turn % size :]], rivals)


def _groups(
    rows: Sequence[T], size: int, key: str, most: int, accept: Callable[[Sequence[T]], bool] = lambda group: True
) -> Iterator[list[T]]:
    """Distinct groups of rows, drawn by a hash of the key; fewer than ``most`` where there are not enough."""
    seen: set[frozenset[int]] = set()
    for turn in range(50 * most if len(rows) >= size else 0):
        chosen = [stable_hash(f"{key}:{size}:{turn}:{place}") % len(rows) for place in range(size)]
        group = [rows[index] for index in chosen]
        if len({*chosen}) < size or frozenset(chosen) in seen or not accept(group):
            continue
        seen.add(frozenset(chosen))
        yield group
        if len(seen) == most:
            return


def _lists(split: Split) -> Iterator[WorldQuestion]:
    for attribute, ask in LISTS:
        for group in _groups(_asked(split, attribute), 3, f"list:{split}:{attribute.name}", _PER_ATTRIBUTE[split]):
            yield build.listing(group, attribute, ask)


def _intersections(split: Split) -> Iterator[WorldQuestion]:
    for size, most in _MOST_NEIGHBOURS.items():
        rows = [row for row in countries() if split_of(row.id) == split and 0 < len(row.borders) <= most]
        for group in combinations(rows, size):
            common = set.intersection(*({*row.borders} for row in group))
            if len(common) == 1:
                key = " ".join(row.id for row in group)
                turn = stable_hash(key) % size
                order = [*group[turn:], *group[:turn]]
                yield build.intersection(order, NEIGHBOUR, common.pop())


def _everyday(split: Split) -> Iterator[WorldQuestion]:
    for item in items():
        if split_of(item.id) == split:
            yield build.everyday(item)
