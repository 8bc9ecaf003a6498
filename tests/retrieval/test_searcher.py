"""BM25 behind ``core.Searcher``: equal to bm25s' own retrieval, and whole on disk or not there at all."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest

from ragr1_lite.core.errors import DataError, RetrievalIndexError, StorageError
from ragr1_lite.core.events import Notice, PhaseAdvanced, PhaseFinished, PhaseStarted
from ragr1_lite.core.types import Passage, Searcher
from ragr1_lite.retrieval.bm25 import searcher as module
from ragr1_lite.retrieval.bm25 import store
from ragr1_lite.retrieval.bm25.build import build_index
from ragr1_lite.retrieval.bm25.postings import Postings, best_by_numpy
from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher
from ragr1_lite.retrieval.bm25.store import verify_index

PASSAGES = (
    Passage("chad", "Chad", "A country in Africa. Its internet domain is .td and its highest point Emi Koussi."),
    Passage("niger", "Niger", "A country in Africa. Its internet domain is .ne; Mont Idoukal-n-Taghès is highest."),
    Passage("tome", "São Tomé", "An island of the equator; 島 \U0001f30d."),
    Passage("to", "Tonga", "Islands whose internet domain is .to"),
)


def ids(results: list[tuple[Passage, ...]]) -> list[list[str]]:
    return [[passage.id for passage in result] for result in results]


@pytest.fixture(params=["memory", "disk"])
def searcher(request: pytest.FixtureRequest, tmp_path: Path) -> Bm25Searcher:
    if request.param == "memory":
        return Bm25Searcher.from_passages(PASSAGES)
    build_index(PASSAGES, tmp_path / "index")
    return Bm25Searcher.open(tmp_path / "index")


@pytest.fixture
def calls(searcher: Bm25Searcher, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each call of what searches gets."""
    numbers: list[int] = []
    best = searcher._best

    def counted(postings: Postings, queries: Sequence[Sequence[int]], k: int) -> Any:
        numbers.append(len(queries))
        return best(postings, queries, k)

    monkeypatch.setattr(searcher, "_best", counted)
    return numbers


