"""The benchmark measures what it claims: a corpus like English, equal work for all, ratios the right way round."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import benchmarks
from benchmarks import building, corpus, peers, searching
from benchmarks import rollout as rolling
from benchmarks.hardware import machine
from benchmarks.interleave import interleave, process_clock
from benchmarks.rollout import Comparison, shares
from benchmarks.startup import startup
from ragr1_lite.core.errors import ConfigError, DataError, RetrievalIndexError, StorageError
from ragr1_lite.core.events import Notice, PhaseFinished, PhaseStarted
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, Passage, SampleRequest
from ragr1_lite.retrieval.bm25.build import count_postings
from ragr1_lite.retrieval.bm25.postings import Postings
from tests.support.scripted import ByteTokenizer, ScriptedSampler, ScriptedSearcher, example


@pytest.fixture(scope="module")
def postings() -> Postings:
    ids, lengths = corpus.passages(4000)
    return count_postings(ids, lengths, corpus.WORDS)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without what has to be compiled first, and with a stand-in for our own search."""
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    monkeypatch.setattr(searching, "LEAST", 0.0)
    monkeypatch.setattr(searching, "_MEMORY_BYTES", 2**20)
    ours = {"ours": lambda queries: None, "ours_cold": lambda queries: None}
    monkeypatch.setattr(searching, "_ours", lambda postings, k: dict(ours))
    yield


class TestCorpus:
    def test_is_like_english_in_hundred_word_passages(self) -> None:
        ids, lengths = corpus.passages(4000)
        ends = np.cumsum(lengths)
        different = [len(np.unique(ids[end - length : end])) for end, length in zip(ends, lengths, strict=True)]
        shares = np.bincount(ids, minlength=corpus.WORDS) / len(ids)
        assert lengths.mean() == pytest.approx(105.4, abs=0.2)
        assert np.mean(different) == pytest.approx(67.2, abs=0.5)
        assert [shares[rank - 1] for rank in (1, 15, 120)] == pytest.approx([0.069, 0.0054, 0.00079], rel=0.1)
        assert [shares[rank:].sum() for rank in (30, 100, 1000, 8000)] == pytest.approx(
            [0.669, 0.571, 0.291, 0.085], abs=0.02
        )

    def test_is_the_same_for_the_same_seed_and_in_the_kernels_form(self) -> None:
        (ids, lengths), again, other = corpus.passages(100), corpus.passages(100), corpus.passages(100, seed=1)
        assert (ids == again[0]).all() and (lengths == again[1]).all()
        assert len(ids) != len(other[0]) or (ids != other[0]).any()
        assert ids.dtype == lengths.dtype == np.int32
        assert 0 <= ids.min() <= ids.max() < corpus.WORDS
        assert lengths.sum() == len(ids)

    def test_queries_are_short_different_and_of_known_words(self, postings: Postings) -> None:
        frequencies = np.diff(postings.indptr)
        asked = corpus.queries(frequencies, 192)
        assert len(set(asked)) == 192 and asked == corpus.queries(frequencies, 192)
        assert {len(query) for query in asked} == {3, 4, 5}
        assert all(len(set(query)) == len(query) and frequencies[list(query)].all() for query in asked)
        touched = np.array([frequencies[list(query)].sum() / postings.passages for query in asked])
        assert np.median(touched) == pytest.approx(0.07, abs=0.03)
        assert touched.mean() == pytest.approx(0.24, abs=0.06)

    def test_rollouts_ask_the_same_things(self, postings: Postings) -> None:
        asked = corpus.queries(np.diff(postings.indptr), 53)
        turn = corpus.rollouts(asked, 192)
        assert len(turn) == 192 and set(turn) == set(asked)
        assert turn == corpus.rollouts(asked, 192)

    @pytest.mark.parametrize("words", [0, 1, 5])
    def test_too_few_words(self, words: int) -> None:
        with pytest.raises(DataError, match="too small for 24 different queries"):
            corpus.queries(np.ones(words, np.int64), 24)


