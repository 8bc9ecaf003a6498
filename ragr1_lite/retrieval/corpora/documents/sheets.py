"""Spreadsheets, Excel's, OpenDocument's and as CSV: every row a line, the names of the columns in front of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from ragr1_lite.files.tables import cells_of
from ragr1_lite.retrieval.corpora.documents.office import CORE
from ragr1_lite.retrieval.corpora.documents.packed import Event, Package, whole
from ragr1_lite.retrieval.corpora.documents.passages import WORDS, Document, Part, weight_of
from ragr1_lite.retrieval.corpora.documents.text import decoded

_BOOK = "xl/workbook.xml"
_DATES = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}
"""The numbers of Excel's own formats for dates and times."""
_PERCENT, _DURATIONS = {9, 10}, {46}
_ELAPSED = re.compile(r"\[(h+|m+|s+)\]", re.IGNORECASE)
"""In a format: hours, minutes or seconds that may be more than a day has."""
_NOT_IN_FORMATS = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')
"""Of a format: quoted text, escaped characters, colours and conditions."""
_NO_LEAP_DAY = 60
"""Excel's number of 29 February 1900, which there was not: the days before it count one less."""
_FIGURE = re.compile(r"[-+$€£]?\d[\d.,:/-]*[%$€£]?")
_LAST_COLUMN, _MOST_REPEATED, _LONGEST_CELL = 2000, 64, 2**15
_WIDE = WORDS // 4

Row = dict[int, str]
"""The cells that are not empty by their columns, from 1."""


def read_xlsx(data: bytes) -> Document:
    """Excel; dates, percentages and truth values are written as they are shown, formulas as their last result."""
    package = Package(data)
    return Document(package.title(CORE), _excel_parts(package))


def read_ods(data: bytes) -> Document:
    """OpenDocument's spreadsheets, cells as they are shown."""
    package = Package(data)
    return Document(package.title("meta.xml"), _open_parts(package.events("content.xml")))


def read_sheet(data: bytes) -> Document:
    """A table in a text, with commas, semicolons, tabs or bars: a sheet without a name."""
    part = _part("", map(_text_row, cells_of(decoded(data).encode())))
    return Document("", [part] if part else [])


def _text_row(fields: list[str]) -> Row:
    cells = (" ".join(field[:_LONGEST_CELL].split()) for field in fields[:_LAST_COLUMN])
    return {at: cell for at, cell in enumerate(cells, start=1) if cell}


def _part(name: str, rows: Iterable[Row]) -> Part | None:
    """A sheet; its first row with two cells names the columns, unless it is one of them. ``None`` where it is empty."""
    rows = filter(None, rows)
    place, head = (f"sheet {name}", [name]) if name else ("", [])
    above: list[str] = []
    for header in rows:
        if len(header) > 1:
            break
        above += header.values()
    else:
        return Part([*head, *above], place, name) if above else None
    below = next(rows, {})
    rows = itertools.chain(filter(None, [below]), rows)
    if _alike(header, below):
        columns, rows = [], itertools.chain([header], rows)
    else:
        columns = [" | ".join(header.values())]
    heading = "\n".join([*head, *columns])
    if columns and below and weight_of(heading) > _WIDE:  # a row alone names no columns
        body = (
            "; ".join(f"{header.get(at, '')}: {cell}".removeprefix(": ") for at, cell in sorted(row.items()))
            for row in rows
        )
        return Part(itertools.chain(head, above, body), place, name)
    body = (" | ".join(row.get(at, "") for at in sorted({*header, *row})) for row in rows)
    return Part(itertools.chain(head, above, columns, body), place, heading)


def _alike(first: Row, second: Row) -> bool:
    """Whether the first row names no columns: there is a number or a date in it, and one of its form below.

    A number of up to four digits may name a column, a year's or the fifth, but not the first one.
    """
    return any(
        _FIGURE.fullmatch(cell) and (at == 1 or not re.fullmatch(r"\d{1,4}", cell)) and _form(cell) == _form(second[at])
        for at, cell in first.items()
        if at in second
    )


def _form(cell: str) -> str:
    return re.sub(r"\d+", "0", cell)


def _excel_parts(package: Package) -> Iterator[Part]:
    targets = package.targets(_BOOK)
    shown, shared = _formats(package), _shared(package)
    start, sheets = datetime(1899, 12, 30), []
    for kind, name, attributes in package.events(_BOOK):
        if kind == "start" and name == "sheet":
            sheets.append((attributes.get("name", ""), targets.get(attributes.get("id", ""), "")))
        elif kind == "start" and name == "workbookPr" and attributes.get("date1904") in ("1", "true"):
            start = datetime(1904, 1, 1)
    for name, file in sheets:
        if "worksheets/" in file and (part := _part(name, _rows(package.events(file), shared, shown, start))):
            yield part


def _rows(events: Iterable[Event], shared: list[str], shown: list[str], start: datetime) -> Iterator[Row]:
    row: Row = {}
    cell: dict[str, str] = {}
    column, inside, held = 0, False, ""
    for kind, value, attributes in events:
        if kind == "text":
            held += value if inside else ""
        elif kind == "start":
            if value == "row":
                row, column = {}, 0
            elif value == "c":
                cell, held = attributes, ""
                column = _column(attributes.get("r", "")) or column + 1
            inside = value in ("v", "t")
        else:
            inside = False
            if value == "c" and column <= _LAST_COLUMN and (text := _cell(held, cell, shared, shown, start)):
                row[column] = text[:_LONGEST_CELL]
            elif value == "row" and row:
                yield row


