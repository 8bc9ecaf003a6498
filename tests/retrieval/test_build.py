"""Indexes are built in blocks, yet equal what bm25s would make, or are not there at all."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragr1_lite.core.errors import DataError, RetrievalIndexError, StorageError
from ragr1_lite.core.events import Notice, PhaseAdvanced, PhaseFinished, PhaseStarted
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.bm25 import build, mapped_files, passes
from ragr1_lite.retrieval.bm25.build import build_in_memory, build_index, count_postings
from ragr1_lite.retrieval.bm25.postings import Postings, load_postings
from ragr1_lite.retrieval.bm25.store import verify_index
from ragr1_lite.retrieval.bm25.tokenizer import WordTokenizer
from ragr1_lite.retrieval.bm25.vocabulary import VocabularyFile
from ragr1_lite.retrieval.corpora import read_corpus

corpora = st.lists(st.lists(st.integers(0, 12), max_size=30), min_size=1, max_size=40).filter(any)


@pytest.fixture(params=["compiled", "sorted"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "compiled":
        pytest.importorskip("numba")
    monkeypatch.setattr(passes, "COMPILED_FROM", 0 if request.param == "compiled" else 2**62)


def numbered(corpus: list[list[int]]) -> list[Passage]:
    """Passages whose words are ``w0``, ``w1``, …; each one's first word is its title."""
    words = [[f"w{number}" for number in passage] for passage in corpus]
    return [Passage(str(number), " ".join(row[:1]), " ".join(row[1:])) for number, row in enumerate(words)]


def by_bm25s(corpus: list[list[int]], words: int, k1: float, b: float) -> Postings:
    peer = bm25s.BM25(k1=k1, b=b, method="lucene")
    vocabulary = {f"w{number}": number for number in range(words)}
    peer.index((corpus, vocabulary), create_empty_token=False, show_progress=False)
    scores = peer.scores
    return Postings(scores["data"], scores["indices"], scores["indptr"], scores["num_docs"])


