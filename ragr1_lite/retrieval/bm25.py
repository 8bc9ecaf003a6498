"""BM25 over bm25s' own arrays: builds indexes, opens them, and answers a turn's queries in one call.

The only importer of bm25s.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast, get_args

from ragr1_lite import __version__
from ragr1_lite.core import Passage
from ragr1_lite.errors import DataError, RetrievalIndexError
from ragr1_lite.events import PhaseAdvanced, PhaseFinished, PhaseStarted, Report, ignore
from ragr1_lite.retrieval.store import (
    MANIFEST,
    REBUILD,
    IndexInfo,
    PassageFile,
    broken,
    load_array,
    new_folder,
    open_manifest,
    verify_index,
    write_manifest,
    write_passages,
)
from ragr1_lite.retrieval.tokenizer import STEMMER, Stemmer, WordTokenizer

__all__ = ["Bm25Searcher", "IndexInfo", "build_index", "verify_index"]

K1, B = 1.5, 0.75

NUMBA_FROM = 500_000
"""Passages from which bm25s' numba backend is used. It is 2.2 to 2.4 times as fast as the NumPy backend on whole
questions (1.2 against 3.0 ms a question at 255,000 passages), but compiles for 5 seconds first: below this size only
thousands of questions would pay for that, and a first answer would wait for it."""

CHECKED_WHOLE = 64 * 2**20
"""Indexes up to this many bytes are checked by their checksums when opened: some 50 ms at most."""

_ARRAYS = ("data", "indices", "indptr")


class _Passages(Protocol):
    """Passages by position: a tuple in memory, or the files of an index."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Passage: ...


def build_index(
    passages: Iterable[Passage],
    out: Path,
    *,
    overwrite: bool = False,
    k1: float = K1,
    b: float = B,
    stemmer: Stemmer | None = None,
    report: Report = ignore,
) -> IndexInfo:
    """Builds an index of passages, titles and texts together, in a folder of its own.

    The folder appears only when it is whole: a build that is interrupted leaves no index.

    Args:
        passages: Read once, in order; written to disk as they come.
        out: The folder to make.
        overwrite: Whether an index in ``out`` may be replaced.
        k1: BM25's saturation of repeated words.
        b: BM25's weight of a passage's length.
        stemmer: How words are stemmed, in passages and queries alike; ``STEMMER`` by default.
        report: Gets the phases.

    Raises:
        RetrievalIndexError: ``out`` exists and may not be overwritten, or is not an index.
        DataError: No passage has a word in it.
        StorageError: The disk is full or not writable.
    """
    tokenizer = WordTokenizer(stemmer or STEMMER)
    with new_folder(out, overwrite=overwrite) as folder:
        total = len(passages) if isinstance(passages, Sized) else None
        model, count = _index(write_passages(folder, passages), tokenizer, k1, b, report, total)
        model.save(folder, show_progress=False)
        info = IndexInfo(out, count, len(model.vocab_dict), k1, b, tokenizer.settings, 0, __version__)
        return write_manifest(folder, info, bm25s=str(_bm25s().__version__))


class Bm25Searcher:
    """Searches an index by BM25; a :class:`ragr1_lite.core.Searcher`.

    Use :meth:`open` or :meth:`from_passages`.
    """

    def __init__(self, model: Any, passages: _Passages, tokenizer: WordTokenizer, info: IndexInfo) -> None:
        self.info = info
        self._model = model
        self._passages = passages
        self._tokenizer = tokenizer

    def __len__(self) -> int:
        return self.info.passages

    @classmethod
    def open(cls, path: Path, report: Report = ignore) -> Bm25Searcher:
        """Opens an index; its arrays and passages stay on disk and are mapped into memory.

        Raises:
            RetrievalIndexError: The index is missing, broken, or newer than this version.
        """
        path = Path(path)
        info = open_manifest(path, small=CHECKED_WHOLE)
        tokenizer, model, passages = _tokenizer_of(info), _load(path), PassageFile(path)
        if not info.passages == len(passages) == model.scores["num_docs"]:
            raise broken(path / MANIFEST)
        searcher = cls(model, passages, tokenizer, info)
        if model.backend == "numba":
            with _phase("Warming up search", report):
                searcher._best([(0,)], 1)
        return searcher

    @classmethod
    def from_passages(
        cls, passages: Iterable[Passage], *, k1: float = K1, b: float = B, stemmer: Stemmer = STEMMER
    ) -> Bm25Searcher:
        """Indexes passages in memory; for some ten thousand of them at most.

        Raises:
            DataError: No passage has a word in it.
        """
        kept = tuple(passages)
        tokenizer = WordTokenizer(stemmer)
        model, _ = _index(kept, tokenizer, k1, b)
        info = IndexInfo(None, len(kept), len(model.vocab_dict), k1, b, tokenizer.settings, 0, __version__)
        return cls(model, kept, tokenizer, info)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        """Answers all queries in one call; equal ones are searched once.

        Args:
            queries: Any text; an empty one, or one without a known word, finds nothing.
            k: Passages per query, at most.

        Returns:
            One tuple per query, in order: the best passages first, equal scores by their place in the corpus.
        """
        words = {query: self._tokenizer.known(query, self._model.vocab_dict) for query in dict.fromkeys(queries)}
        distinct = [ids for ids in dict.fromkeys(words.values()) if ids]
        if not distinct or k < 1:
            return [()] * len(queries)
        hits = zip(distinct, self._best(distinct, k), strict=True)
        found = {ids: tuple(self._passage(*hit) for hit in best) for ids, best in hits}
        return [found.get(words[query], ()) for query in queries]

    def _passage(self, position: int, score: float) -> Passage:
        return replace(self._passages[position], score=score)

    def _best(self, queries: list[tuple[int, ...]], k: int) -> list[list[tuple[int, float]]]:
        """Returns the positions and scores of each query's best passages."""
        # One more than asked for shows whether the last place is shared; bm25s itself leaves open who then gets it.
        wanted = min(k + 1, len(self))
        positions, scores = self._model.retrieve(
            [list(ids) for ids in queries],
            k=wanted,
            show_progress=False,
            backend_selection="numba" if self._model.backend == "numba" else "numpy",
        )
        best = []
        for ids, row, values in zip(queries, positions.tolist(), scores.tolist(), strict=True):
            if wanted > k and values[-1] == values[-2] > 0.0:
                row, values = self._all_from(ids, values[-1])
            ranked = sorted((-value, position) for position, value in zip(row, values, strict=True) if value > 0.0)
            best.append([(position, -value) for value, position in ranked[:k]])
        return best

    def _all_from(self, ids: tuple[int, ...], least: float) -> tuple[list[int], list[float]]:
        """Returns every position that scores ``least`` or more, with its score."""
        scores = self._model.get_scores_from_ids(list(ids))
        positions = (scores >= least).nonzero()[0]
        return positions.tolist(), scores[positions].tolist()


