"""Dates and quantities as they are written, so that they can be compared and recognised in other forms."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ragr1_lite.datagen.gold.dates import Date, date

MONTHS = "January February March April May June July August September October November December".split()
_MONTH = "|".join(MONTHS)
DATE = rf"(?:(?:{_MONTH}) \d{{1,2}}, \d{{4}}|\d{{1,2}} (?:{_MONTH}) \d{{4}}|\d{{4}}-\d\d-\d\d)"
"""A pattern of whole dates: ``October 5, 1987``, ``5 October 1987``, ``1987-10-05``."""

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_NUMBER = re.compile(
    r"(?P<sign>[-−]?)(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?: (?P<power>thousand|million|billion))?(?P<gap> ?)(?P<unit>[^\W\d_][\w²³/ ]{0,24}|°[CF]?|%|)"
)
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


def read_date(text: str, *, years: bool = False) -> Date | None:
    """The date that a text is, and nothing else; a year alone only where it is asked for.

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
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    number = float(match["number"].replace(",", "")) * _POWERS[match["power"]]
    unit = match["unit"].strip().casefold()
    return Quantity(-number if match["sign"] else number, _SHORT.get(unit, unit))


def forms(text: str) -> tuple[str, ...]:
    """Every way of writing an answer, as it stands first: dates, thousands separators, units.

    >>> forms("1,200 m")
    ('1,200 m', '1200 m', '1,200', '1200', '1,200 metres', '1,200 meters')
    """
    if day := read_date(text):
        return tuple(dict.fromkeys((text, *_days(*day))))
    match = _NUMBER.fullmatch(text)
    if match is None:
        return (text,)
    number = " ".join(filter(None, (match["sign"] + match["number"], match["power"])))
    unit = match["unit"].strip()
    plain = number.replace(",", "")
    spaced = [f"{one}{match['gap']}{unit}" for one in (number, plain, _separated(plain))]
    longer = [f"{number} {long.replace('_', ' ')}" for long in _UNITS.get(unit, "").split()[:2]]
    return tuple(dict.fromkeys((text, *spaced, number, plain, _separated(plain), *longer)))


def _days(year: int, month: int, day: int) -> tuple[str, ...]:
    """How a day is written; nothing where the day is not known."""
    if not (month and day):
        return ()
    name = MONTHS[month - 1]
    return f"{name} {day}, {year}", f"{day} {name} {year}", f"{year:04}-{month:02}-{day:02}"


def _separated(number: str) -> str:
    """A whole number of five digits or more with its thousands apart; shorter ones are as often years."""
    return f"{int(number):,}" if number.isdecimal() and len(number) > 4 else number