class TestSearch:
    def test_best_first_with_everything_a_passage_has(self, searcher: Bm25Searcher) -> None:
        contract: Searcher = searcher
        [result] = contract.search(["highest point in Chad"], 2)
        assert ids([result]) == [["chad", "niger"]]
        assert (result[0].title, result[0].text) == (PASSAGES[0].title, PASSAGES[0].text)
        assert result[0].score > result[1].score > 0

    def test_titles_are_searched(self, searcher: Bm25Searcher) -> None:
        assert ids(searcher.search(["Tonga"], 3)) == [["to"]]

    def test_small_words_accents_and_case(self, searcher: Bm25Searcher) -> None:
        queries = ["domain .to", ".TD", "sao TOME", "Taghes", "島"]
        assert [found[0] for found in ids(searcher.search(queries, 1))] == ["to", "chad", "tome", "niger", "tome"]

    def test_nothing_matches_nothing_returned(self, searcher: Bm25Searcher) -> None:
        assert searcher.search(["zebra", "", " ?! ", "chad", "\ud800"], 3)[:3] == [(), (), ()]
        assert ids(searcher.search(["quagga", "equator"], 4)) == [[], ["tome"]]

    def test_no_query_no_passage_wanted(self, searcher: Bm25Searcher) -> None:
        assert searcher.search([], 3) == []
        assert searcher.search(["chad"], 0) == [()]

    def test_more_wanted_than_there_are(self, searcher: Bm25Searcher) -> None:
        assert ids(searcher.search(["africa country"], 100)) == [["chad", "niger"]]
        assert ids(searcher.search(["internet domain"], 4))[0][-1:] != ["tome"]

    def test_results_do_not_depend_on_the_batch(self, searcher: Bm25Searcher) -> None:
        queries = ["chad", "", "island", "chad", "internet", "Chad!"]
        assert searcher.search(queries, 2) == [searcher.search([query], 2)[0] for query in queries]

    def test_equal_queries_are_searched_once(self, searcher: Bm25Searcher, calls: list[int]) -> None:
        results = searcher.search(["chad", "niger", "chad", "CHAD?", "", "niger", "zebra"], 1)
        assert calls == [2]
        assert ids(results) == [["chad"], ["niger"], ["chad"], ["chad"], [], ["niger"], []]

    def test_earlier_results_are_remembered(self, searcher: Bm25Searcher, calls: list[int]) -> None:
        """For each number of passages; those that found nothing too."""
        first = searcher.search(["highest point", "zebra"], 2)
        assert searcher.search(["zebra", "highest point"], 2) == [first[1], first[0]]
        assert calls == [1]
        assert len(searcher.search(["highest point"], 1)[0]) == 1
        assert searcher.search(["highest point", "chad"], 2)[0] == first[0]
        assert calls == [1, 1, 1]

    def test_not_all_is_remembered(
        self, searcher: Bm25Searcher, calls: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The least recently used is dropped."""
        monkeypatch.setattr(module, "REMEMBERED", 2)
        for query in ("chad", "niger", "tonga", "tonga", "island", "tonga", "niger"):
            searcher.search([query], 1)
            assert len(searcher._memory._results) <= 2
        assert len(calls) == 5
        assert len(searcher.search(["internet domain"], 3)[0]) == 3
        assert len(searcher._memory._results) <= 1

    def test_size_and_information(self, searcher: Bm25Searcher) -> None:
        assert len(searcher) == searcher.info.passages == 4
        assert (searcher.info.k1, searcher.info.b, searcher.info.tokenizer["stemmer"]) == (1.5, 0.75, "english")
        assert (searcher.info.bytes > 0) == (searcher.info.path is not None)


def random_corpus(seed: int) -> tuple[list[Passage], list[str]]:
    rng = random.Random(seed)
    words = [f"w{number}" for number in range(rng.choice([3, 20, 200]))]

    def text(most: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(0, most)))

    passages = [Passage(str(number), text(2), text(12)) for number in range(rng.randint(1, 60))]
    return [*passages, Passage("last", "", "w0")], [text(6) for _ in range(20)]


@pytest.mark.parametrize("seed", range(60))
def test_equal_to_bm25s_on_random_corpora(seed: int) -> None:
    """Scores are bm25s' own, bit for bit; positions too, where bm25s leaves no choice between equals."""
    passages, queries = random_corpus(seed)
    k = random.Random(seed).randint(1, len(passages))
    tokens = [f"{passage.title} {passage.text}".split() for passage in passages]
    peer = bm25s.BM25(k1=1.2, b=0.6)
    peer.index(tokens, show_progress=False)
    ours = Bm25Searcher.from_passages(passages, k1=1.2, b=0.6, stemmer="none", title_weight=1).search(queries, k)
    for query, result in zip(queries, ours, strict=True):
        scores = peer.get_scores(query.split()) if query else np.zeros(len(passages), np.float32)
        ranked = sorted(range(len(passages)), key=lambda position: (-scores[position], position))
        expected = [(passages[position].id, float(scores[position])) for position in ranked[:k] if scores[position] > 0]
        assert [(passage.id, passage.score) for passage in result] == expected
        if query:
            _, retrieved = peer.retrieve([query.split()], k=k, show_progress=False)
            assert [passage.score for passage in result] == [value for value in retrieved[0].tolist() if value > 0]


def test_equal_scores_keep_the_corpus_order() -> None:
    searcher = Bm25Searcher.from_passages([Passage(str(number), "", "same words") for number in range(50)])
    assert ids(searcher.search(["words", "same"], 3)) == [["0", "1", "2"]] * 2


class TestKernel:
    """Large indexes are searched by compiled code; here, all are large."""

    @pytest.fixture(autouse=True)
    def all_are_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "KERNEL_FROM", 0)

    def test_is_warmed_up_before_the_first_answer_and_finds_the_same(self, tmp_path: Path) -> None:
        pytest.importorskip("numba")
        from ragr1_lite.retrieval.bm25 import kernel

        for seed in range(5):
            passages, queries = random_corpus(seed)
            events: list[object] = []
            build_index(passages, tmp_path / "index", overwrite=True)
            fast = Bm25Searcher.open(tmp_path / "index", events.append)
            assert fast._best is kernel.best
            assert [type(event) for event in events] == [PhaseStarted, PhaseFinished]
            assert events[0] == PhaseStarted("Warming up search")
            slow = Bm25Searcher(fast._postings, fast._vocabulary, fast._passages, fast._tokenizer, fast.info)
            for k in (1, 3, 100):
                assert fast.search(["", *queries], k) == slow.search(["", *queries], k)
            assert fast.search(["", "nothing here"], 3) == [(), ()]

    @pytest.mark.parametrize("trouble", ["missing", "switched off", "broken"])
    def test_goes_on_without(self, tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if trouble == "missing":
            monkeypatch.delitem(sys.modules, "ragr1_lite.retrieval.bm25.kernel", raising=False)
            monkeypatch.delattr("ragr1_lite.retrieval.bm25.kernel", raising=False)
            monkeypatch.setitem(sys.modules, "numba", None)
        elif trouble == "switched off":
            monkeypatch.setattr(pytest.importorskip("numba").config, "DISABLE_JIT", 1)
        else:
            pytest.importorskip("numba")
            monkeypatch.setattr("ragr1_lite.retrieval.bm25.kernel._search", lambda *_: 1 / 0)
        build_index(PASSAGES, tmp_path / "index")
        events: list[object] = []
        searcher = Bm25Searcher.open(tmp_path / "index", events.append)
        assert [type(event) for event in events] == [PhaseStarted, Notice, PhaseFinished]
        assert isinstance(events[1], Notice)
        assert events[1].level == "warning"
        assert "Search is slow" in events[1].text
        assert searcher._best is best_by_numpy
        assert ids(searcher.search(["highest point in Chad"], 2)) == [["chad", "niger"]]


def test_small_indexes_start_nothing_heavy(tmp_path: Path) -> None:
    """An ``ask`` with a small index does not wait for numba, nor for an installed JAX, which bm25s would start."""
    build_index(PASSAGES, tmp_path / "index")
    code = """
import sys
from pathlib import Path
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import Bm25Searcher
for searcher in (Bm25Searcher.from_passages([Passage("1", "a", "b")]), Bm25Searcher.open(Path(sys.argv[1]))):
    searcher.search(["a", "", "zzz"], 3)
assert not {"jax", "numba", "scipy"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "index"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_get_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the memory is so small that all of them forget what others have just found."""
    monkeypatch.setattr(module, "REMEMBERED", 20)
    passages, queries = random_corpus(3)
    alone = Bm25Searcher.from_passages(passages).search(queries, 3)
    searcher = Bm25Searcher.from_passages(passages)

    def ask(seed: int) -> bool:
        order = random.Random(seed).choices(range(len(queries)), k=60)
        return all(searcher.search([queries[place]], 3) == [alone[place]] for place in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(32)))


