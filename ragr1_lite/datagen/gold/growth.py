"""How a question's searches grow, round by round, until every fact is found in what real searches retrieve."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field

from ragr1_lite.core.types import Passage
from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.facts import NOT_FOUND, NOT_SUPPORTED, UNKNOWN, Fact, Query, Rejected
from ragr1_lite.datagen.gold.text import clean, keywords, plain, same, stands_in, whole, words

_Passages = Iterable[Passage]


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
    """The searches of a question so far, with at most ``width(rounds so far)`` queries in a round."""

    question: Question
    facts: Sequence[Fact]
    width: Callable[[int], int]
    rounds: list[Round] = field(default_factory=list)
    _found: dict[int, Found] = field(default_factory=dict)
    _gold: dict[tuple[str, str], Passage] = field(default_factory=dict)

    def grow(self) -> Generator[list[str], Sequence[_Passages], None]:
        """Searches until every fact is found; raises Rejected where nothing can be asked, or no way found a fact.

        A round yields all ways to ask for each of its facts, and receives what they retrieved; of a fact's ways, the
        first that found it is kept.
        """
        while len(self._found) < len(self.facts):
            asking = self._asking()
            results = iter((yield [text for _, texts in asking for text in texts]))
            chosen: dict[str, list[Passage]] = {}
            for fact, texts in asking:
                retrieved = {text: self._golden(next(results)) for text in texts}
                text = self._choose(fact, retrieved)
                chosen[text] = retrieved[text]
            self._gold |= {passage.key: passage for passages in chosen.values() for passage in passages}
            new = []
            for at, fact in self._missing():
                if self._ready(fact) and (found := _find(fact, self._free(self._gold.values()))):
                    self._found[at] = found
                    new.append(found)
            wanted = tuple(fact for fact, _ in asking if fact is not None)
            self.rounds.append(Round(wanted, tuple(chosen), tuple(new)))

    def _missing(self) -> list[tuple[int, Fact]]:
        return [(at, fact) for at, fact in enumerate(self.facts) if at not in self._found]

    def _asking(self) -> list[tuple[Fact | None, list[str]]]:
        """The facts of the next round with the ways to ask for each; else no fact with the question itself."""
        if not self.rounds and len(self.facts) == 1 and not self.facts[0].values:
            return [(None, self._opening())]  # its name alone would leave out what is asked of it
        known = "\n".join([self.question.example.question, *(whole(one.passage) for one in self._found.values())])
        ready = [fact for _, fact in self._missing() if self._ready(fact)]
        asking: list[tuple[Fact | None, list[str]]] = [
            (fact, texts)
            for fact in ready
            if (texts := [way.text for way in self._ways(fact) if self._may_ask(way.text, way.names, known)])
        ]
        return asking[: self.width(len(self.rounds))] or [(None, self._opening())]

    def _ways(self, fact: Fact) -> list[Query]:
        """A passage is looked up by its name with what the question still asks: one name may stand over many."""
        if fact.values:
            return list(fact.queries)
        name, *others = fact.queries
        titles = words(" ".join(map(plain, self.question.example.titles))).split()
        return [Query(clean(" ".join([name.text, *self._left(titles)])), name.names), name, *others]

    def _left(self, besides: Iterable[str] = ()) -> list[str]:
        """The question's words that no found passage holds, without some others."""
        held = {*besides, *words(" ".join(whole(one.passage) for one in self._found.values())).split()}
        asked = keywords(self.question.example.question).split()
        return [word for word in asked if not set(words(word).split()) & held]

    def _ready(self, fact: Fact) -> bool:
        return all(one in self._found for one in fact.after)

    def _may_ask(self, text: str, names: Iterable[str] = (), known: str = "") -> bool:
        """Whether a query has words, is new, and has only names that are known."""
        asked = {query.casefold() for one in self.rounds for query in one.queries}
        return bool(words(text)) and text.casefold() not in asked and all(stands_in(name, known) for name in names)

    def _opening(self) -> list[str]:
        """The question as queries, where no gold passage is known by name: once at first, once after a first find."""
        begun = bool(self.rounds)
        if any(fact.values for fact in self.facts) or any(not one.wanted for one in self.rounds[begun:]):
            raise Rejected(UNKNOWN)
        asked = self.question.example.question
        texts = [keywords(asked), clean(asked).rstrip(" ?")]
        if begun:  # the last passage's name, and the question's words that no found passage holds
            last = [one.passage for one in self._found.values()][-1]
            texts = [clean(" ".join([plain(last.title), *self._left()]))]
        if not all(map(self._may_ask, texts)):
            raise Rejected(UNKNOWN)
        return list(dict.fromkeys(texts))

    def _golden(self, passages: _Passages) -> list[Passage]:
        """The gold passages among some; all of them where the set names none."""
        titles = self.question.example.titles
        return [one for one in passages if not titles or any(same(one.title, title) for title in titles)]

    def _free(self, passages: _Passages) -> list[Passage]:
        """The passages without a found fact, where the set names at least one passage for each fact."""
        if len(self.question.example.titles) < len(self.facts):
            return list(passages)
        taken = {one.passage.key for one in self._found.values()}
        return [passage for passage in passages if passage.key not in taken]

    def _choose(self, wanted: Fact | None, retrieved: dict[str, list[Passage]]) -> str:
        pending = [wanted] if wanted else [fact for _, fact in self._missing()]
        for text, passages in retrieved.items():
            if any(_find(fact, self._free(passages)) for fact in pending):
                return text
        titles = [passage.title for passages in retrieved.values() for passage in passages]
        there = any(not fact.title or same(title, fact.title) for fact in pending for title in titles)
        raise Rejected(NOT_SUPPORTED if there else NOT_FOUND)


def _find(fact: Fact, passages: _Passages) -> Found | None:
    """The fact in the first passage that holds it, its own title's first."""
    for passage in sorted(passages, key=lambda passage: not same(passage.title, fact.title)):
        sentence = fact.sentence_in(passage)
        if sentence is not None:
            return Found(fact, passage, sentence)
    return None
