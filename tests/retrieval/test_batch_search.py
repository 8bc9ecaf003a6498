"""Servers of ReCall's and FlashRAG's form, ``/batch_search``: one call a turn, documents with and without scores."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from ragr1_lite.core.errors import RetrievalIndexError
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.remote.http import HttpSearcher
from tests.support.recorded import Asked, Recorded, Reply, recorded

CANAL = {"id": "7", "contents": '"Oste Canal"\nIt was dug in 1811.'}
MILL = {"title": "Oste Mill", "text": "It was built in 1874."}
FOUND = Passage("7", "Oste Canal", "It was dug in 1811.")


def searched(
    body: Any, queries: list[str], path: str = "/batch_search", k: int = 2
) -> tuple[list[tuple[Passage, ...]], Recorded]:
    with (
        recorded(lambda _: Reply(body)) as far,
        closing(HttpSearcher(f"{far.url}{path}", retries=0)) as searcher,
    ):
        return searcher.search(queries, k), far


def test_documents_whose_scores_come_apart() -> None:
    found, far = searched([[[{"id": "7", "contents": "Oste Canal\nIt was dug in 1811."}]], [[2.5]]], ["canal"])
    assert found == [(Passage("7", "Oste Canal", "It was dug in 1811.", 2.5),)]
    [request] = far.asked
    assert (request.method, request.path) == ("POST", "/batch_search")
    assert request.json == {"query": ["canal"], "top_n": 2, "return_score": True}


def test_all_queries_of_a_turn_are_one_call() -> None:
    def answer(request: Asked) -> Reply:
        rows = [[{"id": query, "contents": f'"{query}"\nIt is.'}] for query in request.json["query"]]
        return Reply([rows, [[float(place)] for place, _ in enumerate(rows)]])

    with recorded(answer) as far, closing(HttpSearcher(f"{far.url}/batch_search")) as searcher:
        found = searcher.search(["b", "a", "b", " "], 3)
    assert [[(one.title, one.score) for one in row] for row in found] == [[("b", 0.0)], [("a", 1.0)], [("b", 0.0)], []]
    assert len(far.asked) == 1


@pytest.mark.parametrize("path", ["/search", "/search/", "/wiki/search"])
def test_the_call_for_one_query_is_not_made(path: str) -> None:
    found, far = searched([[CANAL], []], ["canal", "nothing"], path)
    assert found == [(FOUND,), ()]
    assert [request.path for request in far.asked] == [f"{path.rstrip('/').removesuffix('search')}batch_search"]


@pytest.mark.parametrize(
    ("body", "queries"),
    [
        ([[CANAL, MILL]], 1),
        ([[CANAL, MILL], []], 2),
        ([[CANAL, MILL], [MILL, CANAL]], 2),
        ([[CANAL, MILL], None, []], 3),
        ([[[CANAL, MILL], []], [[2.5, 1.0], []]], 2),
        ([[[], []], [[], []]], 2),
    ],
)
def test_with_and_without_scores_for_any_number_of_queries(body: Any, queries: int) -> None:
    found, _ = searched(body, [str(number) for number in range(queries)])
    assert len(found) == queries
    assert [one.title for one in found[0]] in (["Oste Canal", "Oste Mill"], [])


def test_a_document_may_hold_its_own_score_and_no_id() -> None:
    found, _ = searched([[{"id": "1", "title": "T", "contents": "x", "score": 0.5}, MILL]], ["a"])
    assert found == [(Passage("1", "T", "x", 0.5), Passage("", "Oste Mill", "It was built in 1874."))]


def test_either_answer_is_read_whatever_was_asked() -> None:
    found, far = searched([[[CANAL]], [[2.5]]], ["canal"], "/find")
    assert [one.title for one in found[0]] == ["Oste Canal"] and "queries" in far.asked[0].json
    assert searched({"result": [[CANAL]]}, ["canal"])[0] == [(FOUND,)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"docs": [CANAL]}, "it has no list `result`, as /retrieve answers, and is no list, as /batch_search answers"),
        ([[CANAL]], "it has 1 results for 2 queries"),
        ([CANAL, MILL], "a query's result is not a list"),
        ([[[CANAL], []], [[2.5, 1.0], []]], "it has 2 scores for the 1 documents of a query"),
        ([[[CANAL], []], [["best"], []]], "a score is not a number"),
        ([[{"id": "7"}], []], "a document has neither `contents` nor `text`"),
    ],
)
def test_what_is_of_neither_form_is_said_in_one_sentence(body: Any, reason: str) -> None:
    with pytest.raises(RetrievalIndexError) as caught:
        searched(body, ["a", "b"])
    assert caught.value.message.endswith(f"gave an answer that cannot be used: {reason}")


def test_a_server_that_knows_neither_path_is_named_with_both() -> None:
    with (
        recorded(lambda _: Reply({"detail": "Not Found"}, 404)) as far,
        closing(HttpSearcher(far.url, retries=0)) as searcher,
        pytest.raises(RetrievalIndexError) as caught,
    ):
        searcher.search(["a"], 1)
    assert "/retrieve or /batch_search" in caught.value.hint
