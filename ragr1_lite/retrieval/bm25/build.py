"""Builds BM25 indexes in little memory: bm25s' own arrays, bit for bit, from passages that are read once.

While passages are read, their words' ids go to disk and each word's number of passages is counted, which says where its
postings belong. They are then filled in and written, as many words at a time as fit into ``ROOM``.
"""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np

from ragr1_lite import __version__
from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Advance, Notice, Report, ignore, phase
from ragr1_lite.core.types import Passage
from ragr1_lite.files.alone import alone_at
from ragr1_lite.retrieval.bm25.mapped_files import new_array, save_array
from ragr1_lite.retrieval.bm25.origin import Origin, write_origin
from ragr1_lite.retrieval.bm25.passes import COMPILED_FROM, Block, Range, Weights, add_frequencies, add_postings, idf_of
from ragr1_lite.retrieval.bm25.postings import DATA, INDICES, INDPTR, PARAMS, Array, Postings
from ragr1_lite.retrieval.bm25.store import IndexInfo, new_folder, write_manifest, write_passages
from ragr1_lite.retrieval.bm25.tokenizer import STEMMER, WordTokenizer
from ragr1_lite.retrieval.bm25.vocabulary import write_vocabulary

K1, B = 1.5, 0.75
TITLE_WEIGHT = 3
"""How many times a title's words count. Measured: supporting passages in the top 5 of the questions of HotpotQA,
2WikiMultiHopQA and MuSiQue, the difference to once .024, its 95 % interval .014 to .033 (docs/studies)."""

ROOM = 2 * 2**30
"""Bytes of postings that are held in memory at a time; each lot of words reads the word ids once more."""
BLOCK = 4 * 2**20
"""Words that are read and counted at a time."""
_NOTICED = 128 * 2**20
"""Bytes from which a notice says how much memory a build needs."""


@alone_at("out")
def build_index(
    passages: Iterable[Passage],
    out: Path,
    *,
    overwrite: bool = False,
    k1: float = K1,
    b: float = B,
    stemmer: str | None = None,
    title_weight: int = TITLE_WEIGHT,
    report: Report = ignore,
) -> IndexInfo:
    """Builds an index of passages, titles and texts together, in a folder of its own.

    The folder appears only when it is whole: a build that is interrupted, or killed, leaves no index.

    Args:
        passages: Read once, in order; written to disk as they come.
        out: The folder to make.
        overwrite: Whether an index in ``out`` may be replaced.
        k1: BM25's saturation of repeated words.
        b: BM25's weight of a passage's length.
        stemmer: Whose endings are cut off, as :class:`~.tokenizer.WordTokenizer` knows them; ``STEMMER`` by default.
        title_weight: How many times the words of titles are counted.
        report: Gets the phases, and the memory that is needed where it is much.

    Raises:
        RetrievalIndexError: ``out`` exists and may not be overwritten, or is not an index.
        ConfigError: The stemmer is unknown.
        DataError: No passage has a word in it.
        StorageError: The disk is full or not writable.
    """
    tokenizer, checksums = WordTokenizer(stemmer or STEMMER), dict[str, str]()
    with new_folder(Path(out), overwrite=overwrite) as folder:
        with TokenFile(folder) as tokens:
            total = len(passages) if isinstance(passages, Sized) else None
            with phase(report, "Reading passages", total, "passages") as advance:
                kept = counted(write_passages(folder, passages, checksums), passages, advance)
                vocabulary = learn(kept, tokenizer, title_weight, tokens.append)
                tokens.flush()
            with phase(report, "Building the index", tokens.passages, "passages") as advance:
                checksums |= write_vocabulary(folder, vocabulary)
                words = len(vocabulary)
                del vocabulary
                checksums |= _write_postings(folder, tokens, k1, b, report, advance)
            origin: Origin | None = getattr(passages, "origin", None)
            if origin:
                checksums |= write_origin(folder, origin, tokens.lengths())
        info = IndexInfo(
            Path(out), tokens.passages, words, k1, b, tokenizer.settings, 0, __version__,
            title_weight=title_weight, folder=str(origin.folder) if origin else "",
        )  # fmt: skip
        return finish(folder, info, checksums)