def _column(reference: str) -> int:
    """The column of a cell's name.

    >>> _column("A1"), _column("AB12"), _column("")
    (1, 28, 0)
    """
    number = 0
    for letter in reference[:4].rstrip("0123456789"):
        number = 26 * number + ord(letter.upper()) - 64
    return max(number, 0)


def _cell(value: str, cell: dict[str, str], shared: list[str], shown: list[str], start: datetime) -> str:
    """A cell's value as it is shown, or nearly so."""
    kind, style = cell.get("t", "n"), cell.get("s", "")
    if kind == "s":
        return shared[at] if (at := whole(value, len(shared))) < len(shared) else ""
    if kind == "b":
        return {"1": "TRUE", "0": "FALSE"}.get(value, "")
    if kind != "n" or not value:
        return " ".join(value.split())
    form = shown[at] if (at := whole(style, len(shown))) < len(shown) else ""
    try:
        number = float(value)
        if form == "date" and number >= 0:
            return _date(number, start)
        if form == "duration":
            return _duration(number)
        return f"{100 * number:.10g}%" if form == "percent" else f"{number:.15g}"
    except (ValueError, OverflowError):
        return value


def _date(days: float, start: datetime) -> str:
    """A date, a time, or both, of days since ``start``."""
    if 1 <= days < _NO_LEAP_DAY and start.year < 1900:
        days += 1
    moment = start + timedelta(seconds=round(days * 86400))
    if days < 1:
        return f"{moment:%H:%M}"
    return f"{moment:%Y-%m-%d}" if days == int(days) else f"{moment:%Y-%m-%d %H:%M}"


def _duration(days: float) -> str:
    """Hours and minutes, and seconds where there are some.

    >>> _duration(1.5), _duration(-1 / 48)
    ('36:00', '-0:30')
    """
    minutes, seconds = divmod(round(abs(days) * 86400), 60)
    shown = f"{'-' if days < 0 else ''}{minutes // 60}:{minutes % 60:02}"
    return f"{shown}:{seconds:02}" if seconds else shown


def _shared(package: Package) -> list[str]:
    """The texts that cells refer to by their number; without how they are pronounced."""
    name = "xl/sharedStrings.xml"
    found: list[str] = []
    held: list[str] = []
    inside = spoken = False
    for kind, value, _ in package.events(name) if name in package.names else ():
        if kind == "text":
            held += [value] if inside and not spoken else []
        elif value == "rPh":
            spoken = kind == "start"
        elif value == "t":
            inside = kind == "start"
        elif value == "si" and kind == "end":
            found.append(" ".join("".join(held).split()))
            held = []
    return found


def _formats(package: Package) -> list[str]:
    """How the numbers of each style are shown: ``date``, ``duration``, ``percent`` or plainly."""
    name = "xl/styles.xml"
    own: dict[int, str] = {}
    found: list[str] = []
    inside = False
    for kind, value, attributes in package.events(name) if name in package.names else ():
        number = attributes.get("numFmtId", "")
        if value == "cellXfs":
            inside = kind == "start"
        elif kind == "start" and value == "numFmt":
            code = attributes.get("formatCode", "")
            own[whole(number, -1)] = "duration" if _ELAPSED.search(code) else _NOT_IN_FORMATS.sub("", code).lower()
        elif kind == "start" and value == "xf" and inside:
            found.append(_format(whole(number), own))
    return found


def _format(number: int, own: dict[int, str]) -> str:
    code = own.get(number, "")
    if number in _DURATIONS or code == "duration":
        return "duration"
    if number in _DATES or (set(code) & set("ymdhs") and "general" not in code):
        return "date"
    return "percent" if number in _PERCENT or "%" in code else ""


def _open_parts(events: Iterable[Event]) -> Iterator[Part]:
    """The rows of each table, which are held: a table's name comes before them, and they are told by its end."""
    name, rows = "", list[Row]()
    row: Row = {}
    column, times, held, inside = 0, 1, list[str](), 0
    for kind, value, attributes in events:
        if kind == "text":
            held += [value] if inside > 0 else []
        elif value == "table":
            if kind == "end" and (part := _part(name, rows)):
                yield part
            name, rows = attributes.get("name", name), []
        elif value == "table-row":
            if kind == "end" and row:
                rows.append(row)
            row, column = {}, 0
        elif value in ("table-cell", "covered-table-cell"):
            if kind == "start":
                repeated = attributes.get("number-columns-repeated", "")
                times, held = whole(repeated, 1), []
                continue
            if text := " ".join("".join(held).split()):
                columns = range(column + 1, min(column + min(times, _MOST_REPEATED), _LAST_COLUMN) + 1)
                row |= dict.fromkeys(columns, text[:_LONGEST_CELL])
            column += times
        elif value in ("p", "s", "tab", "line-break"):
            held.append(" ")
            inside += {"start": 1, "end": -1}[kind] if value == "p" else 0
        elif value == "annotation":
            inside -= {"start": 1000, "end": -1000}[kind]
