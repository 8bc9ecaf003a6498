"""Updates an index in passes over its arrays: what stays is copied and scored anew, what is new is merged in.

Every score hangs on all passages, by their number, their mean length and how many hold a word, so all are made anew.
Nothing is cut into words again for that: from a passage's old score follows how often it holds the word.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ragr1_lite import __version__
from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Advance, Report, ignore, phase
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.bm25.build import TokenFile, bounds_of, counted, fill, finish, indptr_of, learn, weights_of
from ragr1_lite.retrieval.bm25.mapped_files import HashedFile, new_array, save_array
from ragr1_lite.retrieval.bm25.origin import Origin, read_lengths, write_origin
from ragr1_lite.retrieval.bm25.postings import DATA, INDICES, INDPTR, Array, Postings, load_postings
from ragr1_lite.retrieval.bm25.store import (
    OFFSETS,
    PASSAGES,
    IndexInfo,
    PassageFile,
    new_folder,
    open_manifest,
    write_passages,
)
from ragr1_lite.retrieval.bm25.tokenizer import tokenizer_of
from ragr1_lite.retrieval.bm25.vocabulary import BUCKETS, PLACES, WORDS, read_words, write_vocabulary

LOT = 4 * 2**20
"""Postings that are merged at a time; each takes some 100 bytes of memory meanwhile."""

Segment = tuple[int | None, int]
"""Consecutive passages of the new index: where they begin in the old one, None for new ones; and how many they are."""


def merge_passages(
    path: Path,
    passages: Iterable[Passage],
    origin: Origin,
    layout: Callable[[], Sequence[Segment]],
    report: Report = ignore,
) -> IndexInfo:
    """Replaces an index by one of the passages that stay and of new ones, in one step, when all went well.

    Args:
        path: The index, whole as ``verify_index`` says.
        passages: The new passages in the corpus' order; read once.
        origin: What the new index is of, filled when ``passages`` were read.
        layout: Says then what the new index holds, in order; passages that stay keep their order.
        report: Gets the phases.

    Raises:
        RetrievalIndexError: The index cannot be updated.
        DataError: No passage has a word in it.
        StorageError: The disk is full or not writable.
    """
    info = open_manifest(path)
    lengths, old, stored = read_lengths(path, info.passages), load_postings(path), PassageFile(path)
    with new_folder(path, overwrite=True) as folder:
        with TokenFile(folder) as tokens, tempfile.TemporaryDirectory(dir=folder) as scratch:
            with phase(report, "Reading passages", None, "passages") as advance:
                read = counted(write_passages(Path(scratch), passages, {}), passages, advance)
                tokenizer, known = tokenizer_of(info.tokenizer, path), read_words(path)
                words = learn(read, tokenizer, info.title_weight, tokens.append, known)
                tokens.flush()
            with phase(report, "Updating the index", None, "words") as advance:
                segments = layout()
                places = _Places.of(segments, info.passages)
                added = PassageFile(Path(scratch)) if tokens.passages else None
                checksums = _write_passages(folder, segments, places, stored, added)
                merge = _Merge(info, old, lengths, tokens, places, len(words))
                checksums |= merge.write(folder, advance) | write_origin(folder, origin, merge.lengths)
                held = merge.frequencies > 0
                if len(words) == len(known) and held.all():
                    for name in (WORDS, BUCKETS, PLACES):
                        shutil.copyfile(path / name, folder / name)
                else:
                    left = [word for word, stays in zip(words, held, strict=True) if stays]
                    checksums |= write_vocabulary(folder, left)
        info = replace(
            info, passages=len(merge.lengths), words=int(held.sum()), package=__version__, folder=str(origin.folder)
        )
        return finish(folder, info, checksums)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where passages are in the new index.

    Attributes:
        moved: Those of the old one, -1 where one is gone, int64, shape ``(old passages,)``.
        added: The new ones, ascending, int64, shape ``(new passages,)``.
    """

    moved: Array
    added: Array

    @classmethod
    def of(cls, segments: Sequence[Segment], passages: int) -> _Places:
        sources = np.concatenate(
            [np.full(count, -1) if start is None else np.arange(start, start + count) for start, count in segments]
        )
        moved, stay = np.full(passages, -1, np.int64), np.flatnonzero(sources >= 0)
        moved[sources[stay]] = stay
        return cls(moved, np.flatnonzero(sources < 0))

    def merged(self, old: Array, new: Array) -> Array:
        """One value for each passage of the new index, from those of the old and the new passages."""
        stay = self.moved >= 0
        values = np.empty(int(stay.sum()) + len(self.added), old.dtype)
        values[self.moved[stay]], values[self.added] = old[stay], new
        return values


