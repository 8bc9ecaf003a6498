"""Facts that a passage holds in a form that cannot be misread: ``Key: value`` lines, tables, a few sure sentences.

A wrong question costs more than a missing one: what may mean something else is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby, takewhile

from ragr1_lite.core.rewards import normalize
from ragr1_lite.core.types import Passage
from ragr1_lite.datagen.gold.text import plain, sentences
from ragr1_lite.datagen.gold.values import COUNT, DATE, MONTH, read_date, read_quantity
from ragr1_lite.datagen.questions.facts import Fact
from ragr1_lite.datagen.questions.wording import DONE_BY

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
_GENERIC = {
    "at a glance",
    "basic data",
    "basic facts",
    "in brief",
    "key data",
    "key facts",
    "key figures",
    "quick facts",
}
_FIELDS = {"", "attribute", "detail", "fact", "field", "item", "key", "name", "property"}
_EMPTY = {"", "no", "none", "unknown", "various", "yes", "nil", "tbd", "na", "same", "other", "others", "several"}

_UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĘĚĞĢĪĮİĶŁĻŃŅŇŌŐŘŚŞŠŢŤŪŮŰŲŹŻŽ"
_WORD = rf"(?:[{_UPPER}][\w'’-]+|[{_UPPER}]\.)"
NAME = rf"(?:{_WORD}(?: (?:{_WORD}|(?:&|de|la|du|van|von|der|of|the|al|bin|del|da|di) (?={_WORD})))*)"
"""A pattern of names: capitalised words, and small ones between them."""
_GOES_ON = "as|at|based|for|from|in|on|starring|to|when|where|who|with|and [a-z]+"
_END = rf"(?=[.;)]|$|, (?!{_WORD}|and {_WORD})|,? (?:{_GOES_ON})\b)"
_DAY = rf"(?:{DATE}|(?:(?:{MONTH}) )?\d{{4}})"
_WHEN = rf"(?: (?:at|by|in) [^,.;:]{{2,40}}?)?,? (?:on|in) (?P<value>{_DAY})\b(?! [a-z]+s\b)"
_DONE = r"(?P<how>(?!(?:based|estimated|listed|located|situated|used)\b)[a-z]{2,}[^e\W]ed|born|built|begun|written)"
_WHO = rf"(?P<value>{NAME})"
_BY = rf"(?P<how>{'|'.join(DONE_BY)})"
_SURE = (
    (r"{how}", rf"(?: was| were)(?: first| officially| finally)? {_DONE}{_WHEN}"),
    (r"{how}", rf" (?P<how>died|opened|closed|reopened){_WHEN}"),
    (r"{how} by", rf"(?: is| was| were)(?: an? [^.;:]{{0,120}}?)? {_BY}(?: (?:on|in) {_DAY})? by {_WHO}{_END}"),
    (r"place of birth", rf" was born(?: (?:on|in) {_DAY},?)? (?:in|at) {_WHO}(?=[,.;]| to | in | on )"),
    (r"{how}", rf" (?:has|had) (?P<value>{COUNT}) (?P<how>(?:[a-z]+ )?[a-z]{{2,}}[^suio\W]s)(?=[,.;]| and | at | in )"),
    (r"{how}", r" is (?:about )?(?P<value>\d[\d,.]* [a-z]+) (?P<how>long|high|tall|wide|deep)\b"),
)
"""Relations, and what is said after the subject's name, in sentences that can hardly mean anything else."""
_LIFE = re.compile(rf" ?\((?:[^()]*; )?(?:[^()]{{0,60}}?\bborn )?({DATE})(?: ?[–-] ?({DATE}))?[^()]*\)")


def facts_of(passage: Passage, before: str = "") -> Iterator[Fact]:
    """A passage's facts about its title, and its tables' facts about their rows; ``before`` is the text before it."""
    if not normalize(plain(passage.title)):
        return
    lines = [line.strip() for line in passage.text.split("\n")]
    yield from _pairs(passage, lines)
    yield from _tables(passage, lines, {line.strip() for line in before.split("\n")})
    yield from _sentences(passage, lines)


def _pairs(passage: Passage, lines: list[str]) -> Iterator[Fact]:
    """``Key: value`` lines, which are about the title unless a heading of several words stands over them.

    One word is a heading like History. The first lines of a document's later passages may belong to a heading in the
    passage before.
    """
    names = {normalize(passage.title), normalize(plain(passage.title))} | _GENERIC
    ours = not _LATER_PASSAGE.search(passage.id)
    for line in lines:
        pair = _PAIR.fullmatch(line)
        if pair is None:
            if _is_heading(line):
                heading = line.lstrip("# ")
                ours = heading.isalpha() or normalize(heading) in names
            continue
        key, value = pair[1], pair[2].strip("* ")
        if ours and _is_key(key) and _is_value(value):
            yield Fact(passage.title, key, plain(value), passage.title)


