"""The passages of the world, written from its tables by several sentence forms; which form is fixed by the entity."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

from ragr1_lite.core.types import Passage
from tools.world import forms
from tools.world.tables import FURTHER_BORDERS, Country, Element, countries, distractors, elements, pick

Words = dict[str, str]


def slug(text: str) -> str:
    """Lower-case ASCII letters and digits joined by hyphens.

    >>> slug("N'Djamena")
    'ndjamena'
    """
    plain = unicodedata.normalize("NFKD", text.lower().replace("'", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def series(names: Sequence[str], last: str = "and") -> str:
    """Names as they are listed in a sentence.

    >>> series(["Chad", "Mali", "Niger"])
    'Chad, Mali and Niger'
    """
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def neighbours_of(row: Country) -> str:
    """The land neighbours as a sentence lists them; empty where there are none."""
    spoken = {other.name: other.spoken for other in countries()}
    return series([spoken[name] for name in row.borders]) if row.borders else ""


def capitalized(text: str) -> str:
    """The text with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


def a_or_an(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _compose(
    id: str,
    titles: Sequence[str],
    sentences: Sequence[Sequence[str]],
    words: Words,
    later: Words | None = None,
) -> Passage:
    """One sentence of each pool and a title, each chosen by the passage's id.

    Args:
        id: Of the passage.
        titles: To choose from.
        sentences: Pools to choose from; empty ones are skipped.
        words: What the fields of the forms stand for.
        later: What some of them stand for after the first sentence.
    """
    title = pick(titles, f"{id}:title").format_map(words)
    chosen: list[str] = []
    for slot, pool in enumerate(sentences):
        if pool:
            chosen.append(capitalized(pick(pool, f"{id}:{slot}").format_map(words)))
            words = words | (later or {})
    return Passage(id, title, " ".join(chosen))


def _country_words(row: Country) -> Words:
    """What the fields of the sentence forms stand for."""
    return {
        "n": row.name,
        "N": row.spoken,
        "C": capitalized(row.spoken),
        "r": row.region,
        "c": row.capital or "",
        "h": row.highest or "",
        "m": f"{row.metres or 0:,}",
        "a": f"{row.area or 0:,}",
        "p": f"{row.population:,}",
        "y": str(row.independence),
        "t": row.tld or "",
        "b": neighbours_of(row),
    }


def _named_once(row: Country) -> bool:
    """Whether a passage's text names the country only once and then says "the country".

    True where the name has several words: repeated, they would count for more than what is asked, and "Equatorial
    Guinea" would be found in place of "Guinea".
    """
    return len(re.findall(r"\w+", row.name)) > 1


def _country_passages(row: Country) -> Iterator[Passage]:
    words = _country_words(row)
    later = {"N": "the country", "C": "The country"} if _named_once(row) else {}
    highest = forms.HIGHEST if row.highest else forms.HEIGHT_ALONE if row.metres else ()
    geography = [highest, forms.AREA if row.area else (), forms.PLACE]
    if pick((True, False), f"{row.id}:order"):
        geography[:2] = reversed(geography[:2])
    yield _compose(f"{row.id}-geography", forms.GEOGRAPHY_TITLE, geography, words, later)
    titles = forms.PEOPLE_TITLE if row.capital else forms.PEOPLE_ONLY_TITLE
    people = [forms.CAPITAL if row.capital else (), forms.POPULATION, forms.CENSUS]
    yield _compose(f"{row.id}-people", titles, people, words, later)
    independence = forms.INDEPENDENCE if row.independence else forms.NO_INDEPENDENCE
    history = [independence, forms.DOMAIN if row.tld else (), forms.PAST]
    yield _compose(f"{row.id}-history", forms.HISTORY_TITLE, history, words, later)
    if row.borders:
        alone = forms.ONE_OF_THE_NEIGHBOURS if row.name in FURTHER_BORDERS else forms.ONE_NEIGHBOUR
        pools = (forms.NEIGHBOURS if len(row.borders) > 1 else alone, forms.FRONTIER)
        yield _compose(f"{row.id}-neighbours", forms.BORDERS_TITLE, pools, words)
    if row.capital:
        yield _compose(slug(row.capital), (row.capital,), [forms.CITY], words)


def mountain_id(row: Country) -> str:
    """The id of the passage about a country's highest point; countries that share the summit share the passage."""
    sharing = [other for other in countries() if other.highest == row.highest]
    same = all(other.metres == row.metres for other in sharing)
    return slug(row.highest or "") if same else slug(f"{row.highest} {row.name}")


def _mountain_passages() -> Iterator[Passage]:
    groups: dict[str, list[Country]] = {}
    for row in countries():
        if row.highest and row.highest != row.name:
            groups.setdefault(mountain_id(row), []).append(row)
    for id, rows in groups.items():
        words = _country_words(rows[0]) | {"both": " and of ".join(row.spoken for row in rows)}
        pool = forms.MOUNTAIN if len(rows) == 1 else (forms.SHARED_MOUNTAIN,)
        yield _compose(id, (words["h"],), [pool], words)


def _element_passages(row: Element) -> Iterator[Passage]:
    words = {
        "e": row.name,
        "E": row.name.capitalize(),
        "s": row.symbol,
        "z": str(row.number),
        "k": row.category or "",
        "ak": a_or_an(row.category) if row.category else "",
        "f": row.state or "",
        "w": row.weight or "",
        "y": str(row.discovered),
        "d": row.discoverer or "",
    }
    yield _compose(f"{row.id}-symbol", forms.SYMBOL_TITLE, [forms.SYMBOL], words)
    weight = forms.WEIGHT if row.weight else forms.RADIOACTIVE
    properties = [forms.CATEGORY if row.category else (), forms.STATE if row.state else (), weight]
    if row.category or row.weight or row.state:
        yield _compose(f"{row.id}-properties", forms.PROPERTIES_TITLE, [*properties, forms.LAB], words)
    if row.ancient or row.discovered or row.discoverer:
        known = (row.discovered is not None, row.discoverer is not None)
        found = {(True, True): forms.FOUND, (True, False): forms.FOUND_YEAR, (False, True): forms.FOUND_BY}
        pools = (found.get(known, forms.FOUND_LONG_AGO), forms.CHEMISTRY)
        yield _compose(f"{row.id}-discovery", forms.DISCOVERY_TITLE, pools, words)


@cache
def passages() -> tuple[Passage, ...]:
    """Every passage of the world, distractors among them, always the same and in the same order."""
    written = [passage for row in countries() for passage in _country_passages(row)]
    written += _mountain_passages()
    written += [passage for row in elements() for passage in _element_passages(row)]
    written += [Passage(slug(title), title, text) for title, text in distractors()]
    return tuple(written)


def title_of(id: str) -> str:
    """The title of the passage with this id."""
    return _titles()[id]


@cache
def _titles() -> dict[str, str]:
    return {passage.id: passage.title for passage in passages()}
