"""The words of an index and their ids, looked up on disk: nothing is read when an index is opened.

bm25s keeps them as one JSON object, ``vocab.index.json``. Next to it is a hash table of the places in it::

    vocabulary.buckets.npy  int64, shape (buckets + 1,): where each bucket's places begin, and where the last one's end
    vocabulary.places.npy   int64, shape (words,): where a word's entry begins in the JSON, bucket after bucket

A word's bucket is its CRC-32 modulo the number of buckets, a power of two.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection
from json.encoder import encode_basestring
from pathlib import Path

import numpy as np

from ragr1_lite.files.json_lines import json_of
from ragr1_lite.retrieval.bm25.mapped_files import HashedFile, broken, load_array, map_file, save_array

WORDS, BUCKETS, PLACES = "vocab.index.json", "vocabulary.buckets.npy", "vocabulary.places.npy"
REMEMBERED = 100_000
"""Words whose ids are kept in memory once they were looked up; some 10 MB."""

_ID = re.compile(rb"\d{1,10}(?=[,}])")


class VocabularyFile:
    """The words of an index folder, looked up on disk; raises RetrievalIndexError where its files do not fit."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / WORDS
        self._map = map_file(self._path)
        self._buckets, self._places = load_array(folder / BUCKETS, "<i8"), load_array(folder / PLACES, "<i8")
        self._mask = len(self._buckets) - 2
        self._found: dict[str, int | None] = {}
        if self._mask < 0 or self._mask & (self._mask + 1) or self._buckets[-1] != len(self._places):
            raise broken(folder / BUCKETS)
        sample = self._places[:: 1 + len(self._places) // 16].tolist()
        if not sample or any(self._map[place : place + 1] != b'"' for place in sample):
            raise broken(self._path)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, word: str, /) -> int | None:
        """A word's id; None where no passage has it. Raises RetrievalIndexError where its entry is broken."""
        try:
            return self._found[word]
        except KeyError:
            pass
        if len(self._found) >= REMEMBERED:
            self._found = {}
        self._found[word] = found = self._look_up(word)
        return found

    def _look_up(self, word: str) -> int | None:
        entry = _entry(word)
        bucket = _hash(word) & self._mask
        for place in self._places[self._buckets[bucket] : self._buckets[bucket + 1]].tolist():
            if place >= 0 and self._map[place : place + len(entry)] == entry:
                number = _ID.match(self._map, place + len(entry))
                if number is None or int(number[0]) >= len(self):
                    raise broken(self._path)
                return int(number[0])
        return None


def write_vocabulary(folder: Path, words: Collection[str]) -> dict[str, str]:
    """Writes words, numbered from 0, as bm25s does, and the hash table.

    Args:
        folder: The index that is being built.
        words: At least one, each once, in the order of their ids.

    Returns:
        The files' SHA-256 by name.
    """
    count = len(words)
    places, hashes = np.empty(count, np.int64), np.empty(count, np.uint32)
    with HashedFile(folder / WORDS) as file:
        for number, word in enumerate(words):
            entry = b"%s%s%d" % (b", " if number else b"{", _entry(word), number)
            hashes[number], places[number] = _hash(word), file.size + (2 if number else 1)
            file.write(entry)
        file.write(b"}")
    buckets = 1 << max(0, count - 1).bit_length()
    hashes &= np.uint32(buckets - 1)
    order = np.argsort(hashes, kind="stable")
    starts = np.zeros(buckets + 1, np.int64)
    np.cumsum(np.bincount(hashes, minlength=buckets), out=starts[1:])
    return {
        WORDS: file.sha256,
        BUCKETS: save_array(folder / BUCKETS, "<i8", starts),
        PLACES: save_array(folder / PLACES, "<i8", places[order]),
    }


def read_words(folder: Path) -> dict[str, int]:
    """All words of an index with their ids, in the ids' order; raises RetrievalIndexError where the file is broken."""
    try:
        words: dict[str, int] = json_of((folder / WORDS).read_bytes())
    except (OSError, ValueError) as error:
        raise broken(folder / WORDS) from error
    return words


def _entry(word: str) -> bytes:
    return encode_basestring(word).encode("utf-8", "surrogatepass") + b": "


def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))
