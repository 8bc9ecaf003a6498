r"""How text becomes the words that are indexed and searched: one way for passages and queries alike.

Words are runs of ``\w``, single characters among them, and nothing is stopped: a stop list would delete what some
questions are about (the domains ``.in`` and ``.to``, the band "The The"), and BM25 gives frequent words little weight.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, get_args

from ragr1_lite.core.errors import ConfigError

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25.vocabulary import VocabularyFile

Stemmer = Literal["none", "english"]

STEMMER: Stemmer = "english"
"""Measured on 1,232 HotpotQA questions, titles counted once: gold-title recall@5 .761 against .745 unstemmed, the
difference's 95 % interval .008 to .025; 2WikiMultiHopQA (500 questions) agrees: .671 against .664."""

_REMEMBERED = 1_000_000
"""Unstemmed words that are kept in memory while a corpus is read; some 150 MB."""

_WORD = re.compile(r"\w+")
_MARKS = re.compile("[\u0300-\u036f]+")


class WordTokenizer:
    """Cuts text into folded words, stemmed where asked.

    Args:
        stemmer: ``none``, or ``english`` for Snowball's English stemmer (PyStemmer).

    Raises:
        ConfigError: The stemmer is unknown.
    """

    def __init__(self, stemmer: Stemmer = STEMMER) -> None:
        self.stemmer = stemmer
        self._stem = _stemmer(stemmer)

    @property
    def settings(self) -> dict[str, str]:
        """What an index's manifest keeps, so that queries are cut as its passages were."""
        return {"words": r"\w+", "fold": "nfkd-marks-casefold", "stopwords": "none", "stemmer": self.stemmer}

    def words(self, text: str) -> list[str]:
        """Returns the words of ``text`` in order, repeated ones repeatedly.

        Example:
            >>> WordTokenizer("none").words("São Tomé's domain is .st")
            ['sao', 'tome', 's', 'domain', 'is', 'st']
        """
        return self._stem(_WORD.findall(_fold(text)))

    def known(self, text: str, vocabulary: dict[str, int] | VocabularyFile) -> tuple[int, ...]:
        """Returns the ids of those words of ``text`` that are in the vocabulary."""
        return tuple(number for word in self.words(text) if (number := vocabulary.get(word)) is not None)

    def learn(self, texts: Iterable[str], vocabulary: dict[str, int]) -> Iterator[list[int]]:
        """Yields each text's ids and gives every new word the next free id in ``vocabulary``."""
        seen = _Seen(self._stem, vocabulary)
        for text in texts:
            if len(seen) > _REMEMBERED:
                seen.clear()
            yield list(map(seen.__getitem__, _WORD.findall(_fold(text))))


class _Seen(dict[str, int]):
    """The ids of words as they stand in the text, so that few are stemmed twice."""

    def __init__(self, stem: Callable[[list[str]], list[str]], vocabulary: dict[str, int]) -> None:
        super().__init__()
        self._stem, self._vocabulary = stem, vocabulary

    def __missing__(self, word: str) -> int:
        [stem] = self._stem([word])
        self[word] = number = self._vocabulary.setdefault(stem, len(self._vocabulary))
        return number


def _fold(text: str) -> str:
    """Takes away case, width and the accents of Latin, Greek and Cyrillic letters."""
    if text.isascii():
        return text.lower()
    return _MARKS.sub("", unicodedata.normalize("NFKD", text).casefold())


def _stemmer(name: Stemmer) -> Callable[[list[str]], list[str]]:
    if name == "none":
        return lambda words: words
    if name != "english":
        raise ConfigError(f"There is no stemmer {name!r}", f"Choose one of {', '.join(get_args(Stemmer))}.")
    try:
        from Stemmer import Stemmer as Snowball
    except ImportError:
        raise ConfigError("The English stemmer is not installed", "Install it with `pip install PyStemmer`.") from None
    stem: Callable[[list[str]], list[str]] = Snowball("english").stemWords
    return stem
