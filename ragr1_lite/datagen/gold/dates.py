"""Dates as evidence writes them and as passages write them."""

from __future__ import annotations

import re

_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{3,4})(?!\d)"
_FORMS = [
    re.compile(rf"\b{form}", re.IGNORECASE)
    for form in (rf"{_DAY}(?: of)? {_MONTH},? {_YEAR}", rf"{_MONTH} {_DAY},? {_YEAR}", rf"{_MONTH},? {_YEAR}", _YEAR)
]
_RUN_TOGETHER = re.compile(rf"(?<=\b\d{{4}})(?=\d{{1,2}} (?:{'|'.join(_MONTHS)}))", re.IGNORECASE)
"""Where "190030 April", a year and a day between which sets lost the dash, are taken apart."""

Date = tuple[int, int, int]
"""Year, month and day; 0 where it is not said."""


def dates(text: str) -> list[Date]:
    """The dates that stand in a text, in order; the year alone where no more is said.

    >>> dates("born 5 October 1987; active since May 2005")
    [(1987, 10, 5), (2005, 5, 0)]
    """
    text = _RUN_TOGETHER.sub(" ", text)
    found: dict[int, Date] = {}
    for form in _FORMS:
        for match in form.finditer(text):
            said = match.groupdict()
            month = _MONTHS.index(said["month"].lower()) + 1 if said.get("month") else 0
            found[match.start()] = (int(said["year"]), month, int(said.get("day") or 0))
            text = text[: match.start()] + "." * len(match[0]) + text[match.end() :]
    return [found[at] for at in sorted(found)]


def date(text: str) -> Date | None:
    """The date that a text is, and nothing but it."""
    there = dates(text)
    return there[0] if len(there) == 1 and not re.sub(r"[\W\d]|st|nd|rd|th|of", "", _without_month(text)) else None


def _without_month(text: str) -> str:
    return re.sub(_MONTH, "", text, flags=re.IGNORECASE)


def dated(value: Date, sentence: str) -> bool:
    """Whether a date stands in a sentence with all that is known of it: day, month and year, or less."""
    return any(all(ours in (0, theirs) for ours, theirs in zip(value, other, strict=True)) for other in dates(sentence))


def write(day: Date) -> str:
    """A date as a thought writes it.

    >>> write((1987, 10, 5))
    '5 October 1987'
    """
    year, month, number = day
    return " ".join([*([str(number)] if number else []), *([_MONTHS[month - 1].title()] if month else []), str(year)])
