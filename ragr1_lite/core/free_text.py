"""Reads an answer that was written without tags, by one rule for all models. Pure text.

The modes in which the environment never goes on (``direct``, ``rag``, ``cot-rag``) ask for no tag, so that a model that
knows none can answer. What it wrote is prepared first:

- thoughts inside ``<think></think>`` are left out, one that never closes to its end;
- it ends before a written end token of a chat, and before a further ``Question:`` or ``User:`` that the model makes up;
- a text with a search in it, or with made-up information, answers nothing;
- of a text that was cut at its limit only whole sentences and lines count.

The first of these that gives something is the answer, after a well-formed tag (``tag``), which comes before them all:

1. ``open-tag``: what follows the last ``<answer>``, which was not closed as it should be;
2. ``phrase``: what follows the last "answer is", "answer to … is" or "answer:";
3. ``last-line`` in ``cot-rag``, unless the text was cut; ``first-sentence`` in the others.

But for the last line, what is read is the first sentence of the first line with a word in it; a phrase is not itself an
answer, so "The answer is:" alone is none. The marks of lists, Markdown and LaTeX, quotes around the answer and its full
stop are left out, and all behind its first 200 characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ragr1_lite.core.types import Reading, Turn

LONGEST = 200
"""Characters of an answer."""

_THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_SEARCHES = re.compile(r"<\s*(?:search|information)\s*>", re.IGNORECASE)
_ANSWER = re.compile(r"<\s*answer\s*>", re.IGNORECASE)
_TAG = re.compile(r"<\s*/?\s*(?:think|search|information|answer)\s*>", re.IGNORECASE)
_OVER = re.compile(
    r"(?<=\S)\s*(?:^[\s>*_#]*(?:question|user|human)\b[^\n:]{0,9}:"
    r"|<[|｜][^<>\n]{1,40}[|｜]>|</?s>|<eos>|<(?:start|end)_of_turn>|\[/?INST\])",
    re.IGNORECASE | re.MULTILINE,
)
"""Where a text goes on as somebody else."""
_PHRASE = re.compile(r"\banswers?\b(?: to [^.?!:\n]{1,100}?)?[\s*_\"']*(?:\b(?:is|are)\b[\s*_]*:?|:)", re.IGNORECASE)
_STOP = re.compile(r"(\S*?)([.!?])[.!?]*[\"'”’»)\]*_]*(?=\s|$)")
"""A word and the stop behind it."""
_SHORT = re.compile(r"\W*(?:[A-Z]|(?:\w+\.)+\w+|St|Mt|Ft|Mr|Mrs|Ms|Dr|Jr|Sr|Prof|Gen|Lt|Col|Inc|Ltd|Co|Corp|vs)")
"""A word whose full stop ends no sentence: initials and abbreviations."""
_LIST = re.compile(r"\s*(?:(?:[-*•+>]|#{1,6}|\d{1,2}[.)])\s+)*")
"""What Markdown begins a line with."""
_LATEX = re.compile(r"\\[a-zA-Z]+\{([^{}]*)\}")
_BEFORE = re.compile(r"^[\s*_\"'“”‘’«»:…]+")
_AFTER = re.compile(r"(?:(?<!\.\w)\.|[\s*_\"'“”‘’«»:…,;])+$")
"""Behind an answer; the full stop of "D.C." is its own."""


def read_free_text(text: str, *, reasons: bool = False, cut: bool = False) -> Turn | None:
    """The answer in a text without a well-formed tag; ``None`` where there is none.

    ``reasons`` says that the answer was to come last, ``cut`` that the text reached its limit. The turn's thought is
    all that was written, unless that is the answer alone.

    >>> read_free_text("It lies in Chad. The answer is **N'Djamena**.", reasons=True).answer
    "N'Djamena"
    """
    said = _without_thoughts(text)
    if over := _OVER.search(said):
        said, cut = said[: over.start()], False
    if _SEARCHES.search(said):
        return None
    if cut:
        ends = [0, said.rfind("\n") + 1, *_ends(said)]
        said = said[: max(end for end in ends if end < len(said) or not end)]
    for reading, found in _candidates(said, reasons, cut):
        if (answer := _tidy(found)) and not _PHRASE.search(found):
            whole = _TAG.sub("", text).strip()
            return Turn("answer", "" if _tidy(whole) == answer else whole, answer=answer, read_by=reading)
    return None


def _without_thoughts(text: str) -> str:
    """What follows the last thought; the tags that open and close it may be missing."""
    said = _THOUGHT.sub("\n", text)
    return said.rpartition("</think>")[2].partition("<think>")[0]


def _candidates(said: str, reasons: bool, cut: bool) -> Iterator[tuple[Reading, str]]:
    """What may be the answer, the best first."""
    for opened in list(_ANSWER.finditer(said))[-1:]:
        yield "open-tag", _sentence(_TAG.split(said[opened.end() :])[0])
    plain = _TAG.sub("\n", said)
    for phrase in reversed(list(_PHRASE.finditer(plain))):
        yield "phrase", _sentence(plain[phrase.end() :])
    if not reasons:
        yield "first-sentence", _sentence(plain)
    elif not cut:
        yield from (("last-line", line) for line in _lines(plain)[-1:])


def _lines(text: str) -> list[str]:
    """The lines with a word in them, without the marks of lists and headings."""
    return [_LIST.sub("", line, count=1) for line in text.splitlines() if any(map(str.isalnum, line))]


def _sentence(text: str) -> str:
    """The first sentence of the first line with a word in it."""
    return next((line[: next(_ends(line), None)] for line in _lines(text)), "")


def _ends(text: str) -> Iterator[int]:
    """Where sentences end."""
    for stop in _STOP.finditer(text):
        after = text[stop.end() :].partition("\n")[0].strip()
        goes_on = after and stop[2] == "." and (_SHORT.fullmatch(stop[1]) or after[0].isdigit())
        if not goes_on:
            yield stop.end()


def _tidy(text: str) -> str:
    """An answer without what surrounds it; empty where no letter or digit is left."""
    plain = " ".join(re.sub(r"\*\*|__|`", "", text).split())
    while plain != (plain := _LATEX.sub(r"\1", plain)):
        pass
    answer = _AFTER.sub("", _BEFORE.sub("", plain)[:LONGEST])
    return answer if any(map(str.isalnum, answer)) else ""
