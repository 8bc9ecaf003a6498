"""Which passages hold the answer, and whether several together do.

An answer stands in a passage when it stands in its title or text as whole words, as both are written (*<b>Chad</b>*) or
normalised as exact match is; one of three letters or fewer, such as *S* or *.to*, only as it is written, since
normalised it stands in too many texts. For the same reason such a short alias is not looked for. Of an answer that
lists several things each may stand in another passage. It may stand there by chance.

Yes, no and an option that the question names cannot be looked for: there a passage counts by its title, if the set
names the gold passages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ragr1_lite.core.rewards import covers, haystack, needle, normalize, title_recall
from ragr1_lite.core.scripts import spread
from ragr1_lite.core.types import Example, Passage, Trajectory

_CLOSED = frozenset({"yes", "no"})
_SHORT = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """What to look for in the passages of one question.

    Attributes:
        spellings: The answer's, each as the parts it lists; empty where it cannot be looked for.
        titles: The gold titles that stand in for an answer that cannot be looked for; empty otherwise.
    """

    spellings: tuple[tuple[str, ...], ...]
    titles: tuple[str, ...] = ()

    @classmethod
    def of(cls, example: Example) -> Evidence:
        """What to look for, such as ``(("Sn, Pb",), ("Sn", "Pb"))`` for the answer *Sn, Pb*."""
        canonical = example.answers[:1]
        yes_or_no = not _CLOSED.isdisjoint(map(normalize, canonical))
        if yes_or_no or (example.titles and covers(example.question, canonical)):
            return cls((), example.titles)
        trusted = [one for at, one in enumerate(example.answers) if at == 0 or len(normalize(one)) > _SHORT]
        ways = [parts for one in trusted for parts in ((one,), tuple(one.split(", ")))]
        wordy = (tuple(part for part in parts if normalize(part)) for parts in ways)
        return cls(tuple(dict.fromkeys(parts for parts in wordy if parts)))

    def held_by(self, passage: Passage) -> bool:
        """Whether the passage holds the answer, or a thing that the answer lists."""
        if self.titles:
            return bool(title_recall(self.titles, [passage]))
        text = _Text.of(passage)
        return any(text.holds(part) for parts in self.spellings for part in parts)

    def complete_in(self, passages: Sequence[Passage]) -> bool:
        """Whether the passages together hold the whole answer, or are all of the gold ones."""
        if self.titles:
            return title_recall(self.titles, passages) == 1
        texts = [_Text.of(passage) for passage in passages]
        return any(all(any(text.holds(part) for text in texts) for part in parts) for parts in self.spellings)


def cut_away(trajectory: Trajectory) -> bool:
    """Whether evidence was found and then lost to the token budget: the answer, or a gold passage."""
    if all(turn.cut is None for turn in trajectory.turns):
        return False
    found, seen, evidence = trajectory.found, trajectory.shown, Evidence.of(trajectory.example)
    if evidence.complete_in(found) and not evidence.complete_in(seen):
        return True
    titles = trajectory.example.titles
    return bool(titles) and title_recall(titles, seen) != title_recall(titles, found)


@dataclass(frozen=True, slots=True)
class _Text:
    """Title and text of a passage, as written and normalised; no answer runs from the one into the other."""

    written: str
    normal: str

    @classmethod
    def of(cls, passage: Passage) -> _Text:
        return cls(spread(f"{passage.title} | {passage.text}"), haystack(passage.title) + haystack(passage.text))

    def holds(self, part: str) -> bool:
        long = len(normal := normalize(part)) > _SHORT
        if long and needle(normal) in self.normal:
            return True
        word = rf"(?<!\w)(?<!\d[.,]){re.escape(spread(part.strip()))}(?!\w|[.,]\d)"
        return re.search(word, self.written, re.IGNORECASE if long else 0) is not None
