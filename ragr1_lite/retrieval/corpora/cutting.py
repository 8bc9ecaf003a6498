"""Cuts a document into passages of a hundred words, at the ends of sentences and paragraphs where they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

WORDS = 100
_CHARACTERS = 10
"""A word counts for one in ten characters at least, so that scripts without blanks are cut too."""
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*")


def cut(paragraphs: Iterable[str], words: int = WORDS) -> Iterator[str]:
    """Yields passages of at most so many words; paragraphs within one are on lines of their own."""
    held, weight = "", 0
    for paragraph in paragraphs:
        glue = "\n"
        for piece in _pieces(" ".join(paragraph.split()), words):
            more = _weight(piece)
            if held and weight + more > words:
                yield held
                held, weight = "", 0
            held = f"{held}{glue}{piece}" if held else piece
            weight, glue = weight + more, " "
    if held:
        yield held


def _pieces(paragraph: str, words: int) -> Iterator[str]:
    """The sentences of a paragraph; one that is longer than a passage in pieces."""
    for sentence in filter(None, _SENTENCE_END.split(paragraph)):
        if _weight(sentence) <= words:
            yield sentence
            continue
        all_words = sentence.split(" ")
        for start in range(0, len(all_words), words):
            run = " ".join(all_words[start : start + words])
            yield from (run[at : at + words * _CHARACTERS] for at in range(0, len(run), words * _CHARACTERS))


def _weight(text: str) -> int:
    return max(text.count(" ") + 1, -(-len(text) // _CHARACTERS))
