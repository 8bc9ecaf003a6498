"""A document as parts with headings and places, and these as passages of 100 words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ragr1_lite.files.json_lines import BadLine

Item = TypeVar("Item")

WORDS = 100
_CHARACTERS = 10
"""A word counts for one in ten characters at least, so that scripts without blanks are cut too."""
_LONGEST_HEADING = _LONGEST_PAIR = WORDS // 4
BAR = " | "
"""What is between a row's cells, in documents of every form."""
PAIR = re.compile(r"[^:.]{1,40}: \S")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*")


@dataclass(frozen=True, slots=True)
class Part:
    """A section, page, slide or sheet.

    ``place`` names it, such as ``page 3``; a passage that goes on within it begins with its ``heading`` once more.
    """

    paragraphs: Iterable[str]
    place: str = ""
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A document's text; ``title`` is empty where it has none.

    ``parts`` are read as they are asked for, and raise BadLine in the end where something could not be read.
    """

    title: str
    parts: Iterable[Part] = field(repr=False)


def sections(lines: Iterable[tuple[int, str]], title: str = "", place: str = "") -> Iterator[Part]:
    """Parts that begin with headings, of paragraphs with their levels: 1 and more for headings, 0 for all others.

    A place is the headings it stands under, without the document's title, after ``place``.
    """
    path: list[tuple[int, str]] = []
    part, held, lost = Part([], place), list[str](), list[BadLine]()
    for level, text in _until_lost(lines, lost):
        line = " ".join(text.split()) if level else ""
        if line:
            if held:
                yield replace(part, paragraphs=held)
            path = [*((above, name) for above, name in path if above < level), (level, line)]
            own = " › ".join(name for _, name in path if name != title)
            part = Part([], "; ".join(filter(None, (place, own))), "" if line == title else line)
            held = []
        held.append(text)
    if held:
        yield replace(part, paragraphs=held)
    if lost:
        raise lost[0]


def cut_parts(parts: Iterable[Part], words: int = WORDS) -> Iterator[tuple[str, str]]:
    """Yields passages of at most so many words, cut where sentences and paragraphs end if possible.

    Paragraphs within a passage are on lines of their own. Each comes with the places that it is from. Rows of a table
    and short ``Key: value`` lines stay whole, and where a table goes on, it does under its columns' names.
    """
    held, weight, places, lost = "", 0, dict[str, None](), list[BadLine]()
    for part in _until_lost(parts, lost):
        lead = part.heading if weight_of(part.heading) <= _LONGEST_HEADING else ""
        begun = False
        for line, top in _topped(_until_lost(part.paragraphs, lost), lead):
            room, glue = words - weight_of(top.replace("\n", " ")) if top else words, "\n"
            for piece in _pieces(line, room):
                more = weight_of(piece)
                if held and weight + more > words:
                    yield held, "; ".join(filter(None, places))
                    held, weight, places = "", 0, {}
                    if begun and top:
                        held, weight, glue = top, words - room, "\n"
                held = f"{held}{glue}{piece}" if held else piece
                weight, glue, begun = weight + more, " ", True
                places[part.place] = None
        if lost:
            break
    if held:
        yield held, "; ".join(filter(None, places))
    if lost:
        raise lost[0]


def _topped(paragraphs: Iterable[str], lead: str) -> Iterator[tuple[str, str]]:
    """Paragraphs with what is above those that begin a passage: ``lead``, and a table's columns above its other rows.

    Its first row names them where it is short, without a figure, and not in ``lead`` already.
    """
    columns: str | None = None
    for paragraph in paragraphs:
        line = " ".join(paragraph.split())
        if BAR not in line:
            columns = None
        yield line, "\n".join(filter(None, (lead, columns)))
        if BAR in line and columns is None:
            named = weight_of(line) <= _LONGEST_HEADING and line not in lead and not any(map(str.isdigit, line))
            columns = line if named else ""


def _until_lost(some: Iterable[Item], lost: list[BadLine]) -> Iterator[Item]:
    """What could be read before something could not, which is added to ``lost``."""
    try:
        yield from some
    except BadLine as problem:
        lost.append(problem)


def weight_of(text: str) -> int:
    """How many words a text counts for; an empty one for one."""
    return max(text.count(" ") + 1, -(-len(text) // _CHARACTERS))


def _pieces(paragraph: str, words: int) -> Iterator[str]:
    """The sentences of a paragraph, a row or pair as one; one that is longer than a passage in pieces."""
    if weight_of(paragraph) <= (words if BAR in paragraph else _LONGEST_PAIR * bool(PAIR.match(paragraph))):
        yield paragraph
        return
    for sentence in filter(None, _SENTENCE_END.split(paragraph)):
        if weight_of(sentence) <= words:
            yield sentence
            continue
        all_words = sentence.split(" ")
        for start in range(0, len(all_words), words):
            run = " ".join(all_words[start : start + words])
            yield from (run[at : at + words * _CHARACTERS] for at in range(0, len(run), words * _CHARACTERS))
