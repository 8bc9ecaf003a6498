"""The compiled kernel and NumPy, its fallback: the same scores, bit for bit, whatever the corpus and the queries."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest

from ragr1_lite.retrieval.bm25.postings import Postings, best_by_numpy

pytest.importorskip("numba")
from ragr1_lite.retrieval.bm25 import kernel

SERVED = ("lucene", "robertson", "atire")
Query = tuple[int, ...]


def random_model(rng: random.Random, method: str) -> tuple[bm25s.BM25, list[Query]]:
    """bm25s' index of a random corpus, words as frequent as Zipf has them, and queries of it, some with repeats."""
    words = rng.choice([2, 10, 100])
    weights = [1 / (rank + 1) for rank in range(words)]
    passages = rng.choice([1, 7, 40, 40, 300])
    texts = [rng.choices(range(words), weights, k=rng.randint(0, 12)) for _ in range(passages - 1)] + [[0]]
    model = bm25s.BM25(k1=rng.choice([0.9, 1.5]), b=rng.choice([0.4, 0.75]), method=method)
    model.index((texts, {str(word): word for word in range(words)}), create_empty_token=False, show_progress=False)
    return model, [tuple(rng.choices(range(words), weights, k=rng.randint(0, 6))) for _ in range(4)]


def postings_of(model: bm25s.BM25) -> Postings:
    scores = model.scores
    return Postings(scores["data"], scores["indices"], scores["indptr"].astype(np.int64), int(scores["num_docs"]))


def expected(postings: Postings, query: Query, scores: Any, k: int) -> tuple[list[int], list[float]]:
    """What bm25s' scores of all passages say: the best first, equal ones by position, and nothing that scores 0."""
    k = min(k, postings.passages)
    order = [position for position in np.argsort(-scores, kind="stable")[:k].tolist() if query and scores[position] > 0]
    missing = k - len(order)
    return order + [-1] * missing, [*scores[order].tolist(), *[0.0] * missing]


def all_scores(model: bm25s.BM25, query: Query) -> Any:
    return model.get_scores_from_ids(list(query))


def retrieved(model: bm25s.BM25, queries: list[Query], k: int) -> Any:
    """The scores that bm25s' own batch finds; it takes no query without words."""
    lists, k = [list(query) for query in queries], min(k, int(model.scores["num_docs"]))
    return model.retrieve(lists, k=k, show_progress=False, backend_selection="numpy")[1] if queries else []


@pytest.mark.parametrize("method", SERVED)
def test_equal_to_bm25s_on_a_thousand_random_corpora(method: str) -> None:
    for seed in range(334):
        rng = random.Random(seed)
        model, queries = random_model(rng, method)
        postings, k = postings_of(model), rng.choice([1, 3, 50])
        answers = [expected(postings, query, all_scores(model, query), k) for query in queries]
        rows = [row for row, query in enumerate(queries) if query]
        batch = retrieved(model, [queries[row] for row in rows], k)
        for best in (kernel.best, best_by_numpy):
            positions, scores = best(postings, queries, k)
            assert (positions.dtype, scores.dtype) == (np.int64, np.float32)
            got = list(zip(positions.tolist(), scores.tolist(), strict=True))
            assert got == answers, (best.__module__, seed)
            assert np.array_equal(scores[rows], batch) if rows else not scores.any(), (best.__module__, seed)


def large(seed: int, passages: int, words: int = 60, alike: bool = False) -> Postings:
    """Postings over several blocks: the first words in most passages, for little, the last in very few, for much."""
    rng = np.random.default_rng(seed)
    data, indices, indptr = [], [], [0]
    for word in range(words):
        share = 0.9 * (1e-5 / 0.9) ** (word / (words - 1))
        found = np.flatnonzero(rng.random(passages) < share).astype(np.int32)
        saturated = np.full(len(found), 0.5) if alike else rng.random(len(found)) * 0.6 + 0.2
        data.append((np.log(1 / share) * saturated).astype(np.float32))
        indices.append(found)
        indptr.append(indptr[-1] + len(found))
    return Postings(np.concatenate(data), np.concatenate(indices), np.array(indptr), passages)