class TestInterleave:
    def test_takes_turns_and_gives_medians(self) -> None:
        now, order = [0.0], []  # type: list[float], list[str]
        times = iter([9, 9, 1, 10, 5, 30, 2, 20])

        def run(name: str) -> None:
            order.append(name)
            now[0] += next(times)

        events: list[object] = []
        ways = {"a": lambda: run("a"), "b": lambda: run("b")}
        assert interleave(ways, 3, events.append, clock=lambda: now[0]) == {"a": 2, "b": 20}
        assert order == ["a", "b"] * 4
        assert isinstance(events[0], PhaseStarted) and isinstance(events[-1], PhaseFinished)

    def test_what_is_soon_done_is_repeated(self) -> None:
        now, calls = [0.0], [0]

        def run() -> None:
            calls[0] += 1
            now[0] += 0.25

        assert interleave({"a": run}, 2, clock=lambda: now[0], least=1.0) == {"a": 0.25}
        assert calls[0] == 2 + 2 * 4

    def test_the_clock_runs_on(self) -> None:
        clock = process_clock()
        start = clock()
        sum(range(100_000))
        assert clock() > start


class TestEngines:
    def test_bm25s_searches_our_postings(self, postings: Postings) -> None:
        asked = corpus.queries(np.diff(postings.indptr), 20)
        engines = peers.bm25s_engines(postings, 3)
        together, alone = engines["bm25s_numpy"](asked), engines["bm25s_numpy_loop"](asked)
        for query, row, one in zip(asked, together.scores, alone, strict=True):  # type: ignore[attr-defined,call-overload]
            scores = np.zeros(postings.passages, np.float32)
            for word in query:
                start, end = postings.indptr[word], postings.indptr[word + 1]
                scores[postings.indices[start:end]] += postings.data[start:end]
            assert row.tolist() == one.scores[0].tolist() == np.sort(scores)[:-4:-1].tolist()

    def test_tantivy_finds_as_much(self) -> None:
        pytest.importorskip("tantivy")
        ids, lengths = corpus.passages(300)
        asked = corpus.queries(np.bincount(ids, minlength=corpus.WORDS), 20)
        events: list[object] = []
        ends = np.cumsum(lengths)
        passages = [set(ids[end - length : end].tolist()) for end, length in zip(ends, lengths, strict=True)]
        with peers.tantivy_engine(ids, lengths, 3, events.append) as search:
            found: Any = search(asked)
        assert [type(event) for event in events] == [PhaseStarted, PhaseFinished]
        assert [len(hits) for hits in found] == [
            min(3, sum(not words.isdisjoint(q) for words in passages)) for q in asked
        ]


