"""Several indexes searched as one: merged by comparable scores, or else by rank; each passage names its index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.core.errors import ConfigError, RetrievalIndexError
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import Bm25Searcher, build_index, open_searcher
from ragr1_lite.retrieval.bm25 import searcher as bm25
from ragr1_lite.retrieval.bm25.postings import best_by_numpy
from ragr1_lite.retrieval.searchers import SeveralSearcher

corpora = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=8), min_size=2, max_size=20)


def passages(corpus: Sequence[Sequence[int]]) -> list[Passage]:
    return [Passage(str(at), "", " ".join(f"w{word}" for word in words)) for at, words in enumerate(corpus)]


class Elsewhere:
    """An index whose scores say nothing to others; counts its calls."""

    def __init__(self, *ids: str) -> None:
        self.found = tuple(Passage(one, "", "", score=100.0) for one in ids)
        self.calls: list[list[str]] = []

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        self.calls.append(list(queries))
        return [self.found[:k] if query != "nothing" else () for query in queries]


class TestByScore:
    @given(corpus=corpora, cut=st.integers(1, 19), query=st.lists(st.integers(0, 7), max_size=5))
    def test_as_one_index_of_everything(self, corpus: list[list[int]], cut: int, query: list[int]) -> None:
        """Without length normalisation (b = 0) nothing but idf hangs on the whole corpus."""
        cut, every = min(cut, len(corpus) - 1), passages(corpus)
        whole = Bm25Searcher.from_passages(every, b=0, stemmer="none")
        parts = {
            name: Bm25Searcher.from_passages(some, b=0, stemmer="none")
            for name, some in (("one", every[:cut]), ("two", every[cut:]))
        }
        asked = [" ".join(f"w{word}" for word in query), "w0", ""]
        expected, found = whole.search(asked, 5), SeveralSearcher(parts).search(asked, 5)
        assert [[one.score for one in row] for row in found] == [
            pytest.approx([one.score for one in row], rel=1e-5) for row in expected
        ]
        assert all(one.index == ("one" if int(one.id) < cut else "two") for row in found for one in row)

    def test_a_word_that_is_rare_in_all_is_rare_in_a_small_one(self) -> None:
        """Its own idf would make everything of the small index worth less."""
        small = Bm25Searcher.from_passages([Passage("s", "", "zebra in a field of grass")])
        large = Bm25Searcher.from_passages([Passage(str(at), "", f"grass {at} field") for at in range(500)])
        assert small.search(["zebra"], 1)[0][0].score < large.search(["7"], 1)[0][0].score / 5
        best, *rest = SeveralSearcher({"large": large, "small": small}).search(["zebra grass"], 3)[0]
        assert (best.id, best.index, {one.index for one in rest}) == ("s", "small", {"large"})

    def test_each_index_is_asked_once_for_all_queries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []

        def best(postings: object, queries: Sequence[Sequence[int]], k: int) -> object:
            calls.append(len(queries))
            return best_by_numpy(postings, queries, k)  # type: ignore[arg-type]

        monkeypatch.setattr(bm25, "_best_for", lambda *_: best)
        parts = {name: Bm25Searcher.from_passages(passages([[1, 2], [3]])) for name in ("one", "two")}
        found = SeveralSearcher(parts).search(["w1", "w3", "w1", "", "unknown"], 9)
        assert (calls, [len(row) for row in found]) == ([2, 2], [2, 2, 2, 0, 0])
        assert [(one.index, one.id) for one in found[0]] == [("one", "0"), ("two", "0")]  # ties in the indexes' order
        assert [one.key for one in found[1]] == [("one", "1"), ("two", "1")]
        assert SeveralSearcher(parts).search(["w1"], 0) == [()]


class TestByRank:
    def test_the_first_of_each_then_the_second(self) -> None:
        one, two = Elsewhere("a", "b", "c"), Elsewhere("a")
        found = SeveralSearcher({"one": one, "two": two}).search(["x", "nothing", "x"], 3)
        assert [[passage.key for passage in row] for row in found] == [
            [("one", "a"), ("two", "a"), ("one", "b")], [], [("one", "a"), ("two", "a"), ("one", "b")],
        ]  # fmt: skip
        assert one.calls == two.calls == [["x", "nothing"]]

    def test_where_words_are_cut_otherwise(self) -> None:
        parts = {name: Bm25Searcher.from_passages(passages([[1], [1, 2]]), stemmer=name) for name in ("none", "german")}
        found = SeveralSearcher(parts).search(["w1 w2"], 4)[0]
        assert [one.key for one in found] == [("none", "1"), ("german", "1"), ("none", "0"), ("german", "0")]
        assert found[0].score == found[1].score


class TestOpening:
    def test_several_by_their_names(self, tmp_path: Path) -> None:
        build_index([Passage("1", "Chad", "The tin of biscuits is in Chad.")], tmp_path / "index")
        found = open_searcher(["world", str(tmp_path / "index")]).search(["biscuits in Chad"], 2)[0]
        assert [one.index for one in found] == [str(tmp_path / "index"), "world"]
        assert open_searcher([str(tmp_path / "index")]).search(["Chad"], 1)[0][0].index == ""

    def test_one_that_cannot_be_opened_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RetrievalIndexError) as caught:
            open_searcher(["world", str(tmp_path / "none")])
        assert str(caught.value) == f"There is no index {tmp_path / 'none'}. Check the path, or build it first."

    def test_one_that_is_named_twice(self) -> None:
        with pytest.raises(ConfigError, match=r"The index world is named twice\. Name each once"):
            open_searcher(["world", "books", "world"])
