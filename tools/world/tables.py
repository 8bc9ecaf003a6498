"""The tables of the world, read once, and the split of their entities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

from ragr1_lite.world.questions import Split, stable_hash

FURTHER_BORDERS: Final = frozenset(("Canada", "Denmark", "United Kingdom"))
"""Countries with more land borders than those in the table, through territories or islands overseas."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Country:
    """A row of ``countries.jsonl``; ``None`` where there is no single clean value.

    Attributes:
        id: Slug of the name.
        name: Usual short English name, without an article.
        aliases: Other names.
        article: Whether running text puts "the" before the name.
        region: Part of the world, as it reads after "in".
        capital: The one capital.
        capital_aliases: Other spellings of it.
        highest: Name of the highest point.
        highest_aliases: Other names of it.
        metres: Height of the highest point, metres above the sea.
        area: Square kilometres.
        population: Inhabitants, as estimated by the source.
        independence: Year of independence.
        tld: Internet domain, with its dot.
        borders: Names of the land neighbours in this table, sorted.
    """

    id: str
    name: str
    aliases: tuple[str, ...]
    article: bool
    region: str
    capital: str | None
    capital_aliases: tuple[str, ...]
    highest: str | None
    highest_aliases: tuple[str, ...]
    metres: int | None
    area: int | None
    population: int
    independence: int | None
    tld: str | None
    borders: tuple[str, ...]

    @property
    def spoken(self) -> str:
        """The name inside a sentence: "the Gambia", "Chad"."""
        return f"the {self.name}" if self.article else self.name


@dataclass(frozen=True, slots=True)
class Element:
    """A row of ``elements.jsonl``; ``None`` where there is no single clean value.

    Attributes:
        id: The name.
        name: English name in lower case.
        aliases: Other spellings.
        symbol: Chemical symbol.
        number: Atomic number.
        category: Such as "noble gas".
        state: "solid", "liquid" or "gas" at room temperature.
        weight: Standard atomic weight, rounded, as it is written.
        discovered: Year of the discovery.
        ancient: Known since ancient times.
        discoverer: Who discovered it.
        discoverer_aliases: Other spellings.
    """

    id: str
    name: str
    aliases: tuple[str, ...]
    symbol: str
    number: int
    category: str | None
    state: str | None
    weight: str | None
    discovered: int | None
    ancient: bool
    discoverer: str | None
    discoverer_aliases: tuple[str, ...]

    @property
    def spoken(self) -> str:
        """The name inside a sentence."""
        return self.name


Entity = Country | Element


def _rows(file: str) -> list[dict[str, Any]]:
    """Rows of a table in this folder, lists as tuples."""
    text = resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
    rows = (json.loads(line) for line in text.splitlines())
    return [{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()} for row in rows]


@cache
def countries() -> tuple[Country, ...]:
    """All countries, by id."""
    return tuple(Country(**row) for row in _rows("countries.jsonl"))


@cache
def elements() -> tuple[Element, ...]:
    """All chemical elements, by atomic number."""
    return tuple(Element(**row) for row in _rows("elements.jsonl"))


@cache
def distractors() -> tuple[tuple[str, str], ...]:
    """Title and text of passages that answer no question: topics, overviews, names that are easily mixed up."""
    return tuple((row["title"], row["text"]) for row in _rows("distractors.jsonl"))


def pick(options: Sequence[T], key: str) -> T:
    """One of the options, chosen by the key alone."""
    return options[stable_hash(key) % len(options)]


def split_of(key: str) -> Split:
    """The split an entity or item belongs to: about 70 % train, 10 % dev, 20 % test, never changing."""
    bucket = stable_hash(f"split:{key}") % 100
    return "train" if bucket < 70 else "dev" if bucket < 80 else "test"