@pytest.mark.usefixtures("quick")
class TestRetrieval:
    def test_rows_and_ratios(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(searching, "find_spec", lambda name: None)
        monkeypatch.setattr(searching, "NUMPY_SCORES", 100_000)
        events: list[object] = []
        result = json.loads(json.dumps(benchmarks.retrieval(passages=[1000, 2000], rounds=1, report=events.append)))
        assert [event.text for event in events if isinstance(event, Notice)] == [
            "tantivy is not measured: it is not installed (pip install tantivy)"
        ]
        engines = ["ours", "ours_cold", "bm25s_numpy", "bm25s_numpy_loop", "floor"]
        mixes = {"distinct24": 24, "distinct192": 192, "rollout192": 192}
        assert [(row["passages"], row["mix"], row["engine"], row["queries"]) for row in result["rows"]] == [
            (count, mix, engine, queries)
            for count in (1000, 2000)
            for mix, queries in mixes.items()
            for engine in engines
        ]
        assert {row["measured_queries"] for row in result["rows"] if "measured_queries" in row} == {50, 100}
        assert result["machine"]["cpu"] and result["machine"]["threads"] == "1"
        assert list(result["ratios"]) == ["1000", "2000"]
        assert list(result["ratios"]["1000"]["rollout192"]) == ["bm25s_numpy", "bm25s_numpy_loop", "floor"]
        bytes_ = {row["mix"]: row["bytes"] for row in result["rows"] if "bytes" in row}
        assert bytes_["distinct24"] < bytes_["rollout192"] < bytes_["distinct192"]
        table = benchmarks.figures(result)
        assert list(table["1,000 passages, distinct24, us"]) == engines
        assert table["2,000 passages, rollout192, over ours"] == result["ratios"]["2000"]["rollout192"]

    def test_an_index_is_measured(self, tmp_path: Path) -> None:
        from ragr1_lite.retrieval import build_index

        words = [f"w{number}" for number in range(200)]
        texts = (" ".join(words[start::7]) for start in range(100))
        build_index((Passage(str(number), "", text) for number, text in enumerate(texts)), tmp_path / "index")
        result = benchmarks.retrieval(str(tmp_path / "index"), rounds=1)
        assert list(result["ratios"]) == ["100"]
        with pytest.raises(RetrievalIndexError):
            benchmarks.retrieval(str(tmp_path / "none"))

    def test_a_build_is_measured_where_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        measured = {"passages": 7, "seconds_ratio": 12.0, "memory_ratio": 3.5, "ours": {"seconds": 1.0}}
        monkeypatch.setattr(building, "build", lambda passages, report: measured | {"passages": passages})
        result = benchmarks.retrieval(passages=[], build=9)
        assert result["build"]["passages"] == 9
        assert benchmarks.figures(result) == {
            "build, bm25s over ours": {"passages": 9, "seconds_ratio": 12.0, "memory_ratio": 3.5}
        }

    @pytest.mark.parametrize("options", [{"passages": [0]}, {"passages": [1000], "build": -1}, {"index": "world"}])
    def test_what_cannot_be_measured(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            benchmarks.retrieval(**options)


def test_ratios_are_a_peers_time_over_ours_and_ours_over_the_floor() -> None:
    row = {"passages": 5, "queries": 24, "mix": "distinct24"}
    times = {"ours": 2.0, "ours_cold": 3.0, "bm25s_numba": 5.0, "tantivy": 7.0, "floor": 1.0}
    ratios = searching._ratios([row | {"engine": engine, "us_per_query": time} for engine, time in times.items()])
    assert ratios == {"5": {"distinct24": {"bm25s_numba": 2.5, "tantivy": 3.5, "floor": 2.0}}}


def test_a_slow_engine_is_given_queries_of_every_cost() -> None:
    queries, frequencies = [(word,) for word in range(100)], np.arange(100)
    few = searching._given("bm25s_numpy", queries, frequencies, searching.NUMPY_SCORES // 10)
    assert few == [(5,), (15,), (25,), (35,), (45,), (55,), (65,), (75,), (85,), (95,)]
    assert searching._given("bm25s_numba", queries, frequencies, 10**9) == queries
    assert searching._given("bm25s_numpy_loop", queries, frequencies, 1) == queries


def test_builds_are_measured_in_processes_of_their_own() -> None:
    events: list[object] = []
    result = building.build(500, events.append)
    assert result["passages"] == 500
    for engine in ("ours", "bm25s"):
        assert result[engine]["seconds"] >= 0
        assert 0 <= result[engine]["build_bytes"] < result[engine]["process_bytes"] < 10**9
    ratio = result["bm25s"]["process_bytes"] / result["ours"]["process_bytes"]
    assert result["process_memory_ratio"] == pytest.approx(ratio, abs=0.01)
    assert [type(event) for event in events] == [PhaseStarted, PhaseFinished] * 2


def test_a_build_that_is_killed_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building.sys, "executable", "false")
    with pytest.raises(StorageError, match=r"Building 5 passages with ours failed \(its process was killed\)"):
        building.build(5)


def test_help_is_measured_against_python_alone() -> None:
    found = startup(rounds=1)
    assert found["ratio"] == pytest.approx(found["seconds"]["help"] / found["seconds"]["python"], rel=0.05)
    assert found["ratio"] > 1


class Work:
    """A clock that only work moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """Searches twice and answers, or answers at once where the question asks for it; each turn takes a while."""

    def __init__(self, work: Work, seconds: float = 0.0, answer: str = "Chad") -> None:
        self.tokenizer = ByteTokenizer()
        self.seconds = {"prefill": 0.0, "decode": 0.0}
        self._work, self._takes, self._answer = work, seconds, answer

    def sample(self, requests: Sequence[SampleRequest], *, stop: Sequence[str], **_: Any) -> list[Completion]:
        self._work.now += self._takes
        self.seconds["decode"] += self._takes / 2
        return [self._say(self.tokenizer.decode(request.token_ids), stop) for request in requests]

    def _say(self, text: str, stop: Sequence[str]) -> Completion:
        search = text.count("</information>\n") < 2 and "at once" not in text
        said = "<search>chad, mali</search>" if search else f"<answer>{self._answer}</answer>"
        return ScriptedSampler([]).complete(f"<think>So.</think>{said}", stop)


class SlowSearcher(ScriptedSearcher):
    """Takes a second a call."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        self._work.now += 1
        return super().search(queries, k)


class TestRollout:
    LIMITS = Limits(max_rounds=3, k=1, max_new_tokens=100, max_length=4000)

    @pytest.fixture
    def work(self, monkeypatch: pytest.MonkeyPatch) -> Work:
        work = Work()
        monkeypatch.setattr(rolling, "time", SimpleNamespace(perf_counter=work))
        return work

    def compare(self, work: Work, ours: float = 2, reprefill: float = 6, answer: str = "Chad") -> Comparison:
        workers = Worker(work, ours), Worker(work, reprefill, answer)
        return Comparison(*workers, SlowSearcher(work), Protocol(), self.LIMITS, 1, work)

    def test_speeds_shares_and_equal_outputs(self, work: Work) -> None:
        found = self.compare(work).measure("two", [example(), example()])
        said = ("<search>chad, mali</search>",) * 2 + ("<answer>Chad</answer>",)
        sampled = 2 * sum(len(ScriptedSampler([]).complete(f"<think>So.</think>{one}").token_ids) for one in said)
        ours, reprefill = 3 * 2 + 2, 3 * 6 + 2  # seconds: three turns, two searches
        assert found == {
            "ratio": reprefill / ours,
            "tokens_per_second": {"ours": round(sampled / ours, 1), "reprefill": round(sampled / reprefill, 1)},
            "shares": {"prefill": 0.0, "decode": 3 / 8, "retrieval": 2 / 8, "other": 3 / 8},
            "equal_outputs": True,
        }

    def test_other_outputs_are_seen(self, work: Work) -> None:
        assert self.compare(work, answer="Mali").measure("one", [example()])["equal_outputs"] is False

    def test_questions_of_equal_work_are_taken(self, work: Work) -> None:
        pool = [example("Which is larger?"), example("Say at once."), example("And which is smaller?")]
        benchmarks = self.compare(work)
        assert benchmarks.taking(3, pool, 2) == [pool[0], pool[2]]
        assert benchmarks.taking(1, pool, 1) == [pool[1]]
        with pytest.raises(DataError, match="takes 3 turns for 2 of 3 questions, and 3 are needed"):
            benchmarks.taking(3, pool, 3)

    def test_shares_of_several_runs(self) -> None:
        runs = [{"prefill": 1.0, "retrieval": 0.0, "all": 2.0}, {"prefill": 1.0, "retrieval": 1.0, "all": 6.0}]
        assert shares(runs) == {"prefill": 0.25, "retrieval": 0.125, "other": 0.625}


def test_sizes() -> None:
    assert benchmarks.sizes("10000, 100000") == [10_000, 100_000]
    with pytest.raises(ConfigError, match="'10k' is not a list of numbers"):
        benchmarks.sizes("10k")


def test_machine_is_named() -> None:
    named = machine("bm25s", "no-such-package", threads=2)
    assert named["cpu"] and named["numpy"] == np.__version__
    assert (named["threads"], named["no-such-package"]) == ("2", "not installed")
    assert all(isinstance(value, str) for value in named.values())


def test_names_stay_functions_after_use() -> None:
    assert [callable(getattr(benchmarks, name)) for name in (*benchmarks.__all__, *benchmarks.__all__)] == [True] * 10
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        benchmarks.nothing  # noqa: B018
