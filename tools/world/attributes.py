"""What can be asked about an entity: the wordings, the query that finds it, the sentence that states it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from tools.world.passages import mountain_id, passages, slug
from tools.world.tables import FURTHER_BORDERS, Country, Entity, countries

Answers = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One thing to ask about an entity.

    Attributes:
        name: Used in question ids.
        noun: What a thought calls it: "I need {noun} of Chad."
        query: The search that finds it; ``{x}`` is the entity's name.
        ask: Wordings of the question; ``{x}`` is the entity or a description of it.
        say: The sentence that states it; ``{x}`` the entity, ``{v}`` the answer.
        read: The accepted answers of an entity, the canonical one first; empty where there is no clean value.
        facet: Ends the id of the passage that states it, such as ``geography``.
    """

    name: str
    noun: str
    query: str
    ask: tuple[str, ...]
    say: str
    read: Callable[[Any], Answers]
    facet: str

    def state(self, entity: Entity) -> str:
        """The sentence that states it."""
        text = self.say.format(x=entity.spoken, v=self.read(entity)[0])
        return text[0].upper() + text[1:]

    def passages(self, entity: Entity) -> tuple[str, ...]:
        """Ids of the passages that state it, the main one first; any one of them is enough."""
        return _stated_in(self.facet, self.name, entity)


@cache
def passage_ids() -> frozenset[str]:
    """Ids of all passages."""
    return frozenset(passage.id for passage in passages())


def _stated_in(facet: str, name: str, entity: Entity) -> tuple[str, ...]:
    ids = [f"{entity.id}-{facet}"]
    if isinstance(entity, Country):
        if name == "capital" and entity.capital:
            ids.append(slug(entity.capital))
        if name in ("highest", "height") and entity.highest:
            ids.append(mountain_id(entity))
    return tuple(id for id in ids if id in passage_ids())


def _named(value: str | None, aliases: tuple[str, ...] = ()) -> Answers:
    return (value, *aliases) if value else ()


def _count(value: int | None) -> Answers:
    return (f"{value:,}", str(value), f"{value:,} people", f"about {value:,}") if value is not None else ()


def _metres(row: Country) -> Answers:
    if row.metres is None:
        return ()
    forms = (f"{row.metres:,} m", f"{row.metres:,} metres", f"{row.metres:,} meters", f"{row.metres:,}")
    return (*forms, *(form.replace(",", "") for form in forms))


def _square(row: Country) -> Answers:
    if row.area is None:
        return ()
    units = (" square kilometres", " square kilometers", " km2", " km²", " sq km", "")
    return tuple(f"{row.area:,}{unit}" for unit in units)


def _state(row: Any) -> Answers:
    return (row.state, f"a {row.state}") if row.state else ()


def _category(row: Any) -> Answers:
    return (row.category, f"{row.category}s") if row.category else ()


def _domain(row: Country) -> Answers:
    return (row.tld, row.tld.removeprefix(".")) if row.tld else ()


def _weight(row: Any) -> Answers:
    return (row.weight, f"about {row.weight}", f"{row.weight} u") if row.weight else ()


def _only_neighbour(row: Country) -> Answers:
    if len(row.borders) != 1 or row.name in FURTHER_BORDERS:
        return ()
    return names_of(row.borders[0])


@cache
def names_of(name: str) -> Answers:
    """A country's name, with its article and its aliases."""
    row = next(row for row in countries() if row.name == name)
    return tuple(dict.fromkeys((row.name, row.spoken, *row.aliases)))