def some_queries(seed: int, words: int = 60) -> list[Query]:
    rng = random.Random(seed)
    return [tuple(rng.randrange(words) for _ in range(rng.choice([1, 2, 4, 9, 30]))) for _ in range(60)]


@pytest.mark.parametrize("alike", [False, True], ids=["different scores", "equal scores"])
@pytest.mark.parametrize("passages", [kernel.BLOCK - 1, kernel.BLOCK, kernel.BLOCK + 1, 100_003])
def test_equal_to_bm25s_over_many_blocks(passages: int, alike: bool) -> None:
    """Here words are left out and looked up, blocks skipped, and chunks passed over."""
    postings, queries = large(passages, passages, alike=alike), some_queries(passages)
    for k in (1, 3, 100):
        for ours, theirs in zip(kernel.best(postings, queries, k), best_by_numpy(postings, queries, k), strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_best_scores_are_those_bm25s_retrieves(backend: Any) -> None:
    postings, queries = large(1, 30_000), [query for query in some_queries(1) if query]
    model = bm25s.BM25(backend=backend)
    model.scores = {"data": postings.data, "indices": postings.indices, "indptr": postings.indptr, "num_docs": 30_000}
    model.vocab_dict, model.nonoccurrence_array = {str(word): word for word in range(60)}, None
    model.unique_token_ids_set = set(range(60))
    _, theirs = model.retrieve([[*query] for query in queries], k=5, show_progress=False, backend_selection=backend)
    assert np.array_equal(kernel.best(postings, queries, 5)[1], theirs)


def test_numpy_searches_alone() -> None:
    """Without bm25s and what it would start, numba, JAX and SciPy, installed or broken."""
    code = """
import sys
from importlib.abc import MetaPathFinder

class Traps(MetaPathFinder):
    started = []
    def find_spec(self, name, path=None, target=None):
        if name in ("bm25s", "jax", "numba", "scipy"):
            self.started.append(name)
            raise SystemError(f"{name} is broken")

sys.meta_path.insert(0, traps := Traps())
import numpy as np
from ragr1_lite.retrieval.bm25.postings import Postings, best_by_numpy
postings = Postings(np.ones(2, "f4"), np.array([0, 1], "i4"), np.array([0, 2]), 2)
assert best_by_numpy(postings, [(0,)], 1)[0].tolist() == [[0]]
assert not traps.started, traps.started
"""
    environment = os.environ | {"PYTHONPATH": str(Path(kernel.__file__).parents[3])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("best", [kernel.best, best_by_numpy], ids=["kernel", "numpy"])
class TestForms:
    postings = Postings(np.array([2, 1, 3], np.float32), np.array([1, 4, 4], np.int32), np.array([0, 2, 2, 3]), 5)

    def rows(self, best: Any, queries: list[Query], k: int) -> list[list[tuple[int, float]]]:
        positions, scores = best(self.postings, queries, k)
        return [list(zip(*row, strict=True)) for row in zip(positions.tolist(), scores.tolist(), strict=True)]

    def test_rows(self, best: Any) -> None:
        assert self.rows(best, [(0, 2), (), (1,), (0, 0, 1)], 2) == [
            [(4, 4.0), (1, 2.0)],
            [(-1, 0.0), (-1, 0.0)],
            [(-1, 0.0), (-1, 0.0)],
            [(1, 4.0), (4, 2.0)],
        ]

    def test_equal_queries_in_their_places(self, best: Any) -> None:
        assert self.rows(best, [(2,), (0,), (2,)], 1) == [[(4, 3.0)], [(1, 2.0)], [(4, 3.0)]]

    def test_no_queries(self, best: Any) -> None:
        assert [array.shape for array in best(self.postings, [], 3)] == [(0, 3)] * 2

    def test_more_wanted_than_there_are(self, best: Any) -> None:
        assert [array.shape for array in best(self.postings, [(0,)], 10**9)] == [(1, 5)] * 2
        assert self.rows(best, [(0,)], 9) == [[(1, 2.0), (4, 1.0), (-1, 0.0), (-1, 0.0), (-1, 0.0)]]

    @pytest.mark.parametrize("word", [3, -1])
    def test_words_of_no_index(self, best: Any, word: int) -> None:
        with pytest.raises(IndexError):
            best(self.postings, [(0, word)], 1)

    def test_arrays_may_be_read_only(self, best: Any) -> None:
        for array in (postings := large(2, 3000)).data, postings.indices, postings.indptr:
            array.flags.writeable = False
        assert best(postings, [(5, 6)], 1)[0].shape == (1, 1)


def test_wrong_positions_and_scores_do_no_harm() -> None:
    """Whatever bytes stand in the arrays: an answer comes, its positions are those of passages, nothing is damaged."""
    rng, whole, queries = np.random.default_rng(3), large(3, 20_000), some_queries(3)
    before = [array.tolist() for array in kernel.best(whole, queries, 5)]
    for _ in range(30):
        wrong = [array.copy() for array in (whole.data, whole.indices)]
        for array in wrong:
            places = rng.integers(0, len(array), rng.choice([1, 100, 10_000]))
            array.view(np.int32)[places] = rng.integers(-(2**31), 2**31, len(places))
        positions, _ = kernel.best(Postings(wrong[0], wrong[1], whole.indptr, whole.passages), queries, 5)
        assert positions.min() >= -1
        assert positions.max() < whole.passages
    assert [array.tolist() for array in kernel.best(whole, queries, 5)] == before


def test_what_is_known_of_words_goes_with_the_postings() -> None:
    gc.collect()
    postings, known = large(4, 2000), len(kernel._TOPS)
    kernel.best(postings, [(1, 2)], 1)
    assert len(kernel._TOPS) == known + 1
    assert np.flatnonzero(kernel._tops(postings)).tolist() == [1, 2]
    del postings
    gc.collect()
    assert len(kernel._TOPS) == known


def test_threads_do_not_disturb_each_other() -> None:
    postings, queries = large(5, 50_000), some_queries(5)
    alone = kernel.best(postings, queries, 3)
    fresh = Postings(postings.data.copy(), postings.indices, postings.indptr, postings.passages)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(kernel.best(fresh, queries, 3))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(np.array_equal(a, b) for result in results for a, b in zip(result, alone, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_works_after_a_fork() -> None:
    postings, queries = large(6, 20_000), some_queries(6)
    alone = kernel.best(postings, queries, 3)
    child = os.fork()
    if not child:
        status = 1
        try:
            status = not all(map(np.array_equal, kernel.best(postings, queries, 3), alone))
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_bounds_hold_for_rounded_sums() -> None:
    """Whichever order numbers are added up in: what ``_below`` takes off is more than rounding can make of it."""
    rng = random.Random(8)
    for count in (1, 2, 5, 30, 400):
        for _ in range(20):
            parts = np.array([rng.random() * 10 ** rng.uniform(-3, 1) for _ in range(count)], np.float32)
            sums = []
            for _ in range(5):
                rng.shuffle(shuffled := parts.tolist())
                total = np.float32(0)
                for part in shuffled:
                    total += np.float32(part)
                sums.append(float(total))
            assert all(kernel._below.py_func(a, count) < b for a, b in pairwise([*sums, sums[0]]))


def test_without_a_place_for_compiled_code(tmp_path: Path) -> None:
    """numba finds no folder that it may write to: the kernel is defined all the same."""
    code = """
import numba
from numba.core import caching
caching.FunctionCache.__init__ = lambda *_: (_ for _ in ()).throw(RuntimeError("cannot cache function: no locator"))
from ragr1_lite.retrieval.bm25 import kernel
assert kernel._find(__import__("numpy").arange(5, dtype="int32"), 0, 5, 3) == 3
"""
    environment = os.environ | {"PYTHONPATH": str(Path(kernel.__file__).parents[3])}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
