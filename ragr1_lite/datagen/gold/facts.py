"""What has to be found out for a question, whichever way its set says it."""

from __future__ import annotations

from dataclasses import dataclass

from ragr1_lite.core.types import Passage
from ragr1_lite.datagen.gold.dates import date, dated
from ragr1_lite.datagen.gold.text import same, sentences, share, stands_in, whole

MENTIONED = 2 / 3
"""Share of a subject's words that a passage about it has; names are written in more than one way."""

HALF = 1 / 2
"""The same for a sub-question without a name in it; it may be worded otherwise."""


class Rejected(Exception):
    """Why a question gives no plan: one of a few fixed phrases."""


NO_WAY = "the set does not say how it is answered"
NOT_FOUND = "gold passage not retrieved"
NOT_SUPPORTED = "answer not in what was retrieved"
UNKNOWN = "a query cannot be known by then"
NO_ANSWER = "the evidence does not give the answer"
UNWRITABLE = "the protocol cannot hold it"


@dataclass(frozen=True, slots=True)
class Query:
    """A way to ask for a fact; each of ``names`` has to be known before it can be asked."""

    text: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing to find out.

    Attributes:
        queries: Ways to ask for it, the best first.
        asks: What is looked for, as a thought says it.
        says: What was found, as a clause; empty where the passage itself is what was looked for.
        subject: What a passage that says so is about.
        values: What it says, in every accepted form; empty where the passage itself is what is looked for.
        title: The passage that says so, where it is known.
        after: Facts, by index, that are found first.
        worded: It is asked in the set's own words; a passage with half of them may then say so, without the subject.
    """

    queries: tuple[Query, ...]
    asks: str
    says: str = ""
    subject: str = ""
    values: tuple[str, ...] = ()
    title: str = ""
    after: tuple[int, ...] = ()
    worded: bool = False

    def spoken_in(self, passage: Passage) -> str | None:
        """The sentence of a passage that says it, the one with the most of the query's words; ``None`` without one."""
        if not self.values:
            return "" if same(passage.title, self.title) else None
        if not self._may_be_said_in(passage):
            return None
        said = [one for one in sentences(passage.text) if self.value_in(one)]
        return max(said, key=lambda one: share(self.queries[0].text, one), default=None)

    def _may_be_said_in(self, passage: Passage) -> bool:
        """Whether it is the fact's own passage or, where that is not known, one that is about its subject."""
        if self.title:
            return same(passage.title, self.title)
        if self.subject and share(self.subject, whole(passage)) >= MENTIONED:
            return True
        return self.worded and share(self.queries[0].text, whole(passage)) >= HALF

    def value_in(self, sentence: str) -> str | None:
        """The form in which the value stands in a sentence."""
        return next((value for value in self.values if _stands(value, sentence)), None)


def _stands(value: str, sentence: str) -> bool:
    day = date(value)
    return stands_in(value, sentence) or (day is not None and dated(day, sentence))
