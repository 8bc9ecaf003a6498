"""How a question's searches grow, round by round, until every fact is found in what real searches retrieve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ragr1_lite.core.types import Passage
from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.facts import NOT_FOUND, NOT_SUPPORTED, UNKNOWN, Fact, Query, Rejected
from ragr1_lite.datagen.gold.text import clean, keywords, plain, same, stands_in, whole, words

_Ask = tuple[tuple[Fact, ...], list[str]]
"""The wanted facts, and the ways to ask for them."""


@dataclass(frozen=True, slots=True)
class Found:
    """A fact, the gold passage with it, and its sentence there; empty where the passage itself was looked for."""

    fact: Fact
    passage: Passage
    sentence: str


@dataclass(frozen=True, slots=True)
class Round:
    """One search: the facts it was for, none where the question itself was asked; and all that it found."""

    wanted: tuple[Fact, ...]
    queries: tuple[str, ...]
    found: tuple[Found, ...]


@dataclass(slots=True)
class Growth:
    """The searches of a question so far, with at most ``width`` queries in a round."""

    question: Question
    facts: Sequence[Fact]
    width: int
    rounds: list[Round] = field(default_factory=list)
    _found: dict[int, Found] = field(default_factory=dict)
    _gold: dict[str, Passage] = field(default_factory=dict)
    _asking: list[_Ask] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether every fact is found."""
        return len(self._found) == len(self.facts)

    def asks(self) -> list[str]:
        """The queries of the next round: all ways to ask for one fact, then those for the next.

        Raises:
            Rejected: Nothing can be asked.
        """
        known = "\n".join([self.question.example.question, *(whole(one.passage) for one in self._found.values())])
        ready = [fact for at, fact in enumerate(self.facts) if at not in self._found and self._ready(fact)]
        ways: list[_Ask] = [
            ((fact,), [way.text for way in fact.queries if self._may_ask(way, known)]) for fact in ready
        ]
        self._asking = [(wanted, texts) for wanted, texts in ways if texts][: self.width]
        if not self._asking:
            self._asking = [((), self._opening())]
        return [text for _, texts in self._asking for text in texts]

    def take(self, results: Iterable[tuple[Passage, ...]]) -> None:
        """Takes what the queries of :meth:`asks` retrieved; of each fact's ways, the first that found it is kept.

        Raises:
            Rejected: No way found a fact.
        """
        left = iter(results)
        chosen: dict[str, list[Passage]] = {}
        for wanted, texts in self._asking:
            retrieved = {text: self._golden(next(left)) for text in texts}
            text = self._choose(wanted, retrieved)
            chosen[text] = retrieved[text]
        self._gold.update({passage.id: passage for passages in chosen.values() for passage in passages})
        new = []
        for at, fact in enumerate(self.facts):
            if at not in self._found and self._ready(fact) and (found := _find(fact, self._free(self._gold.values()))):
                self._found[at] = found
                new.append(found)
        self.rounds.append(
            Round(tuple(fact for wanted, _ in self._asking for fact in wanted), tuple(chosen), tuple(new))
        )

    def _ready(self, fact: Fact) -> bool:
        return all(one in self._found for one in fact.after)

    def _may_ask(self, way: Query, known: str) -> bool:
        return self._is_new(way.text) and all(stands_in(name, known) for name in way.names)

    def _is_new(self, text: str) -> bool:
        return bool(words(text)) and text.casefold() not in {q.casefold() for one in self.rounds for q in one.queries}

    def _opening(self) -> list[str]:
        """The question as queries, where no gold passage is known by name: once at first, once after a first find."""
        begun = bool(self.rounds)
        if any(fact.values for fact in self.facts) or any(not one.wanted for one in self.rounds[begun:]):
            raise Rejected(UNKNOWN)
        asked = self.question.example.question
        texts = [keywords(asked), clean(asked).rstrip(" ?")] if not begun else [self._rest(asked)]
        if not all(map(self._is_new, texts)):
            raise Rejected(UNKNOWN)
        return list(dict.fromkeys(texts))

    def _rest(self, asked: str) -> str:
        """The question's words that the found passages do not hold, after the last passage's name."""
        found = [one.passage for one in self._found.values()]
        there = set(words(" ".join(map(whole, found))).split())
        rest = [word for word in keywords(asked).split() if not set(words(word).split()) & there]
        return clean(" ".join([plain(found[-1].title), *rest]))

    def _golden(self, passages: Iterable[Passage]) -> list[Passage]:
        """The gold passages among some; all of them where the set names none."""
        titles = self.question.example.titles
        return [one for one in passages if not titles or any(same(one.title, title) for title in titles)]

    def _free(self, passages: Iterable[Passage]) -> list[Passage]:
        """The passages without a found fact, where the set names at least one passage for each fact."""
        if len(self.question.example.titles) < len(self.facts):
            return list(passages)
        taken = {one.passage.id for one in self._found.values()}
        return [passage for passage in passages if passage.id not in taken]

    def _choose(self, wanted: Sequence[Fact], retrieved: dict[str, list[Passage]]) -> str:
        pending = wanted or [fact for at, fact in enumerate(self.facts) if at not in self._found]
        for text, passages in retrieved.items():
            if any(_find(fact, self._free(passages)) for fact in pending):
                return text
        there = any(_about(fact, passages) for fact in pending for passages in retrieved.values())
        raise Rejected(NOT_SUPPORTED if there else NOT_FOUND)


def _about(fact: Fact, passages: Iterable[Passage]) -> bool:
    return any(same(one.title, fact.title) for one in passages) if fact.title else any(passages)


def _find(fact: Fact, passages: Iterable[Passage]) -> Found | None:
    """The fact in the first passage that holds it, its own title's first."""
    for passage in sorted(passages, key=lambda passage: not same(passage.title, fact.title)):
        sentence = fact.sentence_in(passage)
        if sentence is not None:
            return Found(fact, passage, sentence)
    return None
