"""Dates, quantities and relations, in every form that evidence, passages and answers write them in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ragr1_lite.datagen.gold.text import words

Date = tuple[int, int, int]
"""Year, month and day; 0 where it is not given."""

_MONTHS = "January February March April May June July August September October November December".split()
MONTH = "|".join(_MONTHS)
DATE = rf"(?:(?:{MONTH}) \d{{1,2}}, \d{{4}}|\d{{1,2}} (?:{MONTH}) \d{{4}}|\d{{4}}-\d\d-\d\d)"
"""A pattern of whole dates: ``October 5, 1987``, ``5 October 1987``, ``1987-10-05``."""

_NAMED_MONTH = f"(?P<month>{MONTH})"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{3,4})(?!\d)"
_FORMS = [
    re.compile(rf"\b{before}{_YEAR}", re.IGNORECASE)
    for before in (rf"{_DAY}(?: of)? {_NAMED_MONTH},? ", rf"{_NAMED_MONTH} {_DAY},? ", rf"{_NAMED_MONTH},? ", "")
]
_RUN_TOGETHER = re.compile(rf"(?<=\b\d{{4}})(?=\d{{1,2}} (?:{MONTH}))", re.IGNORECASE)
"""Between the year and the day of "190030 April", where sets lost the dash."""
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)")

_NUMBER = re.compile(
    r"(?P<sign>[-−]?)(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?: (?P<power>thousand|million|billion))?(?P<gap> ?)(?P<unit>[^\W\d_](?:[^\W\d_]|[/ ]){0,24}2?|°[CF]?|%|)"
)
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve".split()
COUNT = rf"(?:\d[\d,]*|{'|'.join(_SMALL)})"
"""A pattern of counts, small ones in words too."""
_POWERS = {None: 1, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_UNITS = {
    "m": "metres meters metre meter",
    "km": "kilometres kilometers kilometre kilometer",
    "cm": "centimetres centimeters",
    "mm": "millimetres millimeters",
    "kg": "kilograms kilogram",
    "t": "tonnes tonne",
    "ft": "feet foot",
    "mi": "miles mile",
    "km²": "square_kilometres square_kilometers km2",
    "ha": "hectares hectare",
    "%": "percent per_cent",
}
_SHORT = {long.replace("_", " "): short for short, names in _UNITS.items() for long in names.split()}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit, which is empty where it only counts."""

    number: float
    unit: str = ""


def dates(text: str) -> list[Date]:
    """The dates that stand in a text, in order.

    >>> dates("born 5 October 1987; active since May 2005")
    [(1987, 10, 5), (2005, 5, 0)]
    """
    text = _RUN_TOGETHER.sub(" ", text)
    found: dict[int, Date] = {}
    for form in _FORMS:
        for match in form.finditer(text):
            parts = match.groupdict()
            month = _MONTHS.index(parts["month"].title()) + 1 if parts.get("month") else 0
            found[match.start()] = (int(parts["year"]), month, int(parts.get("day") or 0))
            text = text[: match.start()] + "." * len(match[0]) + text[match.end() :]
    return [found[at] for at in sorted(found)]


def date(text: str) -> Date | None:
    """The date that a text is, and nothing but it."""
    found = dates(text)
    rest = re.sub(MONTH, "", text, flags=re.IGNORECASE)
    return found[0] if len(found) == 1 and not re.sub(r"[\W\d]|st|nd|rd|th|of", "", rest) else None


def dated(value: Date, sentence: str) -> bool:
    """Whether a date stands in a sentence with all that is known of it: day, month and year, or less."""
    return any(all(ours in (0, theirs) for ours, theirs in zip(value, other, strict=True)) for other in dates(sentence))


def write(day: Date) -> str:
    """A date as a thought writes it: ``5 October 1987``."""
    year, month, number = day
    return " ".join([*([str(number)] if number else []), *([_MONTHS[month - 1]] if month else []), str(year)])


