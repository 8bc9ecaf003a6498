r"""Where words begin and end in any script, and which spellings of a word are one.

Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without spaces, and Korean with endings joined to its words.
Their text is cut into overlapping pairs of characters, each with its marks: what two texts have in common shows in
pairs, and no dictionary is needed. Passages also count single characters, so that a query of one finds them.

English goes none of these ways: text in ASCII is cut by ``\w+``, and so is other text in Latin, Greek and Cyrillic
letters unless a mark stands alone in it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

from ragr1_lite.core.scripts import JOINED

_IGNORED = "\u00ad\u02b9-\u02bf\u0640\u200d\u2060\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef"
"""What a writer may leave out inside a word: soft hyphens, joiners, variants, Arabic stretching, ʻokina and ʿayn."""

_PLAIN = re.compile(r"\w+")
_OTHER = re.compile(f"[\u0300-\u036f\u0483-\u0489\u0590-\u1dff\u200b\u200c\u2c00-\U0010ffff{_IGNORED}]")

_OPTIONAL = re.compile(
    "[\u0300-\u0305\u0307-\u036f\u0483-\u0487]|(?<!\u0438)\u0306"  # Latin, Greek and Cyrillic, but й is a letter
    "|[\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0730-\u074a]"  # Hebrew, Arabic, Syriac
)
"""Marks that many leave out: accents and vowel points. The vowel signs of Indic scripts are letters."""

# Letters that stand for others where a keyboard has none of them, and that Unicode does not decompose.
_LETTERS = {
    "ł": "l", "ø": "o", "đ": "d", "ð": "d", "ı": "i", "ħ": "h", "ŧ": "t", "ŋ": "n", "ĸ": "k", "ƒ": "f",
    "æ": "ae", "œ": "oe", "þ": "th", "ə": "e", "ǝ": "e", "ɛ": "e", "ɔ": "o", "ɓ": "b", "ɗ": "d", "ɖ": "d", "ƙ": "k",
    "ƴ": "y", "ɣ": "g", "ɲ": "n", "ʋ": "v", "ƶ": "z", "ǥ": "g", "ɨ": "i", "ɩ": "i", "ʉ": "u", "ⱡ": "l", "ɉ": "j",
}  # fmt: skip


class _Letters(dict[int, int | str]):
    """What ``str.translate`` puts for a letter, and the ASCII digit for any script's."""

    def __missing__(self, code: int) -> int | str:
        digit = unicodedata.decimal(chr(code), None)
        self[code] = letter = code if digit is None else str(digit)
        return letter


_FOLDED = _Letters({ord(letter): plain for letter, plain in _LETTERS.items()})


class _Patterns(NamedTuple):
    run: re.Pattern[str]
    character: re.Pattern[str]
    word: re.Pattern[str]
    joiner: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    """Patterns that know the marks of all living scripts but a few; gathering them takes some 20 ms."""
    marks = "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c) in {"Mn", "Mc"})
    return _Patterns(
        run=re.compile(f"[{JOINED}][{JOINED}{marks}]*"),
        character=re.compile(f"[{JOINED}][{marks}]*"),
        word=re.compile(rf"\w+(?:[{marks}]+\w*)*"),
        # A space of no width in a run, and what keeps two Indic letters apart; in Persian that ends a word.
        joiner=re.compile(f"[{_IGNORED}]|\u200b(?<=[{JOINED}{marks}]\u200b)|\u200c(?<=[{marks}]\u200c)"),
    )


def cut(text: str, *, singles: bool = False) -> list[str]:
    """Cuts text into words in order, in small letters; :func:`fold` makes what is indexed of each.

    Args:
        text: Any text.
        singles: Whether the characters of a run are words as well as its pairs, as in passages.

    Example:
        >>> cut("Tea 茶园")
        ['tea', '茶园']
        >>> cut("Tea 茶园", singles=True)
        ['tea', '茶', '园', '茶园']
    """
    if text.isascii():
        return _PLAIN.findall(text.lower())
    text = unicodedata.normalize("NFKC", text).casefold()
    if not _OTHER.search(text):
        return _PLAIN.findall(text)
    run, character, word, joiner = _patterns()

    def pairs(found: re.Match[str]) -> str:
        some = character.findall(found[0])
        both = [one + other for one, other in zip(some, some[1:], strict=False)]
        return f" {' '.join([*some, *both] if singles or not both else both)} "

    # casefold takes some letters apart.
    return word.findall(run.sub(pairs, joiner.sub("", unicodedata.normalize("NFC", text))))


def fold(word: str) -> str:
    """Returns one spelling for those of a word in small letters that differ in accents, vowel points and digits.

    Example:
        >>> fold("łódź"), fold("बीस"), fold("٢٠")
        ('lodz', 'बीस', '20')
    """
    if word.isascii():
        return word
    plain = _OPTIONAL.sub("", unicodedata.normalize("NFKD", word))
    return unicodedata.normalize("NFC", plain).translate(_FOLDED)