class TestBuild:
    def test_reports_and_returns_what_it_made(self, tmp_path: Path) -> None:
        events: list[object] = []
        passages = [Passage(str(number), "t", f"w{number}") for number in range(1001)]
        info = build_index(passages, tmp_path / "deep" / "index", report=events.append)
        assert info == Bm25Searcher.open(tmp_path / "deep" / "index").info == verify_index(tmp_path / "deep" / "index")
        assert events[:3] == [
            PhaseStarted("Reading passages", 1001, "passages"),
            PhaseAdvanced("Reading passages", 1000),
            PhaseAdvanced("Reading passages", 1001),
        ]
        assert [type(event) for event in events[3:]] == [PhaseFinished, PhaseStarted, PhaseAdvanced, PhaseFinished]
        assert events[-2] == PhaseAdvanced("Building the index", 1001)

    def test_same_passages_same_bytes(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            build_index(iter(PASSAGES), tmp_path / name)
        names = sorted(path.name for path in (tmp_path / "one").iterdir())
        assert "manifest.json" in names
        assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)

    def test_bm25s_itself_can_open_it(self, tmp_path: Path) -> None:
        build_index(PASSAGES, tmp_path / "index")
        peer = bm25s.BM25.load(tmp_path / "index", show_progress=False)
        assert peer.scores["num_docs"] == 4
        assert "td" in peer.vocab_dict

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, DataError])
    def test_interrupted_leaves_nothing(self, tmp_path: Path, error: type[BaseException]) -> None:
        def passages() -> Iterator[Passage]:
            yield from PASSAGES
            raise error("in the middle", "…")

        with pytest.raises(error):
            build_index(passages(), tmp_path / "index")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("step", ["rename", "exchange"])
    def test_interrupted_overwriting_keeps_the_old(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        build_index(PASSAGES, tmp_path / "index")
        rename = Path.rename

        def fail(self: Path, target: Path) -> Path:
            if "building" in self.name:
                raise KeyboardInterrupt
            return rename(self, target)

        monkeypatch.setattr(store, "_exchanged", fail if step == "exchange" else lambda *_: False)
        monkeypatch.setattr(Path, "rename", fail)
        with pytest.raises(KeyboardInterrupt):
            build_index(PASSAGES[:1], tmp_path / "index", overwrite=True)
        assert [path.name for path in tmp_path.iterdir()] == ["index"]
        assert verify_index(tmp_path / "index").passages == 4

    def test_overwriting_is_asked_for(self, tmp_path: Path) -> None:
        (tmp_path / "index").mkdir()
        build_index(PASSAGES, tmp_path / "index")
        with pytest.raises(RetrievalIndexError, match="exists already"):
            build_index(PASSAGES, tmp_path / "index")
        old = Bm25Searcher.open(tmp_path / "index")
        assert build_index(PASSAGES[:1], tmp_path / "index", overwrite=True).passages == 1
        assert ids(old.search(["niger"], 1)) == [["niger"]]
        assert [path.name for path in tmp_path.iterdir()] == ["index"]

    @pytest.mark.parametrize("name", ["file", "folder", "other"])
    def test_what_is_no_index_is_never_overwritten(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").write_text("precious")
        for folder, content in (("folder", "precious.txt"), ("other", "manifest.json")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / content).write_text("{}")
        with pytest.raises(RetrievalIndexError, match="is not an index"):
            build_index(PASSAGES, tmp_path / name, overwrite=True)
        assert (tmp_path / name).exists()

    def test_no_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(store, "_sha256", full)
        with pytest.raises(StorageError, match="No space left on device"):
            build_index(PASSAGES, tmp_path / "index")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("passages", [[], [Passage("1", "?", "…")]])
    def test_nothing_to_index(self, tmp_path: Path, passages: list[Passage]) -> None:
        with pytest.raises(DataError, match="No passage has a word"):
            build_index(passages, tmp_path / "index")
        with pytest.raises(DataError, match="No passage has a word"):
            Bm25Searcher.from_passages(passages)

    def test_passages_come_back_as_they_were(self, tmp_path: Path) -> None:
        odd = Passage('"\\\n', "\u2028 key", "half \ud800 \0 end")
        build_index([odd, Passage("2", "", "")], tmp_path / "index")
        [[found]] = Bm25Searcher.open(tmp_path / "index").search(["key"], 2)
        assert (found.id, found.title, found.text) == (odd.id, odd.title, odd.text)


class TestBroken:
    @pytest.fixture
    def index(self, tmp_path: Path) -> Path:
        build_index(PASSAGES, tmp_path / "index")
        return tmp_path / "index"

    @staticmethod
    def change(index: Path, **values: object) -> None:
        path = index / "manifest.json"
        manifest = json.loads(path.read_text()) | values
        path.write_text(json.dumps(manifest | {"sha256": store._own_sha256(manifest)}))

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(RetrievalIndexError, match="There is no index .*build it first"):
            Bm25Searcher.open(tmp_path / "none")

    def test_not_an_index(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        for path in (tmp_path, tmp_path / "file"):
            with pytest.raises(RetrievalIndexError, match="is not an index"):
                Bm25Searcher.open(path)
        (tmp_path / "manifest.json").write_text('{"format": "another"}')
        with pytest.raises(RetrievalIndexError, match="is not an index of ragr1-lite"):
            Bm25Searcher.open(tmp_path)

    def test_newer(self, index: Path) -> None:
        self.change(index, version=store.FORMAT_VERSION + 1, package="9.0")
        with pytest.raises(RetrievalIndexError, match=r"newer version of ragr1-lite \(9.0\).*Upgrade"):
            Bm25Searcher.open(index)

    @pytest.mark.parametrize("values", [{"passages": 5}, {"files": None}, {"bytes": "many"}])
    def test_manifest_that_makes_no_sense(self, index: Path, values: dict[str, object]) -> None:
        self.change(index, **values)
        with pytest.raises(RetrievalIndexError, match="manifest.json .* is broken"):
            Bm25Searcher.open(index)

    def test_unknown_way_of_cutting_words(self, index: Path) -> None:
        self.change(index, tokenizer={"words": "?", "stemmer": "english"})
        with pytest.raises(RetrievalIndexError, match="cuts words"):
            Bm25Searcher.open(index)

    @pytest.mark.parametrize("checksums", [True, False])
    @pytest.mark.parametrize("damage", ["missing", "cut", "longer", "flipped"])
    def test_every_file(self, index: Path, monkeypatch: pytest.MonkeyPatch, damage: str, checksums: bool) -> None:
        """A small index is checked whole; of a large one, opening sees all but changed bytes."""
        monkeypatch.setattr(module, "CHECKED_WHOLE", 2**30 if checksums else 0)
        for path in sorted(index.iterdir()):
            whole = path.read_bytes()
            middle = len(whole) // 2
            if damage == "missing":
                path.unlink()
            elif damage == "flipped":
                path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
            else:
                path.write_bytes(whole[:-2] if damage == "cut" else whole + b"}")
            with pytest.raises(RetrievalIndexError, match=path.name):
                verify_index(index)
            if checksums or damage != "flipped":
                with pytest.raises(RetrievalIndexError, match=path.name):
                    Bm25Searcher.open(index)
            path.write_bytes(whole)
        verify_index(index)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("data.csc.index.npy", np.zeros(3, np.float32)),
            ("indptr.csc.index.npy", np.zeros(3, np.int64)),
            ("passages.offsets.npy", np.zeros(3, np.int64)),
            ("passages.offsets.npy", np.array([{}], dtype=object)),
            ("vocab.index.json", b'{"one": 0}'),
            ("params.index.json", b'{"surprise": 1}'),
            ("passages.jsonl", b"[]\n[]\n"),
        ],
    )
    def test_files_that_do_not_fit_each_other(
        self, index: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: Any
    ) -> None:
        """Even a manifest that vouches for them does not let them pass, nor does an array bring a pickle in."""
        path = index / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)
        manifest = json.loads((index / "manifest.json").read_text())
        manifest["files"][name] = {"bytes": path.stat().st_size, "sha256": store._sha256(path)}
        self.change(index, files=manifest["files"])
        verify_index(index)
        with pytest.raises(RetrievalIndexError, match=r"\.(npy|json) of the index .* is broken"):
            Bm25Searcher.open(index)