CAPITAL: Final = Attribute(
    "capital",
    "the capital",
    "capital of {x}",
    (
        "What is the capital of {x}?",
        "Which city is the capital of {x}?",
        "Name the capital of {x}.",
        "What is the capital city of {x}?",
    ),
    "The capital of {x} is {v}.",
    lambda row: _named(row.capital, row.capital_aliases),
    "people",
)
HIGHEST: Final = Attribute(
    "highest",
    "the highest point",
    "highest point of {x}",
    (
        "What is the highest point of {x}?",
        "What is the name of the highest point of {x}?",
        "Name the highest point of {x}.",
        "What is the highest point in {x} called?",
    ),
    "The highest point of {x} is {v}.",
    lambda row: _named(row.highest, row.highest_aliases),
    "geography",
)
HEIGHT: Final = Attribute(
    "height",
    "the height of the highest point",
    "highest point of {x}",
    (
        "How high is the highest point of {x}?",
        "What is the height of the highest point of {x}?",
        "How many metres high is the highest point of {x}?",
    ),
    "The highest point of {x} is {v} high.",
    _metres,
    "geography",
)
AREA: Final = Attribute(
    "area",
    "the area",
    "area of {x}",
    (
        "What is the area of {x}?",
        "How large is the area of {x}?",
        "How many square kilometres does {x} cover?",
        "What area does {x} cover?",
    ),
    "The area of {x} is {v}.",
    _square,
    "geography",
)
POPULATION: Final = Attribute(
    "population",
    "the population",
    "population of {x}",
    (
        "What is the population of {x}?",
        "How many people live in {x}?",
        "How large is the population of {x}?",
    ),
    "The population of {x} is {v}.",
    lambda row: _count(row.population),
    "people",
)
INDEPENDENCE: Final = Attribute(
    "independence",
    "the year of independence",
    "independence of {x}",
    (
        "In what year did {x} become independent?",
        "When did {x} gain independence?",
        "What is the year of independence of {x}?",
    ),
    "The year of independence of {x} is {v}.",
    lambda row: _named(row.independence and str(row.independence)),
    "history",
)
DOMAIN: Final = Attribute(
    "domain",
    "the internet domain",
    "internet domain of {x}",
    (
        "What is the internet domain of {x}?",
        "Which internet domain belongs to {x}?",
        "What is the top-level internet domain of {x}?",
    ),
    "The internet domain of {x} is {v}.",
    _domain,
    "history",
)
NEIGHBOUR: Final = Attribute(
    "neighbour",
    "the neighbours",
    "neighbours of {x}",
    (
        "Which country is the only neighbour of {x}?",
        "Which is the only country that borders {x}?",
        "What is the only neighbour of {x} on land?",
    ),
    "The only neighbour of {x} is {v}.",
    _only_neighbour,
    "neighbours",
)
SYMBOL: Final = Attribute(
    "symbol",
    "the symbol",
    "symbol of {x}",
    (
        "What is the chemical symbol of {x}?",
        "Which chemical symbol stands for {x}?",
        "What is the symbol of {x}?",
    ),
    "The symbol of {x} is {v}.",
    lambda row: (row.symbol,),
    "symbol",
)
NUMBER: Final = Attribute(
    "number",
    "the atomic number",
    "atomic number of {x}",
    (
        "What is the atomic number of {x}?",
        "Which atomic number does {x} have?",
        "Name the atomic number of {x}.",
    ),
    "The atomic number of {x} is {v}.",
    lambda row: (str(row.number),),
    "symbol",
)
WEIGHT: Final = Attribute(
    "weight",
    "the atomic weight",
    "atomic weight of {x}",
    (
        "What is the atomic weight of {x}?",
        "Which atomic weight does {x} have?",
        "Name the atomic weight of {x}.",
    ),
    "The atomic weight of {x} is {v}.",
    _weight,
    "properties",
)
CATEGORY: Final = Attribute(
    "category",
    "the category",
    "category of {x}",
    (
        "What category of element is {x}?",
        "To which category of elements does {x} belong?",
        "In the periodic table, what is the category of {x}?",
    ),
    "The category of {x} is {v}.",
    _category,
    "properties",
)
STATE: Final = Attribute(
    "state",
    "the state",
    "state of {x}",
    (
        "What is the state of {x} at room temperature?",
        "Is {x} solid, liquid or gas at room temperature?",
        "In what state is {x} at room temperature?",
    ),
    "The state of {x} at room temperature is {v}.",
    _state,
    "properties",
)
DISCOVERED: Final = Attribute(
    "discovered",
    "the year of the discovery",
    "discovery of {x}",
    (
        "In what year was {x} discovered?",
        "When was {x} discovered?",
        "What is the year of the discovery of {x}?",
    ),
    "The year of the discovery of {x} is {v}.",
    lambda row: _named(row.discovered and str(row.discovered)),
    "discovery",
)
DISCOVERER: Final = Attribute(
    "discoverer",
    "the discoverer",
    "discovery of {x}",
    (
        "Who discovered {x}?",
        "By whom was {x} discovered?",
        "Who made the discovery of {x}?",
    ),
    "The discoverer of {x} is {v}.",
    lambda row: _named(row.discoverer, row.discoverer_aliases),
    "discovery",
)

