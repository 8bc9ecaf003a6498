"""Pure scorers of answers and trajectories, the same for training and evaluation.

Exact match and F1 follow SQuAD's published definition, taken over aliases by the maximum, as HotpotQA and RAG-R1 report
them. The official evaluations of SQuAD (1.1) and HotpotQA normalise alike; HotpotQA's F1 counts yes, no and noanswer
only when equal. :data:`OURS` is HotpotQA's with four differences, which matter to text beyond plain ASCII, to short
answers and to those without a word:

- Unicode is brought to NFKC first, and typographic quotes and dashes are punctuation too;
- a mark that tells two things apart stays: 2.5 is not 25, nor −5 5, nor C++ C, nor 10⁶ 106, and 5% is 5 percent;
- an article goes only where a word follows, so that *Plan A* is not *Plan B*, and the band *The The* has a name;
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

from ragr1_lite.core.protocol import NOT_FOUND
from ragr1_lite.core.scripts import spread
from ragr1_lite.core.types import Passage, Reward, Trajectory

NormalizerName = Literal["ours", "squad", "hotpotqa"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_LEADING_ARTICLES = re.compile(r"(?<!\S)(?:(?:an?|the) )+(?!(?:an?|the)\b)")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_RAISED = re.compile(r"(?<=\d)(?=⁻?[²³¹⁰⁴-⁹])")
_DASHES = str.maketrans("‐–—−⁄", "----/")
_MARK = re.compile(
    r"(?<=\d),(?=\d{3}(?!\d))"  # of thousands: goes, as all that is not kept
    r"|(?P<kept>(?<=\d)(?:[.,:/-]|\^-?)(?=\d)"  # 2.5, 3/4, 10:30, 1914-1918, 10^6
    r"|(?<!\w)-(?=\.?\d)|(?<!\w)\.(?=\d)"  # -5, .22
    r"|(?<=\w)[+#]+(?!\w))"  # C++
    r"|(?P<percent>(?<=\d) ?%)"
    rf"|[{re.escape(string.punctuation)}‘’“”«»]"
)


def normalize(text: str) -> str:
    """Lower case, NFKC, articles removed, and punctuation that tells nothing apart; spaces collapsed.

    >>> normalize("The  Beatles!"), normalize("1,200.5%"), normalize("Plan A")
    ('beatles', '1200.5 percent', 'plan a')
    """
    return _LEADING_ARTICLES.sub("", _with_articles(text))


def haystack(text: str) -> str:
    """What :func:`needle` is looked for in: a text with its articles, and without."""
    whole = spread(_with_articles(text))
    return f"| {whole} | {_LEADING_ARTICLES.sub('', whole)} |"


def needle(normal: str) -> str:
    """What is looked for in a :func:`haystack`: whole words; articles alone are found where nothing else stands.

    Where a script has no spaces, any characters that follow each other may be a word.

    >>> [needle(normalize(answer)) in haystack("Plan A of the Chad") for answer in ("the Chad", "Plan A", "A")]
    [True, True, False]
    """
    return f" {spread(normal)} " if _ARTICLES.sub("", normal).strip() else f"| {normal} |"


def _with_articles(text: str) -> str:
    plain = unicodedata.normalize("NFKC", _RAISED.sub("^", text)).lower().translate(_DASHES)
    return " ".join(_MARK.sub(lambda mark: " percent" if mark["percent"] else mark["kept"] or "", plain).split())


def official_normalize(text: str) -> str:
    """What SQuAD's and HotpotQA's official evaluations make of a text: "The The" becomes an empty one."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_ASCII_PUNCTUATION)).split())


def _official_haystack(text: str) -> str:
    return f" {official_normalize(text)} "


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores an answer from 0 to 1 against the accepted ones, of which the best counts; no answer scores 0.

    Attributes:
        normalize: Makes the texts that are compared.
        haystack: Makes the text that the :func:`needle` of an answer is looked for in.
        closed: Answers that have an F1 only when they are equal.
        empty_matches: Whether two texts of which normalisation leaves nothing are an exact match.
    """

    normalize: Callable[[str], str]
    haystack: Callable[[str], str]
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
        ours = self.haystack(answer or "")
        return float(any(needle(gold) in ours for gold in map(self.normalize, answers) if gold))

    def _f1(self, ours: str, gold: str) -> float:
        if ours != gold and (ours in self.closed or gold in self.closed):
            return 0.0
        words, theirs = ours.split(), gold.split()
        common = (Counter(words) & Counter(theirs)).total()
        return 2 * common / (len(words) + len(theirs)) if common else 0.0


_CLOSED = frozenset({"yes", "no", "noanswer"})
OURS = Scorer(normalize, haystack, _CLOSED | {NOT_FOUND}, empty_matches=False)
SCORERS: Mapping[NormalizerName, Scorer] = {
    "ours": OURS,
    "squad": Scorer(official_normalize, _official_haystack, frozenset(), empty_matches=True),
    "hotpotqa": Scorer(official_normalize, _official_haystack, _CLOSED, empty_matches=True),
}
exact_match, f1, covers = OURS.exact_match, OURS.f1, OURS.covers


def refuses(answer: str | None) -> bool:
    """Whether an answer says that the documents hold none."""
    return exact_match(answer, (NOT_FOUND,)) == 1.0


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
