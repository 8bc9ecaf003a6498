"""An index's files: bm25s' own and ours, looked up on disk and never trusted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.core.errors import RetrievalIndexError
from ragr1_lite.core.events import PhaseAdvanced, PhaseFinished, PhaseStarted
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.bm25 import mapped_files, store, vocabulary
from ragr1_lite.retrieval.bm25.build import build_index
from ragr1_lite.retrieval.bm25.mapped_files import load_array, save_array
from ragr1_lite.retrieval.bm25.postings import load_postings
from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher
from ragr1_lite.retrieval.bm25.store import PassageFile, open_manifest, verify_index
from ragr1_lite.retrieval.bm25.tokenizer import WordTokenizer
from ragr1_lite.retrieval.bm25.vocabulary import VocabularyFile, write_vocabulary

PASSAGES = [
    Passage(str(number), f"Title {number % 7}", f"word{number} word{number % 3} shared Käse 島 {number}")
    for number in range(40)
]
FILES = [
    "data.csc.index.npy",
    "indices.csc.index.npy",
    "indptr.csc.index.npy",
    "manifest.json",
    "params.index.json",
    "passages.jsonl",
    "passages.offsets.npy",
    "vocab.index.json",
    "vocabulary.buckets.npy",
    "vocabulary.places.npy",
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "index"
    build_index(PASSAGES, folder, stemmer="none", title_weight=2)
    return folder


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    (tmp_path / "index").mkdir()
    for path in built.iterdir():
        (tmp_path / "index" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "index"


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def use(index: Path) -> None:
    """Opens the files of an index, and reads what is in them."""
    postings, words, passages = load_postings(index), VocabularyFile(index), PassageFile(index)
    for word in WordTokenizer("none").words(PASSAGES[3].text):
        number = words.get(word)
        if number is not None and number < len(postings.indptr) - 1:
            postings.data[postings.indptr[number] : postings.indptr[number + 1]].sum()
    for position in range(len(passages)):
        passages[position]


class TestForm:
    def test_files(self, built: Path) -> None:
        assert sorted(path.name for path in built.iterdir()) == FILES

    def test_bm25s_opens_it_and_finds_what_its_own_index_finds(self, built: Path) -> None:
        theirs = bm25s.BM25.load(built, mmap=True, show_progress=False)
        texts = [f"{passage.title} {passage.title} {passage.text}" for passage in PASSAGES]
        own = bm25s.BM25()
        own.index([WordTokenizer("none").words(text) for text in texts], show_progress=False)
        query = ["title", "3", "word7", "käse", "kase"]
        assert theirs.get_scores(query).tolist() == own.get_scores(query).tolist()
        fields = ("k1", "b", "delta", "method", "idf_method", "dtype", "int_dtype", "backend")
        assert [getattr(theirs, name) for name in fields] == [getattr(own, name) for name in fields]
        assert theirs.scores["num_docs"] == len(PASSAGES)

    def test_manifest(self, built: Path) -> None:
        manifest = json.loads((built / "manifest.json").read_bytes())
        assert (manifest["version"], manifest["title_weight"], manifest["passages"]) == (2, 2, 40)
        assert manifest["bm25s"] == bm25s.__version__
        assert sorted(manifest["files"]) == [name for name in FILES if name != "manifest.json"]

    @pytest.mark.parametrize(("kind", "values"), [("<f4", [0.5]), ("<i4", range(1000)), ("<i8", [2**40, -1])])
    def test_arrays_are_numpys_own(self, tmp_path: Path, kind: mapped_files.Kind, values: Any) -> None:
        array = np.array(values, kind)
        assert save_array(tmp_path / "ours.npy", kind, array) == store._sha256(tmp_path / "ours.npy")
        np.save(tmp_path / "theirs.npy", array)
        assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()
        loaded = load_array(tmp_path / "theirs.npy", kind)
        assert loaded.tolist() == array.tolist()
        assert not loaded.flags.writeable

    @pytest.mark.parametrize("version", [1, None, "2"])
    def test_older_or_no_version(self, index: Path, version: object) -> None:
        manifest = json.loads((index / "manifest.json").read_bytes()) | {"version": version, "package": "0.1"}
        (index / "manifest.json").write_text(json.dumps(manifest | {"sha256": store._own_sha256(manifest)}))
        says = r"built by an older version of ragr1-lite \(0.1\)\. Build it again" if version == 1 else "manifest.json"
        with pytest.raises(RetrievalIndexError, match=says):
            verify_index(index)


class TestVocabulary:
    words = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=50, unique=True)

    @given(words=words, others=words)
    def test_every_word_and_no_other_is_found(
        self, words: list[str], others: list[str], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("words")
        checksums = write_vocabulary(folder, words)
        expected = {word: number for number, word in enumerate(words)}
        opened = VocabularyFile(folder)
        for _ in range(2):
            assert {word: opened.get(word) for word in words} == expected
            assert {word: opened.get(word) for word in others} == {word: expected.get(word) for word in others}
        assert json.loads((folder / "vocab.index.json").read_bytes()) == expected
        assert checksums == {path.name: store._sha256(path) for path in folder.iterdir()}

    def test_halves_of_surrogates_and_empty_words_are_not_found(self, built: Path) -> None:
        assert [VocabularyFile(built).get(word) for word in ("\ud800", "", '"', "share", "shared:", "sharedx")] == [
            None
        ] * 6

    def test_memory_is_bounded(self, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vocabulary, "REMEMBERED", 5)
        opened = VocabularyFile(built)
        assert [opened.get(f"word{number}") is None for number in range(50)] == [False] * 40 + [True] * 10
        assert len(opened._found) <= 5

    def test_nothing_is_read_when_it_is_opened(self, tmp_path: Path) -> None:
        """Even a vocabulary that is no JSON opens, as long as no such word is looked up."""
        write_vocabulary(tmp_path, [f"w{number}" for number in range(100)])
        path = tmp_path / "vocab.index.json"
        path.write_bytes(path.read_bytes().replace(b": 42,", b": 4x,"))
        opened = VocabularyFile(tmp_path)
        assert (opened.get("w41"), opened.get("w43"), opened.get("no")) == (41, 43, None)
        with pytest.raises(RetrievalIndexError, match=r"vocab\.index\.json .* is broken"):
            opened.get("w42")


class TestVerifying:
    def test_each_file_is_a_phase_of_its_size(self, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        large = index / "passages.jsonl"
        large.write_bytes(b"x" * (5 * 2**20 + 1))
        manifest = json.loads((index / "manifest.json").read_bytes())
        del manifest["sha256"]
        manifest["files"][large.name] = {"bytes": large.stat().st_size, "sha256": store._sha256(large)}
        (index / "manifest.json").write_text(json.dumps(manifest | {"sha256": store._own_sha256(manifest)}))
        monkeypatch.setattr(store, "_CHUNK", 2 * 2**20)
        events: list[object] = []
        verify_index(index, events.append)
        names = [event.name for event in events if isinstance(event, PhaseStarted)]
        assert sorted(names) == sorted(f"Checking {name}" for name in FILES if name != "manifest.json")
        assert names == [event.name for event in events if isinstance(event, PhaseFinished)]
        assert events[-5:-1] == [
            PhaseStarted("Checking passages.jsonl", 6, "MiB"),
            *(PhaseAdvanced("Checking passages.jsonl", done) for done in (2, 4, 6)),
        ]

    def test_opening_tells_nothing_of_it(self, index: Path) -> None:
        events: list[object] = []
        Bm25Searcher.open(index, events.append)
        assert events == []


class TestDamage:
    @pytest.mark.parametrize("name", FILES)
    def test_flipped_bits_are_named(self, index: Path, name: str) -> None:
        path, rng = index / name, random.Random(name)
        bits = path.stat().st_size * 8
        for bit in [*rng.sample(range(bits), 40), *rng.sample(range(min(bits, 1024)), 40), 0, bits - 1]:
            flip(path, bit)
            with pytest.raises(RetrievalIndexError, match=name):
                verify_index(index)
            flip(path, bit)
        verify_index(index)

    def test_every_bit_of_the_manifest(self, index: Path) -> None:
        path = index / "manifest.json"
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
            with pytest.raises(RetrievalIndexError, match=r"manifest\.json"):
                verify_index(index)

    def test_small_files_are_checked_when_a_large_index_is_opened(self, index: Path) -> None:
        sizes = sorted((path.stat().st_size, path.name) for path in index.iterdir() if path.name != "manifest.json")
        budget = sum(size for size, _ in sizes[:-2])
        for place, (size, name) in enumerate(sizes):
            flip(index / name, size * 8 - 1)
            if place < len(sizes) - 2:
                with pytest.raises(RetrievalIndexError, match=name):
                    open_manifest(index, small=budget)
            else:
                open_manifest(index, small=budget)
            flip(index / name, size * 8 - 1)

    @pytest.mark.parametrize("name", [name for name in FILES if name != "manifest.json"])
    def test_what_no_checksum_covers_raises_or_passes_but_nothing_else(self, index: Path, name: str) -> None:
        path, rng = index / name, random.Random(name)
        bits, named = path.stat().st_size * 8, 0
        for bit in [*range(0, min(bits, 1024), 7), *rng.sample(range(bits), 40)]:
            flip(path, bit)
            try:
                use(index)
            except RetrievalIndexError as error:
                named += ".npy" in error.message or ".json" in error.message
            flip(path, bit)
        assert named > 5 or name == "data.csc.index.npy"
        use(index)

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("indptr.csc.index.npy", lambda array: array[::-1].copy()),
            ("indptr.csc.index.npy", lambda array: array[:-1]),
            ("indptr.csc.index.npy", lambda array: array + 1),
            ("indptr.csc.index.npy", lambda array: np.r_[1, array[1:]]),
            ("indptr.csc.index.npy", lambda array: np.r_[0, array[-2:0:-1], array[-1]]),
            ("data.csc.index.npy", lambda array: array[:-1]),
            ("data.csc.index.npy", lambda array: array.astype(np.float64)),
            ("data.csc.index.npy", lambda array: array[None]),
            ("data.csc.index.npy", lambda array: array[:0]),
            ("vocabulary.buckets.npy", lambda array: array[:-1]),
            ("vocabulary.buckets.npy", lambda array: array * 2),
            ("vocabulary.places.npy", lambda array: array + 1),
            ("passages.offsets.npy", lambda array: array[:-1]),
        ],
    )
    def test_arrays_that_do_not_fit(self, index: Path, name: str, change: Callable[[Any], Any]) -> None:
        np.save(index / name, change(np.load(index / name)))
        with pytest.raises(RetrievalIndexError, match="is broken"):
            use(index)

    @pytest.mark.parametrize(
        "params", [b"", b"[]", b"{}", b'{"num_docs": 0}', b'{"num_docs": 3, "method": "robertson", "idf_method": "x"}']
    )
    def test_params_of_another_kind(self, index: Path, params: bytes) -> None:
        (index / "params.index.json").write_bytes(params)
        with pytest.raises(RetrievalIndexError, match=r"params\.index\.json .* is broken"):
            load_postings(index)
