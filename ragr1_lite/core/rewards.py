"""Pure scorers of answers and trajectories, the same for training and evaluation.

Exact match and F1 follow SQuAD's published definition, taken over aliases by the maximum, as HotpotQA and RAG-R1 report
them. The official evaluations of SQuAD (1.1) and HotpotQA normalise alike; HotpotQA's F1 counts yes, no and noanswer
only when equal. :data:`OURS` is HotpotQA's with three differences, which matter to text beyond plain ASCII and to
answers without a word:

- Unicode is brought to NFKC first, and typographic quotes and dashes are punctuation too;
- a text of articles alone keeps them, so that the band *The The* has a name;
- an answer of which nothing is left scores 0, whatever is accepted.

An answer is what the model wrote, never what stands in a retrieved text.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ragr1_lite.core.types import Passage, Reward, Trajectory

NormalizerName = Literal["ours", "squad", "hotpotqa"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_PUNCTUATION = str.maketrans("", "", string.punctuation + "‘’“”«»–—")


def normalize(text: str) -> str:
    """Lower case, NFKC, punctuation and articles removed, spaces collapsed; a text of articles alone keeps them.

    >>> normalize("The  Beatles!")
    'beatles'
    """
    plain = unicodedata.normalize("NFKC", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split() or plain.split())


def official_normalize(text: str) -> str:
    """What SQuAD's and HotpotQA's official evaluations make of a text: "The The" becomes an empty one."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_ASCII_PUNCTUATION)).split())


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores an answer from 0 to 1 against the accepted ones, of which the best counts; no answer scores 0.

    Attributes:
        normalize: Makes the texts that are compared.
        closed: Answers that have an F1 only when they are equal.
        empty_matches: Whether two texts of which normalisation leaves nothing are an exact match.
    """

    normalize: Callable[[str], str]
    closed: frozenset[str]
    empty_matches: bool

    def exact_match(self, answer: str | None, answers: Iterable[str]) -> float:
        """1.0 when the answer equals an accepted one after normalisation."""
        ours = self.normalize(answer or "")
        if answer is None or not (ours or self.empty_matches):
            return 0.0
        return float(ours in map(self.normalize, answers))

    def f1(self, answer: str | None, answers: Iterable[str]) -> float:
        """The best token F1 against an accepted answer."""
        if answer is None:
            return 0.0
        ours = self.normalize(answer)
        return max((self._f1(ours, self.normalize(gold)) for gold in answers), default=0.0)

    def covers(self, answer: str | None, answers: Iterable[str]) -> float:
        """1.0 when an accepted answer stands inside the answer, as whole words after normalisation.

        >>> OURS.covers("It is Lake Chad.", ["Chad"]), OURS.covers("Chadian", ["Chad"])
        (1.0, 0.0)
        """
        ours = f" {self.normalize(answer or '')} "
        return float(any(f" {gold} " in ours for gold in map(self.normalize, answers) if gold))

    def _f1(self, ours: str, gold: str) -> float:
        if ours != gold and (ours in self.closed or gold in self.closed):
            return 0.0
        words, theirs = ours.split(), gold.split()
        common = (Counter(words) & Counter(theirs)).total()
        return 2 * common / (len(words) + len(theirs)) if common else 0.0


_CLOSED = frozenset({"yes", "no", "noanswer"})
OURS = Scorer(normalize, _CLOSED, empty_matches=False)
SCORERS: Mapping[NormalizerName, Scorer] = {
    "ours": OURS,
    "squad": Scorer(official_normalize, frozenset(), empty_matches=True),
    "hotpotqa": Scorer(official_normalize, _CLOSED, empty_matches=True),
}
exact_match, f1, covers = OURS.exact_match, OURS.f1, OURS.covers


def title_recall(titles: Iterable[str], passages: Iterable[Passage]) -> float | None:
    """The share of the titles that are among the passages', normalised; ``None`` where there is no title."""
    gold = {normal for title in titles if (normal := normalize(title))}
    return len(gold & {normalize(passage.title) for passage in passages}) / len(gold) if gold else None


def evidence(trajectory: Trajectory) -> float | None:
    """The share of the question's gold passages that the model saw; ``None`` where its set names none."""
    return title_recall(trajectory.example.titles, trajectory.shown)


def well_formed(trajectory: Trajectory) -> bool:
    """Whether the trajectory ended in an answer and the model thought before every tag it wrote."""
    return trajectory.stop_reason == "answer" and all(
        turn.think for turn in trajectory.turns[trajectory.first_written :]
    )


def well_formed_turns(trajectory: Trajectory) -> float:
    """The share of the model's turns with a thought and a usable tag; 0.0 where it could not begin."""
    turns = trajectory.turns[trajectory.first_written :]
    return sum(1 for turn in turns if turn.think and turn.kind != "invalid") / max(1, len(turns))


PARTS: Mapping[str, Callable[[Trajectory], float | None]] = {
    "em": lambda one: exact_match(one.answer, one.example.answers),
    "f1": lambda one: f1(one.answer, one.example.answers),
    "cover_em": lambda one: covers(one.answer, one.example.answers),
    "evidence": evidence,
    "format": lambda one: float(well_formed(one)),
    "shaped_format": well_formed_turns,
    "length": lambda one: one.sampled_tokens / 100,
    "retrieval": lambda one: float(one.queries),
}
"""What a reward may be made of, by its name in a recipe; ``None`` where a trajectory has no such part."""

_ALWAYS = ("em", "f1", "format")
"""Parts that are reported with every reward, weighted or not."""


def score(trajectory: Trajectory, weights: Mapping[str, float]) -> Reward:
    """The sum of :data:`PARTS`, weighted by name; what is not named weighs nothing.

    A part that the trajectory does not have, such as the evidence of a question whose set names no gold passage, is
    neither in the sum nor among the parts.

    Returns:
        The total, and unweighted ``em``, ``f1``, ``format`` and every part that has a weight.
    """
    wanted = [name for name in PARTS if name in _ALWAYS or weights.get(name)]
    parts = {name: value for name in wanted if (value := PARTS[name](trajectory)) is not None}
    return Reward(sum(weights.get(name, 0.0) * value for name, value in parts.items()), parts)
