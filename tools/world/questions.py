"""Every question of the world, the same in every process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import Final, TypeVar

from ragr1_lite.world.questions import Split, WorldQuestion, stable_hash
from tools.world import build
from tools.world.attributes import COUNTRY_ATTRIBUTES, ELEMENT_ATTRIBUTES, KEYS, LISTS, NEIGHBOUR, Attribute
from tools.world.compare import RIVALS, Rivals
from tools.world.everyday import items
from tools.world.tables import Country, Entity, countries, elements, split_of

T = TypeVar("T")

_PER_ATTRIBUTE: Final[Mapping[Split, int]] = {"train": 250, "dev": 12, "test": 30}
_LEAST_GAP = 0.03  # Of the larger number; below it a comparison hangs on how the source rounds.
_LEAST_YEARS = 3
_COMMON_WORDS: Final = "am as at be by do he in is it me my no so to us".split()
_MOST_NEIGHBOURS: Final = {2: 10, 3: 6}  # By the number of countries asked about: thoughts stay short.


def every_question(split: Split) -> Iterator[WorldQuestion]:
    """Yields the questions of a split, kind by kind."""
    yield from _one_hops(split)
    yield from _bridges(split)
    yield from _comparisons(split, 2)
    yield from _comparisons(split, 3)
    yield from _lists(split)
    yield from _intersections(split)
    for item in items():
        if split_of(item.id) == split:
            yield build.everyday(item)


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
