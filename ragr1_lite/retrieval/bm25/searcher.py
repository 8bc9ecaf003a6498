"""BM25 over bm25s' own arrays, behind ``core.types.Searcher``: a turn's queries are answered in one call.

Large indexes are searched by compiled code; small ones, and large ones where numba is missing, by NumPy, which starts
sooner. What both find is equal.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ragr1_lite import __version__
from ragr1_lite.core.errors import RetrievalIndexError
from ragr1_lite.core.events import Notice, Report, ignore, phase
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.bm25.build import K1, TITLE_WEIGHT, B, build_in_memory
from ragr1_lite.retrieval.bm25.mapped_files import broken
from ragr1_lite.retrieval.bm25.origin import FILES, LENGTHS, files_to_name
from ragr1_lite.retrieval.bm25.passes import idf_of
from ragr1_lite.retrieval.bm25.postings import (
    INDICES,
    INDPTR,
    Array,
    Postings,
    best_by_numpy,
    load_postings,
    weighted,
)
from ragr1_lite.retrieval.bm25.store import MANIFEST, IndexInfo, PassageFile, folder_state, open_manifest
from ragr1_lite.retrieval.bm25.tokenizer import STEMMER, WordTokenizer, tokenizer_of
from ragr1_lite.retrieval.bm25.vocabulary import VocabularyFile

KERNEL_FROM = 20_000
"""Passages from which the compiled kernel is used. It takes half a second to start, once compiled; NumPy takes as long
for 1,000 queries of this size, a training run's first steps, and an ``ask`` has five."""

CHECKED_WHOLE = 64 * 2**20
"""Indexes up to this many bytes are checked by their checksums when opened: some 50 ms at most."""

REMEMBERED = 65_536
"""Passages in the results that are remembered: some 60 MB. Rollouts of a group ask the same things again and again."""

Found = tuple[Passage, ...]
Best = Callable[[Postings, Sequence[Sequence[int]], int], tuple[Array, Array]]


class Bm25Searcher:
    """A ``core.types.Searcher`` by BM25, for any number of threads; made by :meth:`open` or :meth:`from_passages`."""

    def __init__(
        self,
        postings: Postings,
        vocabulary: dict[str, int] | VocabularyFile,
        passages: tuple[Passage, ...] | PassageFile,
        tokenizer: WordTokenizer,
        info: IndexInfo,
        best: Best = best_by_numpy,
    ) -> None:
        self.info = info
        self._postings, self._vocabulary, self._passages = postings, vocabulary, passages
        self._tokenizer, self._best, self._memory = tokenizer, best, _Memory()

    def __len__(self) -> int:
        return self.info.passages

    @classmethod
    def open(cls, path: Path, report: Report = ignore) -> Bm25Searcher:
        """Opens an index; its arrays, words and passages stay on disk and are mapped into memory.

        One that is replaced meanwhile is opened anew, so that its files are all of one build.

        Raises:
            RetrievalIndexError: The index is missing, broken, or newer than this version.
        """
        while True:
            seen = folder_state(path)
            try:
                opened = cls._open(path, report)
            except RetrievalIndexError:
                if folder_state(path) == seen:
                    raise
            else:
                if folder_state(path) == seen:
                    return opened

    @classmethod
    def _open(cls, path: Path, report: Report) -> Bm25Searcher:
        info = open_manifest(path, small=CHECKED_WHOLE, without=(FILES, LENGTHS))
        tokenizer, postings = tokenizer_of(info.tokenizer, path), load_postings(path)
        vocabulary, passages = VocabularyFile(path), PassageFile(path, files_to_name(path, info, report))
        if len(vocabulary) != len(postings.indptr) - 1:
            raise broken(path / INDPTR)
        if not info.passages == len(passages) == postings.passages:
            raise broken(path / MANIFEST)
        return cls(postings, vocabulary, passages, tokenizer, info, _best_for(postings, report))

    @classmethod
    def from_passages(
        cls,
        passages: Iterable[Passage],
        *,
        k1: float = K1,
        b: float = B,
        stemmer: str = STEMMER,
        title_weight: int = TITLE_WEIGHT,
        report: Report = ignore,
    ) -> Bm25Searcher:
        """Indexes some ten thousand passages at most in memory; raises DataError where none has a word in it."""
        kept = tuple(passages)
        tokenizer = WordTokenizer(stemmer)
        postings, words = build_in_memory(kept, tokenizer, k1, b, title_weight)
        info = IndexInfo(None, len(kept), len(words), k1, b, tokenizer.settings, 0, __version__, title_weight)
        return cls(postings, words, kept, tokenizer, info, _best_for(postings, report))

    def words(self, text: str) -> list[str]:
        """A query's words as this index cuts them."""
        return self._tokenizer.words(text)

    def frequency(self, word: str) -> int:
        """In how many passages a word is."""
        number = self._vocabulary.get(word)
        return 0 if number is None else int(self._postings.indptr[number + 1] - self._postings.indptr[number])

    def passage(self, position: int) -> Passage:
        """The passage at a position in the corpus, from 0; read from disk on demand."""
        return self._passages[position]

    def around(self, identifier: str, before: int, after: int) -> Found:
        """A passage and so many of its neighbours in the same document, in their order; empty where there is none."""
        stored = self._passages
        if isinstance(stored, PassageFile):
            place = stored.find(identifier)
        else:
            place = next((at for at, passage in enumerate(stored) if passage.id == identifier), None)
        if place is None:
            return ()
        document = identifier.rpartition("#")[0]

        def is_near(other: int) -> bool:
            inside = bool(document) and 0 <= other < len(self)
            return inside and self._passages[other].id.rpartition("#")[0] == document

        first = last = place
        while place - first < before and is_near(first - 1):
            first -= 1
        while last - place < after and is_near(last + 1):
            last += 1
        return tuple(self._passages[position] for position in range(first, last + 1))

    def search(self, queries: Sequence[str], k: int) -> list[Found]:
        """Answers all queries in one call; equal ones are searched once, and recent ones not again.

        Args:
            queries: Any text; an empty one, or one without a known word, finds nothing.
            k: Passages per query, at most.

        Returns:
            One tuple per query, in order: the best passages first, equal scores in the corpus' order.

        Raises:
            RetrievalIndexError: The index is broken.
        """
        k = min(k, len(self))
        if k < 1:
            return [()] * len(queries)
        found = {query: self._memory.get(query, k) for query in dict.fromkeys(queries)}
        new = {query: self._tokenizer.known(query, self._vocabulary) for query, one in found.items() if one is None}
        asked = list(dict.fromkeys(filter(None, new.values())))
        results = dict(zip(asked, self._search_words(asked, k), strict=True)) if asked else {}
        for query, words in new.items():
            found[query] = results.get(words, ())
            self._memory.put(query, k, results.get(words, ()))
        return [found[query] or () for query in queries]

    def search_weighted(self, queries: Sequence[Sequence[str]], weights: Mapping[str, float], k: int) -> list[Found]:
        """Answers queries, given as words, where what each word adds to a score is multiplied by its weight.

        The passages are the best of the four times as many that are best without weights. Raises as :meth:`search`.
        """
        known = [
            [(number, weights[word]) for word in query if (number := self._vocabulary.get(word)) is not None]
            for query in queries
        ]
        asked = [query for query in known if query]
        try:
            rows, _ = self._best(self._postings, [[number for number, _ in query] for query in asked], 4 * k)
            found = [row[row >= 0] for row in rows]
            scores = [weighted(self._postings, *pair) for pair in zip(asked, found, strict=True)]
        except IndexError as error:
            raise broken((self.info.path or Path()) / INDICES) from error
        ranked = (
            sorted(zip((-some).tolist(), places.tolist(), strict=True))[:k]
            for some, places in zip(scores, found, strict=True)
        )
        best = iter([tuple(replace(self._passages[at], score=-score) for score, at in row) for row in ranked])
        return [next(best) if query else () for query in known]

    def _search_words(self, queries: Sequence[tuple[int, ...]], k: int) -> list[Found]:
        try:
            positions, scores = self._best(self._postings, queries, k)
        except IndexError as error:
            raise broken((self.info.path or Path()) / INDICES) from error
        rows = (zip(*row, strict=True) for row in zip(positions.tolist(), scores.tolist(), strict=True))
        return [
            tuple(replace(self._passages[place], score=score) for place, score in row if place >= 0) for row in rows
        ]