def assert_same(ours: Postings, theirs: Postings) -> None:
    """Equal bit for bit, and of the same types."""
    assert ours.passages == theirs.passages
    for name in ("indptr", "indices", "data"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.dtype == other.dtype
        assert mine.tobytes() == other.tobytes(), name


class TestCounting:
    @pytest.mark.usefixtures("kernels")
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(corpus=corpora, k1=st.floats(0.1, 3), b=st.floats(0, 1))
    def test_equal_to_bm25s_bit_for_bit(self, corpus: list[list[int]], k1: float, b: float) -> None:
        ids = np.array([word for passage in corpus for word in passage], np.int32)
        lengths = np.array([len(passage) for passage in corpus], np.int32)
        assert_same(count_postings(ids, lengths, 13, k1=k1, b=b), by_bm25s(corpus, 13, k1, b))

    @pytest.mark.usefixtures("kernels")
    def test_equal_on_a_larger_corpus(self) -> None:
        rng = np.random.default_rng(0)
        lengths = rng.integers(0, 60, 1000).astype(np.int32)
        ids = np.minimum(rng.zipf(1.3, lengths.sum()) - 1, 4999).astype(np.int32)
        corpus = [row.tolist() for row in np.split(ids, np.cumsum(lengths)[:-1])]
        assert_same(count_postings(ids, lengths, 5000), by_bm25s(corpus, 5000, 1.5, 0.75))

    @pytest.mark.parametrize("missing", ["numba", "folder"])
    def test_without_numba_or_a_folder_for_its_code(self, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
        numba = pytest.importorskip("numba")
        njit = numba.njit

        def no_folder(*, cache: bool = False, **options: bool) -> object:
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return njit(**options)

        if missing == "numba":
            monkeypatch.setitem(sys.modules, "numba", None)
        else:
            monkeypatch.setattr(numba, "njit", no_folder)
        compiled = passes._compiled.__wrapped__(passes._count)
        assert (compiled is None) == (missing == "numba")


class TestPieces:
    @pytest.mark.usefixtures("kernels")
    @pytest.mark.parametrize(("block", "room"), [(2**20, 2**30), (20, 2**30), (20, 400), (1, 8)])
    def test_size_of_the_pieces_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, room: int
    ) -> None:
        monkeypatch.setattr(build, "BLOCK", block)
        monkeypatch.setattr(build, "ROOM", room)
        corpus = [[(7 * row + 3 * place * place) % 29 for place in range(row % 11)] for row in range(60)]
        info = build_index(iter(numbered(corpus)), tmp_path / "index", stemmer="none", k1=1.2, b=0.6, title_weight=1)
        postings, vocabulary = build_in_memory(numbered(corpus), WordTokenizer("none"), 1.2, 0.6, 1)
        assert_same(load_postings(tmp_path / "index"), postings)
        rows = [[vocabulary[f"w{number}"] for number in passage] for passage in corpus]
        assert_same(postings, by_bm25s(rows, len(vocabulary), 1.2, 0.6))
        opened = VocabularyFile(tmp_path / "index")
        assert {word: opened.get(word) for word in vocabulary} == vocabulary
        assert (info.words, info.passages) == (len(opened), 60) == (len(vocabulary), postings.passages)
        assert verify_index(tmp_path / "index") == info

    def test_titles_are_counted_as_often_as_asked(self, tmp_path: Path) -> None:
        corpus = [[0, 1, 1], [1, 0], [2], []]
        passages = numbered(corpus)
        for weight in (0, 1, 3):
            info = build_index(passages, tmp_path / str(weight), title_weight=weight, stemmer="none")
            rows = [passage[:1] * weight + passage[1:] for passage in corpus]
            order = {word: number for number, word in enumerate(dict.fromkeys(word for row in rows for word in row))}
            renumbered = [[order[word] for word in row] for row in rows]
            assert_same(load_postings(tmp_path / str(weight)), by_bm25s(renumbered, len(order), 1.5, 0.75))
            assert info.title_weight == weight == verify_index(tmp_path / str(weight)).title_weight

    def test_words_are_remembered_up_to_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ragr1_lite.retrieval.bm25.tokenizer._REMEMBERED", 2)
        vocabulary: dict[str, int] = {}
        texts = ["countries bordering", "a country", "borders countries", "a border"]
        assert list(WordTokenizer("english").learn(texts, vocabulary)) == [[0, 1], [2, 0], [1, 0], [2, 1]]
        assert vocabulary == {"countri": 0, "border": 1, "a": 2}


class TestProgress:
    def test_a_corpus_tells_the_share_that_was_read(self, tmp_path: Path) -> None:
        file = tmp_path / "corpus.jsonl"
        file.write_text("".join(f'{{"id": "{row}", "text": "word {row}"}}\n' for row in range(20_000)), "utf-8")
        events: list[object] = []
        build_index(read_corpus([file]), tmp_path / "index", report=events.append)
        shares = [event.share for event in events if isinstance(event, PhaseAdvanced) and event.share is not None]
        assert len(shares) == 20
        assert shares == sorted(shares) and shares[0] < 0.6 and shares[-1] == 1

    @pytest.mark.parametrize("room", [2**30, 200])
    def test_every_piece_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        monkeypatch.setattr(build, "BLOCK", 50)
        monkeypatch.setattr(build, "ROOM", room)
        events: list[object] = []
        passages = numbered([[row, row + 1, row + 2] for row in range(100)])
        build_index(iter(passages), tmp_path / "index", report=events.append)
        reading = events.index(PhaseStarted("Reading passages", None, "passages"))
        building = events.index(PhaseStarted("Building the index", 100, "passages"))
        assert reading < building
        done = [event.done for event in events if isinstance(event, PhaseAdvanced) and event.name[0] == "B"]
        assert len(done) > 4
        assert done == sorted(done)
        assert done[-1] == 100
        assert isinstance(events[-1], PhaseFinished)

    def test_memory_is_reported_before_it_is_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(build, "_NOTICED", 0)
        events: list[object] = []
        build_index(numbered([[1, 2], [2, 2]]), tmp_path / "index", report=events.append)
        assert Notice("Writing 3 postings takes 0.1 GB of memory") in events

    @pytest.mark.usefixtures("kernels")
    def test_memory_is_what_was_said(self) -> None:
        """As Python's own accounting of arrays sees it."""
        rng = np.random.default_rng(0)
        lengths = np.full(20_000, 50, np.int32)
        ids = rng.integers(0, 30_000, lengths.sum(), np.int32)
        count_postings(ids[:50], lengths[:1], 30_000)
        tracemalloc.start()
        postings = count_postings(ids, lengths, 30_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 8 * len(postings.data) < peak < build._needed(postings.indptr, [0, 30_000])


class TestFailures:
    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("precious")
        with pytest.raises(StorageError, match=r"cannot be written to .*index \(.*Make room, or name another folder"):
            build_index(numbered([[1]]), tmp_path / "file" / "index")

    @pytest.mark.parametrize("after", range(0, 8, 2))
    def test_no_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        flush, calls = mapped_files.HashedFile._flush, iter(range(100))

        def full(self: mapped_files.HashedFile) -> None:
            if next(calls) == after:
                raise OSError(28, "No space left on device")
            flush(self)

        monkeypatch.setattr(mapped_files.HashedFile, "_flush", full)
        if after < 7:
            with pytest.raises(StorageError, match="No space left on device"):
                build_index(numbered([[1], [2]]), tmp_path / "index")
            assert list(tmp_path.iterdir()) == []

    def test_no_words(self) -> None:
        with pytest.raises(DataError, match="No passage has a word"):
            build_in_memory([Passage("1", "?", "!")], WordTokenizer("none"))


class TestLeftovers:
    @pytest.fixture
    def dead(self) -> int:
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            process.wait()
        return process.pid

    def test_of_dead_processes_are_cleared(self, tmp_path: Path, dead: int) -> None:
        gone = [f".index.building-{dead}", f".index.old-{dead}", f".index.building-{os.getpid()}"]
        kept = [f".index.building-{os.getppid()}", f".other.building-{dead}", ".index.building-x", "index.building-1"]
        build_index(numbered([[1]]), tmp_path / "index")
        for name in gone + kept:
            (tmp_path / name).mkdir()
            (tmp_path / name / "passages.jsonl").write_text("half")
        build_index(numbered([[1], [2]]), tmp_path / "index", overwrite=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "index"])
        assert verify_index(tmp_path / "index").passages == 2

    def test_an_index_that_was_being_replaced_comes_back(self, tmp_path: Path, dead: int) -> None:
        build_index(numbered([[1], [2]]), tmp_path / "index")
        (tmp_path / "index").rename(tmp_path / f".index.old-{dead}")
        with pytest.raises(RetrievalIndexError, match="exists already"):
            build_index(numbered([[1]]), tmp_path / "index")
        assert verify_index(tmp_path / "index").passages == 2

    def test_an_index_built_meanwhile_is_kept(self, tmp_path: Path) -> None:
        def passages() -> list[Passage]:
            build_index(numbered([[1], [2]]), tmp_path / "moved")
            (tmp_path / "moved").rename(tmp_path / "index")
            return numbered([[1]])

        with pytest.raises(RetrievalIndexError, match="exists already"):
            build_index((passage for made in [passages] for passage in made()), tmp_path / "index")
        assert verify_index(tmp_path / "index").passages == 2


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from ragr1_lite.core.types import Passage
from ragr1_lite.core.errors import RetrievalIndexError
from ragr1_lite.retrieval.bm25 import build
from ragr1_lite.retrieval.bm25.store import verify_index

out, old = Path(sys.argv[1]), int(sys.argv[2])
passages = [Passage(str(number), "t", f"w{number}") for number in range(6)]
build.BLOCK, build.ROOM = 4, 40

def build_killed_at(last):
    calls = swap = 0

    def count(frame, *_):
        nonlocal calls, swap
        calls += "retrieval" in frame.f_code.co_filename or "pathlib" in frame.f_code.co_filename
        if frame.f_code.co_name == "_check_target":
            swap = calls  # the last that it does before the new one takes its place
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    build.build_index(passages, out, overwrite=bool(old))
    sys.setprofile(None)
    return calls, swap

def prepare():
    shutil.rmtree(out, ignore_errors=True)
    if old:
        build.build_index(passages[:old], out)

def found():
    try:
        return verify_index(out).passages
    except RetrievalIndexError as error:
        assert "There is no index" in error.message, error
        return 0

for _ in range(2):  # The first time makes more calls, of imports.
    prepare()
    calls, swap = build_killed_at(None)
states = set()
for moment in [*range(1, calls, 1 + calls // 12), *range(swap, swap + 30, 2), *range(swap + 30, calls, 12)]:
    prepare()
    child = os.fork()
    if not child:
        build_killed_at(moment)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    states.add(found())
    if old:
        try:
            build.build_index(passages, out)
            assert False, "the old index is lost"
        except RetrievalIndexError as error:
            assert "exists already" in error.message, error
        assert found() in (old, 6)
assert {old, 6} <= states <= {0, old, 6}, states
build.build_index(passages, out, overwrite=True)
assert [path.name for path in out.parent.iterdir()] == [out.name], list(out.parent.iterdir())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("old", [0, 3])
def test_killed_at_any_moment(tmp_path: Path, old: int) -> None:
    """Signal 9 at many function calls up and down a build, most of all where the new index takes its place."""
    command = [sys.executable, "-c", KILLED, tmp_path / "index", str(old)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
