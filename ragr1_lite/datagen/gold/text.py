"""What stands in a text, by whole words without accents, hyphens and articles; and sentences short enough to quote."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from ragr1_lite.core.protocol import disarm
from ragr1_lite.core.rewards import haystack, needle, normalize
from ragr1_lite.core.types import Passage

_LONGEST_QUOTE = 32
"""Words of a sentence that a thought may quote."""
_STEM = 5
"""Letters by which two words count as forms of one, where a sentence is chosen."""

_JOINTS = re.compile(r"[-‐‑–—/]")
_GENITIVE = re.compile(r"['’]s\b", re.IGNORECASE)
_ABBREVIATED = r"(?<!\b[A-Z]\.)(?<!\b(?:Mr|Dr|St|Jr|Sr|Mt|Lt|Co|No|vs|ca)\.)(?<!\b(?:Mrs|Sgt|Col|Gen|Rev)\.)"
_SENTENCE = re.compile(rf"(?<=[.!?]){_ABBREVIATED}\s+(?=[A-Z\"“(])")
_STOP = frozenset(
    """a an and any are as at be been both by did do does for from had has have he her his how i in into is it its many
    me much my name of on one or she than that the their them there these they this to was were what when where which
    who whom whose why with would""".split()
)


@lru_cache(maxsize=1 << 16)
def words(text: str) -> str:
    """The words to compare by, separated by single spaces.

    >>> words("Hanks’s B-29, the José")
    'hanks b 29 jose'
    """
    return normalize(_folded(text))


@lru_cache(maxsize=1 << 16)
def _searched(text: str) -> str:
    return haystack(_folded(text))


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKD", _split(text))
    return "".join(one for one in folded if not unicodedata.combining(one))


def _split(text: str) -> str:
    return _JOINTS.sub(" ", _GENITIVE.sub("", text))


def stands_in(value: str, text: str) -> bool:
    """Whether a value's words stand in a text in a row; short capitals only as capitals, so that US is not "us".

    >>> stands_in("U.S.", "He told us."), stands_in("U.S.", "Most US airports do.")
    (False, True)
    """
    wanted = words(value)
    if value.isupper() and len(wanted) <= 3 and wanted.upper() not in re.sub(r"[^\w\s]", "", _split(text)).split():
        return False
    return bool(wanted) and needle(wanted) in _searched(text)


def trusted(answers: Sequence[str]) -> list[str]:
    """The accepted answers that are evidence where they stand in a text: not "it", an alias of Italy's."""
    return [one for at, one in enumerate(answers) if at == 0 or len(words(one)) > 3]


def same(one: str, other: str) -> bool:
    """Whether two names have the same words."""
    return words(one) == words(other)


def content(text: str) -> list[str]:
    """The words of a text that are no stop words, each once, in order; all words where every one is."""
    split = words(text).split()
    return list(dict.fromkeys(one for one in split if one not in _STOP)) or split


def share(text: str, other: str) -> float:
    """The share of a text's :func:`content` words that stand in another text, from 0 to 1."""
    wanted, there = content(text), set(words(other).split())
    return sum(one in there for one in wanted) / len(wanted) if wanted else 0.0


def plain(title: str) -> str:
    """A title without its disambiguation: ``Lilu (mythology)`` is called ``Lilu``."""
    return re.sub(r"\s*\([^)]*\)$", "", title) or title


def clean(text: str) -> str:
    """A text that a search tag can hold: no quotes, brackets or line breaks."""
    return " ".join(re.sub(r'["<>()]', " ", text).split())


def whole(passage: Passage) -> str:
    """A passage's title and text."""
    return f"{passage.title}. {passage.text}"


def sentences(text: str) -> list[str]:
    r"""The sentences of a text; initials, common abbreviations and brackets end none, and a line's end ends each.

    >>> sentences("Born: 1956\nB. Reeves Eason (pron. Eeson) died. Mr. Lee was born in 1956.")
    ['Born: 1956', 'B. Reeves Eason (pron. Eeson) died.', 'Mr. Lee was born in 1956.']
    """
    return [sentence for line in text.splitlines() for sentence in _sentences_of(line)]


def _sentences_of(line: str) -> list[str]:
    whole: list[str] = []
    for one in _SENTENCE.split(" ".join(line.split())):
        if whole and whole[-1].count("(") > whole[-1].count(")"):
            whole[-1] += f" {one}"
        elif one:
            whole.append(one)
    return whole


def _cut(sentence: str, value: str) -> str:
    """At most :data:`_LONGEST_QUOTE` words of a sentence, those around a value that stands in it; else its first."""
    split = sentence.split()
    if len(split) <= _LONGEST_QUOTE:
        return sentence
    last = next((end for end in range(1, len(split) + 1) if stands_in(value, " ".join(split[:end]))), 0)
    first = next((at for at in range(last - 1, -1, -1) if stands_in(value, " ".join(split[at:last]))), 0)
    begin = max(0, min(first - 2, last - _LONGEST_QUOTE)) if last > _LONGEST_QUOTE else 0
    end = max(begin + _LONGEST_QUOTE, last)
    return ("… " if begin else "") + " ".join(split[begin:end]) + (" …" if end < len(split) else "")


def quote(passage: Passage, sentence: str, value: str = "") -> str:
    """A sentence under its passage's title, its protocol tags disarmed."""
    text = _cut(sentence, value)
    end = "" if text.endswith((".", "!", "?", "…", '."', ".)")) else "."
    return disarm(f"{plain(passage.title)}: {text}{end}" if passage.title else f"{text}{end}")


def join(parts: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def closest(passage: Passage, about: str, wanted: Callable[[str], bool]) -> str:
    """The wanted sentence of a passage; of several, the one closest in words to a question."""
    asked = {word[:_STEM] for word in content(about)} - {word[:_STEM] for word in content(passage.title)}

    return max(
        sentences(passage.text),
        key=lambda sentence: (wanted(sentence), len(asked & {word[:_STEM] for word in content(sentence)})),
        default="",
    )


def keywords(question: str) -> str:
    """A question without its stop words, as a query.

    >>> keywords("What is the usual snowfall in Washington, D.C.?")
    'usual snowfall Washington D.C.'
    """
    bare = [word.strip("\"'“”‘’(),?!:;") for word in question.split()]
    return clean(" ".join(word for word in bare if words(word) and words(word) not in _STOP)) or clean(question)


def names(text: str) -> Iterator[str]:
    """The names and numbers of a question: capitalised words but the first, and what has a digit in it.

    >>> list(names("Who made The Oddventures of Mr. Cool in 1998?"))
    ['Oddventures', 'Mr', 'Cool', '1998']
    """
    for at, word in enumerate(text.split()):
        bare = word.strip("\"'“”‘’(),.?!:;")
        named = (at and bare[:1].isupper()) or any(character.isdigit() for character in bare)
        if named and words(bare) not in _STOP:
            yield bare
