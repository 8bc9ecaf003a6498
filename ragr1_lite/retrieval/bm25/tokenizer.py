r"""How text becomes the words that are indexed and searched: one way for passages and queries alike.

Nothing is stopped, single characters are words: a stop list would delete what some questions are about (the domains
``.in`` and ``.to``, the band "The The"), and BM25 gives frequent words little weight.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ragr1_lite.core.errors import ConfigError, RetrievalIndexError
from ragr1_lite.retrieval.bm25.cutting import cut, fold
from ragr1_lite.retrieval.bm25.mapped_files import REBUILD

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25.vocabulary import VocabularyFile

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

_WORD = re.compile(r"\w+")
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
        return _WORD.findall(text.lower())
    return _WORD.findall(_MARKS.sub("", unicodedata.normalize("NFKD", text).casefold()))


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