def build_in_memory(
    passages: Iterable[Passage],
    tokenizer: WordTokenizer,
    k1: float = K1,
    b: float = B,
    title_weight: int = TITLE_WEIGHT,
) -> tuple[Postings, dict[str, int]]:
    """The postings and word ids of some ten thousand passages at most; raises DataError where none has a word."""
    ids, lengths = array("i"), array("i")

    def append(words: Sequence[int]) -> None:
        ids.extend(words)
        lengths.append(len(words))

    vocabulary = learn(passages, tokenizer, title_weight, append)
    arrays = np.frombuffer(ids, np.int32), np.frombuffer(lengths, np.int32)
    return count_postings(*arrays, len(vocabulary), k1=k1, b=b), vocabulary


def count_postings(ids: Array, lengths: Array, words: int, *, k1: float = K1, b: float = B) -> Postings:
    """Makes the postings of word ids that are in memory: equal to what bm25s' ``index`` makes of them.

    Args:
        ids: The words of all passages, one passage after the other, int32, shape ``(sum of lengths,)``.
        lengths: Words of each passage, shape ``(passages,)``; at least one passage has a word.
        words: How many different words there are; ids are below.
        k1: As in :func:`build_index`.
        b: Likewise.
    """
    block, frequencies = Block(0, lengths, ids), np.zeros(words, np.int64)
    add_frequencies(block, frequencies)
    indptr, weights = indptr_of(frequencies), weights_of(frequencies, len(lengths), len(ids), k1, b)
    filled = fill([block], weights, indptr, 0, words)
    return Postings(filled.data, filled.indices, indptr, len(lengths))


class TokenFile:
    """The words of passages before they are counted, in temporary files that vanish however the process ends.

    ``passages`` and ``tokens`` count what was appended; ``frequencies``, whole once ``flush`` was called, says in how
    many passages each word is: int64, shape ``(words,)``. The folder needs room for four bytes a word.
    """

    def __init__(self, folder: Path) -> None:
        self.passages = self.tokens = 0
        self.frequencies: Array = np.zeros(0, np.int64)
        self._ids, self._lengths = array("i"), array("i")
        self._files = tempfile.TemporaryFile(dir=folder), tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._blocks: list[tuple[int, int]] = []

    def __enter__(self) -> TokenFile:
        return self

    def __exit__(self, *failed: object) -> None:
        for file in self._files:
            file.close()

    def append(self, words: Sequence[int]) -> None:
        """Takes the words of the next passage."""
        self._ids.extend(words)
        self._lengths.append(len(words))
        if len(self._ids) >= BLOCK:
            self.flush()

    def flush(self) -> None:
        """Counts the words taken since the last time, and writes them to disk."""
        block = Block(self.passages, np.frombuffer(self._lengths, np.int32), np.frombuffer(self._ids, np.int32))
        if not len(block.lengths):
            return
        new = int(block.ids.max(initial=-1)) + 1 - len(self.frequencies)
        if new > 0:
            self.frequencies = np.concatenate([self.frequencies, np.zeros(new, np.int64)])
        add_frequencies(block, self.frequencies)
        self._files[0].write(block.ids.data)
        self._files[1].write(block.lengths.data)
        self._blocks.append((len(block.lengths), len(block.ids)))
        self.passages += len(block.lengths)
        self.tokens += len(block.ids)
        self._ids, self._lengths = array("i"), array("i")

    def lengths(self) -> Array:
        """Words of each passage, int32, shape ``(passages,)``."""
        self._files[1].seek(0)
        return np.fromfile(self._files[1], np.int32)

    def blocks(self) -> Iterator[Block]:
        """Reads the blocks that were written."""
        ids, lengths = self._files
        for file in self._files:
            file.seek(0)
        first = 0
        for passages, words in self._blocks:
            yield Block(first, np.fromfile(lengths, np.int32, passages), np.fromfile(ids, np.int32, words))
            first += passages


def learn(
    passages: Iterable[Passage],
    tokenizer: WordTokenizer,
    title_weight: int,
    append: Callable[[Sequence[int]], None],
    known: Mapping[str, int] = {},
) -> dict[str, int]:
    """Hands the ids of each passage's words to ``append``; returns the words with their ids, after the ``known`` ones.

    Raises DataError where there is none.
    """
    vocabulary = dict(known)
    texts = ("\n".join([*[passage.title] * title_weight, passage.text]) for passage in passages)
    for ids in tokenizer.learn(texts, vocabulary):
        append(ids)
    if not vocabulary:
        raise DataError("No passage has a word in it", "Index a corpus with some text.")
    return vocabulary