def _write_passages(
    folder: Path, segments: Sequence[Segment], places: _Places, stored: PassageFile, added: PassageFile | None
) -> dict[str, str]:
    done = 0
    with HashedFile(folder / PASSAGES) as file:
        for start, count in segments:
            source, first = (stored, start) if start is not None else (added, done)
            done += count if start is None else 0
            for chunk in source.lines(first, first + count) if source else ():
                file.write(chunk)
    sizes = places.merged(stored.sizes, added.sizes if added else np.zeros(0, np.int64))
    return {PASSAGES: file.sha256, OFFSETS: save_array(folder / OFFSETS, "<i8", indptr_of(sizes))}


class _Merge:
    """Old postings and new ones on their way into one index, lot by lot of words.

    Attributes:
        lengths: Words of each passage of the new index, int32, shape ``(passages,)``.
        frequencies: In how many of them each word is, those of no passage included, int64, shape ``(words,)``.
    """

    def __init__(
        self, info: IndexInfo, old: Postings, lengths: Array, tokens: TokenFile, places: _Places, words: int
    ) -> None:
        self._old, self._places = old, places
        self._starts = np.pad(old.indptr, (0, words + 1 - len(old.indptr)), mode="edge")
        new, counts = np.zeros(words, np.int64), np.diff(self._starts)
        new[: len(tokens.frequencies)] = tokens.frequencies
        self.lengths = places.merged(lengths, tokens.lengths())
        self.frequencies = counts - self._gone() + new
        if not self.frequencies.any():
            raise DataError("No passage has a word in it", "Index a folder with some text.")
        self._before = weights_of(counts, len(lengths), int(lengths.sum()), info.k1, info.b)
        self._after = weights_of(self.frequencies, len(self.lengths), int(self.lengths.sum()), info.k1, info.b)
        self._old_norms, self._norms = self._before.norms(lengths), self._after.norms(self.lengths)
        self._new_starts = indptr_of(new)
        self._new = fill(tokens.blocks(), self._after, self._new_starts, 0, words)

    def write(self, folder: Path, advance: Advance) -> dict[str, str]:
        """Writes bm25s' arrays, without the words of no passage; returns their files' SHA-256 by name."""
        entries, bounds = int(self.frequencies.sum()), bounds_of(self._starts + self._new_starts, LOT)
        with new_array(folder / DATA, "<f4", entries) as data, new_array(folder / INDICES, "<i4", entries) as indices:
            for low, high in pairwise(bounds):
                positions, scores = self._lot(low, high)
                indices.write_array(positions.astype("<i4"))
                data.write_array(scores.astype("<f4"))
                advance(high, share=high / bounds[-1])
        indptr = indptr_of(self.frequencies[self.frequencies > 0])
        return {DATA: data.sha256, INDICES: indices.sha256, INDPTR: save_array(folder / INDPTR, "<i8", indptr)}

    def _gone(self) -> Array:
        """How many old postings of each word are of passages that are gone."""
        gone = np.zeros(len(self._starts) - 1, np.int64)
        for first in range(0, len(self._old.indices), LOT):
            lost = self._places.moved[self._old.indices[first : first + LOT]] < 0
            words = np.searchsorted(self._starts, first + np.flatnonzero(lost), side="right") - 1
            gone += np.bincount(words, minlength=len(gone))
        return gone

    def _lot(self, low: int, high: int) -> tuple[Array, Array]:
        """Positions and scores of the words from ``low`` to before ``high``, by word, then position."""
        old, words = _entries(self._starts, low, high)
        stay = np.flatnonzero(self._places.moved[self._old.indices[old]] >= 0)
        words, passages, scores = words[stay], self._old.indices[old][stay], self._old.data[old][stay]
        positions = self._places.moved[passages]
        counts = _counts(scores, self._before.idf[words], self._old_norms[passages])
        scores = self._after.idf[words] * (counts / (self._norms[positions] + counts))
        new, new_words = _entries(self._new_starts, low, high)
        new_positions = self._places.added[self._new.indices[new]]
        step = len(self.lengths)
        at = np.searchsorted(words * step + positions, new_words * step + new_positions)
        return np.insert(positions, at, new_positions), np.insert(scores, at, self._new.data[new])


def _entries(starts: Array, low: int, high: int) -> tuple[slice, Array]:
    """Where the postings of some words are, and the word of each."""
    words = np.repeat(np.arange(low, high), np.diff(starts[low : high + 1]))
    return slice(int(starts[low]), int(starts[high])), words


def _counts(scores: Array, idf: Array, norms: Array) -> Array:
    """How often passages hold words, float64, from scores ``idf * count / (norm + count)`` rounded to float32.

    Where a count is so large that the rounded score does not tell it exactly, it hardly changes the score.
    """
    rare = idf.astype(np.float64)
    rest = np.maximum(rare - scores, rare * 2.0**-25)
    return np.maximum(np.rint(norms * scores / rest), 1)
