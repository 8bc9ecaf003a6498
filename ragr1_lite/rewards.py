"""Pure scorers of an answer against its accepted answers. One normaliser for training and evaluation.

Exact match and F1 follow SQuAD's published definition (lower case, no punctuation, no articles, single spaces), taken
over aliases by the maximum, as HotpotQA and RAG-R1 report them.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from ragr1_lite.core import Reward, Trajectory

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation + "‘’“”«»–—")


def normalize(text: str) -> str:
    """Lower case, NFKC, punctuation and articles removed, spaces collapsed; a text of articles alone keeps them.

    >>> normalize("The  Beatles!")
    'beatles'
    """
    plain = unicodedata.normalize("NFKC", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split() or plain.split())


def exact_match(answer: str | None, answers: Iterable[str]) -> float:
    """1.0 when the answer equals an accepted one after normalisation, else 0.0; no answer scores 0.0."""
    ours = normalize(answer or "")
    return float(ours != "" and ours in {normalize(gold) for gold in answers})


def f1(answer: str | None, answers: Iterable[str]) -> float:
    """The best token F1 against an accepted answer; yes / no / noanswer only count when equal, as in HotpotQA."""
    return 0.0 if answer is None else max((_f1(normalize(answer), normalize(gold)) for gold in answers), default=0.0)


def _f1(answer: str, gold: str) -> float:
    closed = {"yes", "no", "noanswer"}
    if answer != gold and (answer in closed or gold in closed):
        return 0.0
    ours, theirs = answer.split(), gold.split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def well_formed(trajectory: Trajectory) -> bool:
    """Whether the trajectory ended in an answer and the model thought before every tag it wrote."""
    sampled = sum(1 for segment in trajectory.segments if segment.source == "model")
    return trajectory.stop_reason == "answer" and all(turn.think for turn in trajectory.turns[-sampled:])


def score(trajectory: Trajectory, weights: Mapping[str, float]) -> Reward:
    """The weighted sum of ``em``, ``f1`` and ``format`` (1.0 for a well-formed trajectory) and its unweighted parts."""
    answers = trajectory.example.answers
    parts = {
        "em": exact_match(trajectory.answer, answers),
        "f1": f1(trajectory.answer, answers),
        "format": float(well_formed(trajectory)),
    }
    return Reward(sum(weights.get(name, 0.0) * part for name, part in parts.items()), parts)
