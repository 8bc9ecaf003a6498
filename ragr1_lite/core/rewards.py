"""Pure scorers of a trajectory. One normaliser for training and evaluation.

Exact match and F1 follow SQuAD's published definition (lower case, no punctuation, no articles, single spaces), taken
over aliases by the maximum, as HotpotQA and RAG-R1 report them. An answer is what the model wrote, never what stands in
a retrieved text.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from ragr1_lite.core.types import Passage, Reward, Trajectory, Turn

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


def covers(answer: str | None, answers: Iterable[str]) -> float:
    """1.0 when an accepted answer stands inside the answer, as whole words after normalisation, else 0.0.

    >>> covers("It is Lake Chad.", ["Chad"]), covers("Chadian", ["Chad"])
    (1.0, 0.0)
    """
    ours = f" {normalize(answer or '')} "
    return float(any(f" {gold} " in ours for gold in map(normalize, answers) if gold))


def title_recall(titles: Iterable[str], passages: Iterable[Passage]) -> float | None:
    """The share of the titles that are among the passages', normalised; ``None`` where there is no title."""
    gold = {normal for title in titles if (normal := normalize(title))}
    return len(gold & {normalize(passage.title) for passage in passages}) / len(gold) if gold else None


def evidence(trajectory: Trajectory) -> float | None:
    """The share of the question's gold passages that were retrieved; ``None`` where its set names none."""
    found = (passage for turn in trajectory.turns for some in turn.passages for passage in some)
    return title_recall(trajectory.example.titles, found)


def well_formed(trajectory: Trajectory) -> bool:
    """Whether the trajectory ended in an answer and the model thought before every tag it wrote."""
    return trajectory.stop_reason == "answer" and all(turn.think for turn in _spoken(trajectory))


def well_formed_turns(trajectory: Trajectory) -> float:
    """The share of the model's turns with a thought and a usable tag; 0.0 where it could not begin."""
    spoken = _spoken(trajectory)
    return sum(1 for turn in spoken if turn.think and turn.kind != "invalid") / max(1, len(spoken))


def _spoken(trajectory: Trajectory) -> tuple[Turn, ...]:
    """The model's own turns: without the retrieval of ``rag`` mode."""
    sampled = sum(1 for segment in trajectory.segments if segment.source == "model")
    return trajectory.turns[len(trajectory.turns) - sampled :]


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
"""Parts that are told with every reward, weighted or not."""


def score(trajectory: Trajectory, weights: Mapping[str, float]) -> Reward:
    """The weighted sum of :data:`PARTS`.

    A part that the trajectory does not have, such as the evidence of a question whose set names no gold passage, is
    neither in the sum nor among the parts.

    Args:
        trajectory: What is scored.
        weights: By the names of the parts; what is not named weighs nothing.

    Returns:
        The total, and unweighted ``em``, ``f1``, ``format`` and every part that has a weight.
    """
    wanted = [name for name in PARTS if name in _ALWAYS or weights.get(name)]
    parts = {name: value for name in wanted if (value := PARTS[name](trajectory)) is not None}
    return Reward(sum(weights.get(name, 0.0) * value for name, value in parts.items()), parts)