COUNTRY_ATTRIBUTES: Final = (CAPITAL, HIGHEST, HEIGHT, AREA, POPULATION, INDEPENDENCE, DOMAIN, NEIGHBOUR)
ELEMENT_ATTRIBUTES: Final = (SYMBOL, NUMBER, WEIGHT, CATEGORY, STATE, DISCOVERED, DISCOVERER)


@dataclass(frozen=True, slots=True)
class Key:
    """A way to name an entity without its name, so that it has to be found first.

    Attributes:
        attribute: Whose value describes the entity.
        describe: Descriptions; ``{v}`` is the value.
        query: The search that finds the entity.
        found: The thought once it is found; ``{v}`` the value, ``{x}`` the entity.
        targets: What is asked of it.
    """

    attribute: Attribute
    describe: tuple[str, ...]
    query: str
    found: str
    targets: tuple[Attribute, ...]


KEYS: Final = (
    Key(
        CAPITAL,
        (
            "the country whose capital is {v}",
            "the country that has {v} as its capital",
            "the country with the capital {v}",
        ),
        "country with capital {v}",
        "{v} is the capital of {x}.",
        (HIGHEST, HEIGHT, AREA, POPULATION, INDEPENDENCE, DOMAIN),
    ),
    Key(
        HIGHEST,
        (
            "the country whose highest point is {v}",
            "the country that has {v} as its highest point",
            "the country with the highest point {v}",
        ),
        "country with highest point {v}",
        "{v} is the highest point of {x}.",
        (CAPITAL, POPULATION, INDEPENDENCE, DOMAIN),
    ),
    Key(
        DOMAIN,
        (
            "the country whose internet domain is {v}",
            "the country that has {v} as its internet domain",
            "the country with the internet domain {v}",
        ),
        "internet domain {v}",
        "{v} is the internet domain of {x}.",
        (CAPITAL, HIGHEST, HEIGHT, AREA, POPULATION),
    ),
    Key(
        SYMBOL,
        (
            "the element whose symbol is {v}",
            "the element that has {v} as its symbol",
            "the element with the symbol {v}",
        ),
        "element with symbol {v}",
        "{v} is the symbol of {x}.",
        (WEIGHT, CATEGORY, STATE, DISCOVERED, DISCOVERER),
    ),
    Key(
        NUMBER,
        (
            "the element whose atomic number is {v}",
            "the element that has {v} as its atomic number",
            "the element with the atomic number {v}",
        ),
        "element with atomic number {v}",
        "{v} is the atomic number of {x}.",
        (WEIGHT, CATEGORY, STATE, DISCOVERED, DISCOVERER),
    ),
)

LISTS: Final = (
    (
        CAPITAL,
        (
            "What are the capitals of {all}, in that order?",
            "Name the capitals of {all}, in that order.",
            "List the capitals of {all} in this order.",
        ),
    ),
    (
        DOMAIN,
        ("What are the internet domains of {all}, in that order?", "List the internet domains of {all} in this order."),
    ),
    (
        INDEPENDENCE,
        (
            "In which years did {all} become independent, in that order?",
            "List the years of independence of {all} in this order.",
        ),
    ),
    (SYMBOL, ("What are the symbols of {all}, in that order?", "List the chemical symbols of {all} in this order.")),
    (
        NUMBER,
        ("What are the atomic numbers of {all}, in that order?", "List the atomic numbers of {all} in this order."),
    ),
)
"""What is listed for three entities, and its wordings; ``{all}`` are the entities."""
