"""Facts that a passage holds in a form that cannot be misread: ``Key: value`` lines, tables, a few sure sentences.

A wrong question costs more than a missing one: what may mean something else is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from ragr1_lite.core.rewards import normalize
from ragr1_lite.core.types import Passage
from ragr1_lite.datagen.gold.text import plain
from ragr1_lite.datagen.gold.values import DATE, read_date, read_quantity
from ragr1_lite.datagen.questions.facts import Fact, holds

_PAIR = re.compile(
    r"(?:[-*•+] +)?\*{0,2}([^\W\d_][^\W\d_'’ -]{0,38}[^\W\d_](?: [^\W\d_'’-]+)*)\*{0,2} ?:\*{0,2} +(\S.*)"
)
_RULE = re.compile(r"\|?(?: *:?-+:? *\|)+(?: *:?-+:? *)?")
_LATER_PASSAGE = re.compile(r"#(?!1$)\d+$")
_LONGEST_KEY, _LONGEST_VALUE = 4, 8
_NOT_IN_VALUES = re.compile(r"[,;:?!|<>{}\[\]=*`]|//| (?:and|or|und|et|&) ", re.IGNORECASE)
_NOT_KEYS = frozenset("""
    caution date example examples hint id important keywords label labels link links more note notes question answer
    reference references see source sources status summary tag tags tip title todo type updated url warning website
""".split())  # fmt: skip
_SPEECH = frozenset(
    "also and are as asked but he i if is it or said say says she that then they this was we when you".split()
)
_ABBREVIATIONS = tuple("Dr Mr Mrs Ms St Mt Ft Jr Sr Prof Gen Col Capt Sgt No Rev".split())
_GENERIC = frozenset("data details facts figures information overview profile summary".split()) | {
    "at a glance", "basic data", "basic facts", "in brief", "key data", "key facts", "key figures", "quick facts",
}  # fmt: skip
_FIELDS = {"attribute", "detail", "fact", "field", "item", "key", "name", "property"}
_EMPTY = {"", "no", "none", "unknown", "various", "yes", "nil", "tbd", "na", "same", "other", "others", "several"}

_UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĘĚĞĢĪĮİĶŁĻŃŅŇŌŐŘŚŞŠŢŤŪŮŰŲŹŻŽ"
_WORD = rf"(?:[{_UPPER}][\w'’-]+|[{_UPPER}]\.)"
_NAME = rf"{_WORD}(?: (?:{_WORD}|(?:de|la|du|van|von|der|of|the|al|bin|del|da|di) (?={_WORD})))*"
_END = r"(?:\.(?=\s|$))"
_IS = re.compile(rf"The ([a-z]+(?: [a-z]+){{0,2}}) of ({_NAME}) is ({_NAME}|[\d][\d,.]*\d(?: [a-z²]+)?){_END}")
_IS_THE = re.compile(rf"({_NAME}) is the ([a-z]+(?: [a-z]+){{0,1}}) of ({_NAME}){_END}")
_BORN = re.compile(rf"([^().]{{2,60}}(?:\. ?[^().]{{1,40}}){{0,2}}) ?\( ?(?:[^()]{{0,60}}; )?born ({DATE})")
_FILM = r"[^.]{0,120}?\b(?:is|was) an? (?:[^.]|\.(?! [A-Z])){0,120}?\bfilm\b"
_AFTER_DIRECTOR = r"\.(?:\s|$)|,? (?:and )?(?:starring|based|featuring|released|distributed|produced by)\b"
_DIRECTED = re.compile(
    rf"{_FILM}(?:[^.,]|, (?=written|produced|directed)){{0,80}}?\bdirected by ({_NAME})(?={_AFTER_DIRECTOR})"
)
_ONE = frozenset("capital currency president king queen emperor mayor governor founder director".split())
_VAGUE = frozenset("""
    aim author basis best center centre cause effect end example first focus goal heart home last list member most name
    number one part purpose reason rest result second side sort start story subject third title type use word work