def search_together(searchers: Sequence[Bm25Searcher], queries: Sequence[str], k: int) -> list[list[Found]]:
    """Searches indexes of one tokenizer with scores that can be compared: idf is that of all their passages together.

    Returns:
        One list per index, in order, with at most ``k`` passages per query.

    Raises:
        RetrievalIndexError: An index is broken.
    """
    cut = [searchers[0].words(query) for query in queries]
    words, passages = {word for query in cut for word in query}, sum(map(len, searchers))
    counts = {word: [searcher.frequency(word) for searcher in searchers] for word in words}
    whole = {word: idf_of(sum(some), passages) for word, some in counts.items()}
    return [
        searcher.search_weighted(
            cut, {word: whole[word] / idf_of(some[at], len(searcher)) for word, some in counts.items() if some[at]}, k
        )
        for at, searcher in enumerate(searchers)
    ]


class _Memory:
    """Earlier results; the least recently used are dropped.

    Threads need no lock: every step is one call of C code, and none depends on the one before it.
    """

    def __init__(self) -> None:
        self._results: OrderedDict[tuple[str, int], Found] = OrderedDict()

    def get(self, query: str, k: int) -> Found | None:
        key = query, k
        found = self._results.get(key)
        if found is not None:
            with suppress(KeyError):  # Another thread may have just dropped it.
                self._results.move_to_end(key)
        return found

    def put(self, query: str, k: int, result: Found) -> None:
        self._results[query, k] = result
        while len(self._results) * k > REMEMBERED:
            with suppress(KeyError):
                self._results.popitem(last=False)


def _best_for(postings: Postings, report: Report) -> Best:
    """Returns what searches these postings fastest, ready to run."""
    if postings.passages < KERNEL_FROM:
        return best_by_numpy
    with phase(report, "Warming up search"):
        try:
            from ragr1_lite.retrieval.bm25 import kernel

            kernel.warm()
        except Exception as error:  # numba is missing, does not fit this NumPy or processor, or cannot keep its code.
            why = f"{type(error).__name__}: {error}".partition("\n")[0]
            report(Notice(f"Search is slow: its compiled form cannot be started ({why})", "warning"))
            return best_by_numpy
        return kernel.best