def read_date(text: str, *, years: bool = False) -> Date | None:
    """The possible date that a text is, ISO dates too; a year alone only with ``years``.

    >>> read_date("5 October 1987"), read_date("1987-10-05"), read_date("1987")
    ((1987, 10, 5), (1987, 10, 5), None)
    """
    iso = _ISO.fullmatch(text)
    found = (int(iso[1]), int(iso[2]), int(iso[3])) if iso else date(text)
    if found is None or found[1] > 12 or found[2] > 31 or not (found[1] or years):
        return None
    return found


def read_quantity(text: str) -> Quantity | None:
    """The number with its unit that a text is, and nothing else.

    >>> read_quantity("1.2 million"), read_quantity("340 metres")
    (Quantity(number=1200000.0, unit=''), Quantity(number=340.0, unit='m'))
    """
    match = _NUMBER.fullmatch(str(_SMALL.index(text)) if text in _SMALL else text)
    if match is None:
        return None
    number = float(match["number"].replace(",", "")) * _POWERS[match["power"]]
    unit = match["unit"].strip().casefold()
    return Quantity(-number if match["sign"] else number, _SHORT.get(unit, unit))


def forms(text: str) -> tuple[str, ...]:
    """Every way of writing an answer, its own first: dates, thousands separators, units, small numbers in words.

    >>> forms("1,200 m")
    ('1,200 m', '1200 m', '1,200', '1200', '1,200 metres', '1,200 meters')
    """
    if day := read_date(text):
        year, month, of_month = day
        name = _MONTHS[month - 1]
        whole = (f"{name} {of_month}, {year}", f"{of_month} {name} {year}", f"{year:04}-{month:02}-{of_month:02}")
        return tuple(dict.fromkeys((text, *(whole if month and of_month else ()))))
    if text in _SMALL:
        return text, str(_SMALL.index(text))
    if text.isdecimal() and int(text) < len(_SMALL):
        return text, _SMALL[int(text)]
    match = _NUMBER.fullmatch(text)
    if match is None:
        return (text,)
    number = " ".join(filter(None, (match["sign"] + match["number"], match["power"])))
    unit = match["unit"].strip()
    plain = number.replace(",", "")
    spaced = [f"{one}{match['gap']}{unit}" for one in (number, plain, _separated(plain))]
    longer = [f"{number} {long.replace('_', ' ')}" for long in _UNITS.get(unit, "").split()[:2]]
    return tuple(dict.fromkeys((text, *spaced, number, plain, _separated(plain), *longer)))


def _separated(number: str) -> str:
    """A whole number of five digits or more with its thousands apart; shorter ones are as often years."""
    return f"{int(number):,}" if number.isdecimal() and len(number) > 4 else number


_IRREGULAR = {
    "applies to jurisdiction": ("{s} jurisdiction", "whose law {s} belongs to", "{s} belongs to the law of {o}"),
    "award received": ("{s} award received", "which award {s} received", "{s} received {o}"),
    "capital of": ("{s} capital of", "what {s} is the capital of", "{s} is the capital of {o}"),
    "country of citizenship": ("{s} nationality", "the nationality of {s}", "the nationality of {s} is {o}"),
    "educated at": ("{s} educated at", "where {s} was educated", "{s} was educated at {o}"),
    "follows": ("{s} follows", "what {s} follows", "{s} follows {o}"),
    "founded by": ("{s} founded by", "who founded {s}", "{s} was founded by {o}"),
    "instance of": ("{s}", "what {s} is", "{s} is of this kind: {o}"),
    "licensed to broadcast to": ("{s} licensed city", "where {s} broadcasts", "{s} broadcasts to {o}"),
    "located in or next to body of water": ("{s} body of water", "which water {s} lies by", "{s} lies by {o}"),
    "located in the administrative territorial entity": ("{s} located in", "where {s} is located", "{s} is in {o}"),
    "member of political party": ("{s} party", "the political party of {s}", "the political party of {s} is {o}"),
    "member of sports team": ("{s} team", "the team of {s}", "the team of {s} is {o}"),
    "part of": ("{s} part of", "what {s} is part of", "{s} is part of {o}"),
    "place of birth": ("{s} place of birth", "where {s} was born", "{s} was born in {o}"),
    "place of death": ("{s} place of death", "where {s} died", "{s} died in {o}"),
    "shares border with": ("{s} border", "what {s} borders on", "{s} borders on {o}"),
}