""".split())  # fmt: skip


def facts_of(passage: Passage) -> Iterator[Fact]:
    """A passage's facts about its title, and its tables' facts about their rows."""
    if not normalize(plain(passage.title)):
        return
    lines = [line.strip() for line in passage.text.split("\n")]
    yield from _pairs(passage, lines)
    yield from _tables(passage, lines)
    yield from _sentences(passage)


def _pairs(passage: Passage, lines: list[str]) -> Iterator[Fact]:
    """``Key: value`` lines, which are about the title unless another heading stands over them.

    The first lines of a document's later passages may belong to a heading in the passage before.
    """
    names = {normalize(passage.title), normalize(plain(passage.title))} | _GENERIC
    ours = not _LATER_PASSAGE.search(passage.id)
    for line in lines:
        pair = _PAIR.fullmatch(line)
        if pair is None:
            if _is_heading(line):
                ours = normalize(line.lstrip("# ")) in names
            continue
        key, value = pair[1], pair[2].strip("* ")
        if ours and _is_key(key) and _is_value(value):
            yield Fact(passage.title, key, plain(value), passage.title)


def _is_heading(line: str) -> bool:
    return 0 < len(line.split()) <= 8 and line[-1] not in ".:;,!?…" and "|" not in line and not line.startswith("- ")


def _tables(passage: Passage, lines: list[str]) -> Iterator[Fact]:
    """Rows of cells between bars, under a header.

    A table at the beginning of a text may be the end of one: it has no header unless a rule is under its first row.
    """
    for number, (barred, group) in enumerate(groupby(lines, key=lambda line: "|" in line)):
        if not barred:
            continue
        header, *rows = map(_cells, group)
        ruled = rows[:1] == [[]]
        body = [row for row in rows if row]
        if (ruled or number > 0) and all(len(row) == len(header) for row in body) and _is_header(header):
            yield from _rows(passage, header, body)


def _cells(line: str) -> list[str]:
    """The cells of a row; none for the rule under a header."""
    if _RULE.fullmatch(line):
        return []
    return [cell.strip().strip("*") for cell in line.removeprefix("|").removesuffix("|").split("|")]


def _is_header(cells: list[str]) -> bool:
    names = [normalize(cell) for cell in cells]
    return len(cells) > 1 and len({*names}) == len(names) and all(names) and not any(re.search(r"\d", n) for n in names)


def _rows(passage: Passage, header: list[str], body: list[list[str]]) -> Iterator[Fact]:
    if len(header) == 2 and normalize(header[0]) in _FIELDS and normalize(header[1]) in ("value", "description"):
        rows = [(passage.title, key, value) for key, value in body]
    else:
        rows = [(row[0], key, value) for row in body for key, value in zip(header[1:], row[1:], strict=True)]
    for subject, key, value in rows:
        if _is_name(subject) and _is_key(key) and _is_value(value):
            yield Fact(subject, key, plain(value), passage.title)


def _sentences(passage: Passage) -> Iterator[Fact]:
    title = plain(passage.title)
    text = " ".join(passage.text.split())
    if (born := _BORN.match(text)) and normalize(born[1]).split()[-1:] == normalize(title).split()[-1:]:
        yield Fact(passage.title, "date of birth", born[2], passage.title)
    if (film := _DIRECTED.match(text)) and holds(text[: len(title) + 20], [title]) and " " in film[1]:
        yield Fact(passage.title, "director", film[1], passage.title)
    for found in _IS.finditer(text):
        if _about(title, found[2]) and _is_sure(found[1]) and not found[3].endswith(_ABBREVIATIONS):
            yield Fact(found[2], found[1], found[3], passage.title)
    for found in _IS_THE.finditer(text):
        named = _about(title, found[1]) or _about(title, found[3])
        begins = found.start() == 0 or text[found.start() - 2 : found.start()] in (". ", "! ", "? ")
        if named and begins and found[2] in _ONE:
            yield Fact(found[3], found[2], found[1], passage.title)


def _about(title: str, name: str) -> bool:
    return normalize(title) == normalize(name)


def _is_sure(relation: str) -> bool:
    """Whether ``the RELATION of X is Y`` says what X's relation is, and not something about it."""
    words = relation.split()
    return not _VAGUE & {*words} and words[-1] != "s" and not words[-1].endswith("ed")


def _is_key(text: str) -> bool:
    """Whether a text may name a relation: no label of the text, no beginning of a sentence."""
    words = text.lower().split()
    return 0 < len(words) <= _LONGEST_KEY and not _NOT_KEYS & {words[0], words[-1]} and not _SPEECH & {*words}


def _is_name(text: str) -> bool:
    return 0 < len(text.split()) <= _LONGEST_VALUE and re.search(r"[^\W\d_]", text) is not None and ":" not in text


def _is_value(text: str) -> bool:
    """Whether a text is one thing: a date, a quantity, or a few words that are no list and no sentence."""
    value = plain(text)
    if normalize(value) in _EMPTY:
        return False
    if read_date(value) or read_quantity(value):
        return True
    return len(value.split()) <= _LONGEST_VALUE and not _NOT_IN_VALUES.search(value) and not value.endswith(".")