def _write_postings(
    folder: Path, tokens: TokenFile, k1: float, b: float, report: Report, advance: Advance
) -> dict[str, str]:
    """Writes bm25s' arrays and returns their files' SHA-256 by name."""
    indptr = indptr_of(tokens.frequencies)
    weights = weights_of(tokens.frequencies, tokens.passages, tokens.tokens, k1, b)
    entries, bounds = int(indptr[-1]), bounds_of(indptr, ROOM // 8)
    needed = _needed(indptr, bounds)
    if needed >= _NOTICED:
        report(Notice(f"Writing {entries:,} postings takes {needed / 1e9:.1f} GB of memory"))
    with new_array(folder / DATA, "<f4", entries) as data, new_array(folder / INDICES, "<i4", entries) as indices:
        for lot, (low, high) in enumerate(pairwise(bounds)):
            filled = fill(_blocks_of_lot(tokens, lot, len(bounds) - 1, advance), weights, indptr, low, high)
            data.write_array(filled.data)
            indices.write_array(filled.indices)
    return {DATA: data.sha256, INDICES: indices.sha256, INDPTR: save_array(folder / INDPTR, "<i8", indptr)}


def fill(blocks: Iterable[Block], weights: Weights, indptr: Array, low: int, high: int) -> Range:
    """The postings of the words from ``low`` to before ``high``, which ``indptr`` has room for."""
    entries = int(indptr[high] - indptr[low])
    heads = indptr[low:high] - indptr[low]
    postings = Range(low, high, heads, np.empty(entries, np.int32), np.empty(entries, np.float32))
    for block in blocks:
        add_postings(block, weights, postings)
    return postings


def bounds_of(indptr: Array, most: int) -> list[int]:
    """Cuts the words into lots of at most so many postings, or of one word; returns the bounds."""
    bounds = [0]
    while bounds[-1] < len(indptr) - 1:
        end = int(np.searchsorted(indptr, indptr[bounds[-1]] + most, side="right")) - 1
        bounds.append(max(end, bounds[-1] + 1))
    return bounds


def _needed(indptr: Array, bounds: list[int]) -> int:
    """Bytes in memory while postings are filled in: a lot of them, 40 a word, and a block with what sorts it."""
    most = max(int(indptr[high] - indptr[low]) for low, high in pairwise(bounds))
    return 8 * most + 40 * len(indptr) + 64 * COMPILED_FROM


def indptr_of(frequencies: Array) -> Array:
    """Where the postings of each word begin, and where the last one's end."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(frequencies)])


def weights_of(frequencies: Array, passages: int, tokens: int, k1: float, b: float) -> Weights:
    """BM25's factors for so many passages and words in all."""
    found, places = np.unique(frequencies, return_inverse=True)
    idf = [idf_of(count, passages) for count in found.tolist()]
    return Weights(np.array(idf, np.float32)[places], tokens / passages, k1, b)


def finish(folder: Path, info: IndexInfo, checksums: Mapping[str, str]) -> IndexInfo:
    """Writes what bm25s reads of its arrays, and the manifest; returns ``info`` with its size."""
    params = {"k1": info.k1, "b": info.b, "delta": 0.5, "method": "lucene", "idf_method": "lucene"}
    types = {"dtype": "float32", "int_dtype": "int32"}
    more = {"num_docs": info.passages, "version": version("bm25s"), "backend": "numpy"}
    (folder / PARAMS).write_text(json.dumps(params | types | more, indent=4), encoding="utf-8")
    return write_manifest(folder, info, checksums, bm25s=version("bm25s"))


def _blocks_of_lot(tokens: TokenFile, lot: int, lots: int, advance: Advance) -> Iterator[Block]:
    """Yields the blocks and reports those done, as passages of all lots together."""
    for block in tokens.blocks():
        yield block
        advance((lot * tokens.passages + block.first + len(block.lengths)) // lots)


def counted(written: Iterable[Passage], source: object, advance: Advance) -> Iterator[Passage]:
    """Yields the passages and reports them; a :class:`~ragr1_lite.retrieval.corpora.Corpus` knows the share read."""
    done, size = 0, getattr(source, "bytes_total", None)
    for done, passage in enumerate(written, start=1):
        yield passage
        if done % 1000 == 0:
            advance(done, share=getattr(source, "bytes_read", 0) / size if size else None)
    advance(done)