_COUNTRIES = """
American=United States=U.S.=US=USA=United States of America
British=United Kingdom=U.K.=UK=Great Britain
Argentine=Argentinian=Argentina|Belgian=Belgium|Brazilian=Brazil|Canadian=Canada|Chilean=Chile|Chinese=China
Czech=Czech Republic|Danish=Denmark|Dutch=Netherlands|Egyptian=Egypt|English=England|Filipino=Philippines
Finnish=Finland|French=France|German=Germany|Greek=Greece|Hungarian=Hungary
Icelandic=Iceland|Iranian=Iran|Iraqi=Iraq|Irish=Ireland
Israeli=Israel|Italian=Italy|Japanese=Japan|Lebanese=Lebanon|Mexican=Mexico|Moroccan=Morocco|New Zealander=New Zealand
Norwegian=Norway|Pakistani=Pakistan|Peruvian=Peru|Polish=Poland|Portuguese=Portugal|Scottish=Scotland|Slovak=Slovakia
Slovene=Slovenian=Slovenia|Soviet=Soviet Union|Spanish=Spain|Swedish=Sweden|Swiss=Switzerland|Taiwanese=Taiwan
Thai=Thailand|Turkish=Turkey|Ukrainian=Ukraine|Vietnamese=Vietnam|Welsh=Wales
"""
_ALIKE = [entry.split("=") for entry in _COUNTRIES.replace("\n", "|").split("|") if entry]
_COUNTRY_FORMS = {words(form): tuple(forms) for forms in _ALIKE for form in forms}
"""All of a country's forms, by each of them."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What is searched, what is looked for and what was found, in words; ``{s}`` is the subject, ``{o}`` the object.

    ``place`` is ``country`` or ``nationality`` where the object is one, which passages write as noun or adjective.
    """

    query: str
    asks: str
    says: str
    place: str = ""

    def objects(self, value: str) -> tuple[str, ...]:
        """The ways to write an object; a thought takes the first."""
        ways = {"country": (value, *spellings(value)), "nationality": (*spellings(value), value)}
        return tuple(dict.fromkeys(ways.get(self.place, (value,))))


def relation(name: str) -> Relation:
    """The words for a relation of Wikidata's or of a set's own.

    >>> relation("director").says, relation("place of birth").says
    ('the director of {s} is {o}', '{s} was born in {o}')
    """
    name = name.strip().replace("{", "(").replace("}", ")")
    regular = (f"{{s}} {name}", f"the {name} of {{s}}", f"the {name} of {{s}} is {{o}}")
    query, asks, says = _IRREGULAR.get(name) or regular
    place = "nationality" if name == "country of citizenship" else "country" if name.startswith("country") else ""
    return Relation(query, asks, says, place)


def spellings(name: str) -> tuple[str, ...]:
    """The noun and the adjective of a country that is given as either: ``India``, ``an Indian film``.

    >>> spellings("Italy"), spellings("South Korean")
    (('Italian', 'Italy'), ('South Korean', 'South Korea'))
    """
    noun = name[:-1] if name.endswith("an") else name
    return _COUNTRY_FORMS.get(words(name)) or ((f"{noun}n", noun) if noun.endswith("a") else (name,))


def country(name: str) -> str:
    """What is equal for any two names of one country, and for nothing else."""
    return words(spellings(name)[0])