def _index(
    passages: Iterable[Passage],
    tokenizer: WordTokenizer,
    k1: float,
    b: float,
    report: Report = ignore,
    total: int | None = None,
) -> tuple[Any, int]:
    """Makes bm25s' index of the passages and counts them."""
    vocabulary: dict[str, int] = {}
    with _phase("Reading passages", report, total, "passages"):
        texts = (f"{passage.title}\n{passage.text}" for passage in _counted(passages, "Reading passages", report))
        tokens = [array("i", ids) for ids in tokenizer.learn(texts, vocabulary)]
    if not vocabulary:
        raise DataError("No passage has a word in it", "Index a corpus with some text.")
    with _phase("Building the index", report):
        model = _bm25s().BM25(k1=k1, b=b, method="lucene", backend="numpy")
        model.index((tokens, vocabulary), create_empty_token=False, show_progress=False)
    return model, len(tokens)


def _tokenizer_of(info: IndexInfo) -> WordTokenizer:
    """Returns the tokenizer an index was built with."""
    stemmer = info.tokenizer.get("stemmer")
    tokenizer = WordTokenizer(cast(Stemmer, stemmer)) if stemmer in get_args(Stemmer) else None
    if tokenizer is None or tokenizer.settings != info.tokenizer:
        raise RetrievalIndexError(f"The index {info.path} cuts words in a way this version does not know", REBUILD)
    return tokenizer


def _load(path: Path) -> Any:
    """Opens bm25s' part of an index, with the backend that fits its size."""
    try:
        model = _bm25s().BM25.load(path, mmap=True, load_corpus=False, show_progress=False, backend="numpy")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise broken(path / "params.index.json") from error
    for name in _ARRAYS:
        model.scores[name] = load_array(path / f"{name}.csc.index.npy")
    data, indices, indptr = (model.scores[name] for name in _ARRAYS)
    if not len(data) == len(indices) == indptr[-1]:
        raise broken(path / "indptr.csc.index.npy")
    if len(indptr) != len(model.vocab_dict) + 1:
        raise broken(path / "vocab.index.json")
    if model.scores["num_docs"] >= NUMBA_FROM and find_spec("numba"):
        model.backend = "numba"
    return model


def _bm25s() -> Any:
    """Imports bm25s, quietly: it would start an installed JAX, which takes most of a GPU, and log at DEBUG."""
    if "bm25s" not in sys.modules and "jax" not in sys.modules:
        sys.modules["jax"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("bm25s")
        finally:
            del sys.modules["jax"]
    module = importlib.import_module("bm25s")
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return module


def _counted(passages: Iterable[Passage], phase: str, report: Report) -> Iterator[Passage]:
    done = 0
    for done, passage in enumerate(passages, start=1):
        yield passage
        if done % 1000 == 0:
            report(PhaseAdvanced(phase, done))
    report(PhaseAdvanced(phase, done))


@contextmanager
def _phase(name: str, report: Report, total: int | None = None, unit: str = "") -> Iterator[None]:
    """Reports a phase's beginning, and its end unless it failed."""
    began = time.perf_counter()
    report(PhaseStarted(name, total, unit))
    yield
    report(PhaseFinished(name, time.perf_counter() - began))
