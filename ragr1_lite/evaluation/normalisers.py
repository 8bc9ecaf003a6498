"""How an answer is held against the accepted ones: this house's way, and the two published ones.

The official evaluations of SQuAD (1.1) and HotpotQA normalise alike: lower case, ``string.punctuation`` and articles
removed, single spaces. They differ in F1, where HotpotQA's counts yes, no and noanswer only when equal. Ours is
HotpotQA's with three differences, which matter to text beyond plain ASCII and to answers without a word:

- Unicode is brought to NFKC first, and typographic quotes and dashes are punctuation too;
- a text of articles alone keeps them, so that the band *The The* has a name;
- an answer of which nothing is left scores 0, whatever is accepted.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ragr1_lite.core import rewards

NormalizerName = Literal["ours", "squad", "hotpotqa"]
Scoring = Callable[[str | None, Iterable[str]], float]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = frozenset({"yes", "no", "noanswer"})


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores from 0 to 1 of an answer against the accepted ones, the best of which counts; no answer scores 0.

    Attributes:
        exact_match: 1.0 when equal after normalisation.
        f1: Of the words after normalisation.
        covers: 1.0 when an accepted answer stands inside the answer, as whole words after normalisation.
    """

    exact_match: Scoring
    f1: Scoring
    covers: Scoring


def official_normalize(text: str) -> str:
    """What SQuAD's and HotpotQA's official evaluations make of a text.

    >>> official_normalize("The  Beatles!"), official_normalize("The The")
    ('beatles', '')
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _official(closed: frozenset[str]) -> Scorer:
    """A published scorer; an answer or accepted answer in ``closed`` has an F1 only when both are equal."""

    def exact_match(ours: str, gold: str) -> float:
        return float(ours == gold)

    def f1(ours: str, gold: str) -> float:
        if ours != gold and (ours in closed or gold in closed):
            return 0.0
        words, theirs = ours.split(), gold.split()
        common = sum((Counter(words) & Counter(theirs)).values())
        return 2 * common / (len(words) + len(theirs)) if common else 0.0

    def covers(ours: str, gold: str) -> float:
        return float(gold != "" and f" {gold} " in f" {ours} ")

    return Scorer(_best(exact_match), _best(f1), _best(covers))


def _best(of: Callable[[str, str], float]) -> Scoring:
    """The best score against any accepted answer."""

    def scoring(answer: str | None, answers: Iterable[str]) -> float:
        if answer is None:
            return 0.0
        ours = official_normalize(answer)
        return max((of(ours, official_normalize(gold)) for gold in answers), default=0.0)

    return scoring


OURS = Scorer(rewards.exact_match, rewards.f1, rewards.covers)
SCORERS: Mapping[NormalizerName, Scorer] = {
    "ours": OURS,
    "squad": _official(frozenset()),
    "hotpotqa": _official(_CLOSED),
}
"""By name."""