def _is_heading(line: str) -> bool:
    return 0 < len(line.split()) <= 8 and line[-1] not in ".:;,!?…" and "|" not in line and not line.startswith("- ")


def _tables(passage: Passage, lines: list[str], before: set[str]) -> Iterator[Fact]:
    """Rows of cells between bars, under a header.

    A table at the beginning of a text may be the end of one: it has no header unless a rule is under its first row, a
    document begins with it, or the text before has that row, too. So may one after lines that are only repeated.
    """
    repeated = sum(1 for _ in takewhile(before.__contains__, lines))
    start = 0
    for barred, group in groupby(lines, key=lambda line: "|" in line):
        first, *more = group
        sure = start != repeated or passage.id.endswith("#1")
        start += 1 + len(more)
        if not barred:
            continue
        framed = all(line.startswith("|") for line in (first, *more))  # else a bar at an end is by an empty cell
        header, *rows = (_cells(line, framed) for line in (first, *more))
        ruled = rows[:1] == [[]]
        body = [row for row in rows if row]
        if (ruled or sure) and all(len(row) == len(header) for row in body) and _is_header(header):
            yield from _rows(passage, header, body)


def _cells(line: str, framed: bool) -> list[str]:
    """The cells of a row, which may have bars around it; none for the rule under a header."""
    if _RULE.fullmatch(line):
        return []
    within = line.removeprefix("|").removesuffix("|") if framed else line
    return [cell.strip().strip("*") for cell in within.split("|")]


def _is_header(cells: list[str]) -> bool:
    names = [normalize(cell) for cell in cells]
    return 1 < len(names) == len({*names}) and all(names[1:]) and not re.search(r"\d", "".join(names))


def _rows(passage: Passage, header: list[str], body: list[list[str]]) -> Iterator[Fact]:
    about = ("value", "description", normalize(plain(passage.title)))
    if len(header) == 2 and normalize(header[0]) in _FIELDS and normalize(header[1]) in about:
        rows = [(passage.title, key, value) for key, value in body]
    else:
        rows = [(row[0], key, value) for row in body for key, value in zip(header[1:], row[1:], strict=True)]
    for subject, key, value in rows:
        if _is_name(subject) and _is_key(key) and _is_value(value):
            yield Fact(subject, key, plain(value), passage.title)


def _sentences(passage: Passage, lines: list[str]) -> Iterator[Fact]:
    """What sentences say that begin with the title, a shorter or longer form of it, or a pronoun for it."""
    first, *_, last = words = [re.escape(word) for word in plain(passage.title).split()] * 2
    long = rf"{first}(?: [^\s(),]+){{0,4}} {last}" if len(words) > 2 else first
    named = re.compile(rf"[\"“]?(?:{' '.join(words[: len(words) // 2])}|{long}|{last})[\"”]?,?(?=\W)")
    thing, pronouns = re.compile(rf"The {last}(?=\W)", re.IGNORECASE), ""  # "The bridge"
    for line in lines:
        if _is_heading(line):
            pronouns = pronouns and "He|She"
            continue
        for sentence in sentences(line):
            subject = named.match(sentence) or thing.match(sentence) or re.match(rf"(?:{pronouns or '$'})\b", sentence)
            pronouns = "He|She|It" if subject else ""
            if subject:
                yield from _said(passage, sentence[subject.end() :])


def _said(passage: Passage, rest: str) -> Iterator[Fact]:
    if (life := _LIFE.match(rest)) and (life[2] or "born" in life[0]):
        yield Fact(passage.title, "born", life[1], passage.title)
        if life[2]:
            yield Fact(passage.title, "died", life[2], passage.title)
        rest = rest[life.end() :]
    for relation, pattern in _SURE:
        if found := re.match(pattern, rest):
            yield Fact(passage.title, relation.format(**found.groupdict()), found["value"], passage.title)


def _is_key(text: str) -> bool:
    """Whether a text may name a relation: no label of the text, no beginning of a sentence."""
    words = text.lower().split()
    return 0 < len(words) <= _LONGEST_KEY and not _NOT_KEYS & {words[0], words[-1]} and not _SPEECH & {*words}


def _is_name(text: str) -> bool:
    """Whether a table's row is about something that has a name: no list, no option, no description."""
    if not 0 < len(text.split()) <= _LONGEST_VALUE or _NOT_IN_VALUES.search(text) or re.match("An? ", text):
        return False
    named = text[0].isalnum() and not text[0].islower() and any(map(str.isalpha, text))
    return named and (len(text) <= 3 or not text.isupper())


def _is_value(text: str) -> bool:
    """Whether a text is one thing: a date, a quantity, or a few words that are no list and no sentence."""
    value = plain(text)
    if normalize(value) in _EMPTY:
        return False
    if read_date(value) or read_quantity(value):
        return True
    return len(value.split()) <= _LONGEST_VALUE and not _NOT_IN_VALUES.search(value) and not value.endswith(".")
