r"""How text becomes the words that are indexed and searched: one way for passages and queries alike.

Nothing is stopped, single characters are words: a stop list would delete what some questions are about (the domains
``.in`` and ``.to``, the band "The The"), and BM25 gives frequent words little weight.

Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without spaces, and Korean with endings joined to its words.
Their text is cut into overlapping pairs of characters, each with its marks: what two texts have in common shows in
pairs, and no dictionary is needed. Passages also count single characters, so that a query of one finds them.

English goes none of these ways: text in ASCII is cut by ``\w+``, and so is other text in Latin, Greek and Cyrillic
letters unless a mark stands alone in it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ragr1_lite.core.errors import ConfigError, RetrievalIndexError
from ragr1_lite.core.scripts import JOINED
from ragr1_lite.retrieval.bm25.mapped_files import REBUILD

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25.vocabulary import VocabularyFile

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


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Patterns of runs, their characters, words and joiners, which know the marks of all living scripts but a few.

    Gathering them takes some 20 ms.
    """
    marks = "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c) in {"Mn", "Mc"})
    return (
        re.compile(f"[{JOINED}][{JOINED}{marks}]*"),
        re.compile(f"[{JOINED}][{marks}]*"),
        re.compile(rf"\w+(?:[{marks}]+\w*)*"),
        # A space of no width in a run, and what keeps two Indic letters apart; in Persian that ends a word.
        re.compile(f"[{_IGNORED}]|\u200b(?<=[{JOINED}{marks}]\u200b)|\u200c(?<=[{marks}]\u200c)"),
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


STEMMER = "english"
"""Measured on 1,232 HotpotQA questions, titles counted once: gold-title recall@5 .761 against .745 unstemmed, the
difference's 95 % interval .008 to .025; 2WikiMultiHopQA (500 questions) agrees: .671 against .664."""

VERSION = 2
_SETTINGS = {
    1: {"words": r"\w+", "fold": "nfkd-marks-casefold", "stopwords": "none"},
    2: {"version": "2", "words": "words, pairs of characters", "fold": "nfkc-casefold-letters", "stopwords": "none"},
}
"""What manifests say of each version; the first had no number."""

_REMEMBERED = 1_000_000
"""Unstemmed words that are kept in memory while a corpus is read; some 150 MB."""

_MARKS = re.compile("[\u0300-\u036f]+")

Stem = Callable[[list[str]], list[str]]


class WordTokenizer:
    """Cuts text into folded words, stemmed where asked.

    Args:
        stemmer: ``none``, or a language of Snowball's (PyStemmer): ``english``, ``german``, ``hindi``, ….
        version: 1 cuts as the first indexes were cut: scripts without spaces only at punctuation.

    Raises:
        ConfigError: The stemmer is unknown.
    """

    def __init__(self, stemmer: str = STEMMER, version: int = VERSION) -> None:
        self.stemmer, self.version = stemmer, version
        self._stem = _stemmer(stemmer)
        self._of_query = self._of_passage = _first_cut
        self._fold: Callable[[str], str] = str
        if version > 1:
            self._of_query, self._of_passage, self._fold = cut, partial(cut, singles=True), fold

    @property
    def settings(self) -> dict[str, str]:
        """What an index's manifest keeps, so that queries are cut as its passages were."""
        return {**_SETTINGS[self.version], "stemmer": self.stemmer}

    def words(self, text: str) -> list[str]:
        """Returns the words of a query in order, repeated ones repeatedly.

        Example:
            >>> WordTokenizer("none").words("São Tomé's domain is .st")
            ['sao', 'tome', 's', 'domain', 'is', 'st']
        """
        words = self._of_query(text)
        return self._stem(words if text.isascii() else list(map(self._fold, words)))

    def known(self, text: str, vocabulary: dict[str, int] | VocabularyFile) -> tuple[int, ...]:
        """Returns the ids of those words of a query that are in the vocabulary."""
        return tuple(number for word in self.words(text) if (number := vocabulary.get(word)) is not None)

    def learn(self, texts: Iterable[str], vocabulary: dict[str, int]) -> Iterator[list[int]]:
        """Yields each passage's ids and gives every new word the next free id in ``vocabulary``."""
        seen = _Seen(self._fold, self._stem, vocabulary)
        for text in texts:
            if len(seen) > _REMEMBERED:
                seen.clear()
            yield list(map(seen.__getitem__, self._of_passage(text)))


def tokenizer_of(settings: Mapping[str, str], index: Path | None) -> WordTokenizer:
    """Returns the tokenizer that an index was built with.

    Raises:
        RetrievalIndexError: The settings are of none that this version has.
        ConfigError: Its stemmer is not in the PyStemmer that is installed.
    """
    for version, known in _SETTINGS.items():
        if settings == {**known, "stemmer": settings.get("stemmer")}:
            return WordTokenizer(settings["stemmer"], version)
    raise RetrievalIndexError(f"The index {index} cuts words in a way this version does not know", REBUILD)


class _Seen(dict[str, int]):
    """The ids of words as they stand in the text, so that few are folded and stemmed twice."""

    def __init__(self, fold: Callable[[str], str], stem: Stem, vocabulary: dict[str, int]) -> None:
        super().__init__()
        self._fold, self._stem, self._vocabulary = fold, stem, vocabulary

    def __missing__(self, word: str) -> int:
        [stem] = self._stem([self._fold(word)])
        self[word] = number = self._vocabulary.setdefault(stem, len(self._vocabulary))
        return number


def _first_cut(text: str) -> list[str]:
    """Version 1: takes away case, width and the accents of Latin, Greek and Cyrillic letters, then cuts."""
    if text.isascii():
        return _PLAIN.findall(text.lower())
    return _PLAIN.findall(_MARKS.sub("", unicodedata.normalize("NFKD", text).casefold()))


def _stemmer(name: str) -> Stem:
    if name == "none":
        return lambda words: words
    try:
        import Stemmer
    except ImportError:
        raise ConfigError(
            f"The stemmer {name!r} is not installed", "Install it with `pip install PyStemmer`."
        ) from None
    if name not in Stemmer.algorithms():
        names = ", ".join(["none", *Stemmer.algorithms()])
        raise ConfigError(f"There is no stemmer {name!r}", f"Choose one of {names}.")
    stem: Stem = Stemmer.Stemmer(name).stemWords
    return stem
