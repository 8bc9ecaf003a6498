"""The example pages answer their questions, and searching finds where: at once for one fact, in turn for a bridge."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from ragr1_lite.core.rewards import covers
from ragr1_lite.data.questions import Question, read_questions
from ragr1_lite.evaluation.ceiling import ceiling
from ragr1_lite.retrieval import Bm25Searcher, build_index, read_corpus

FOLDER = Path(__file__).parents[2] / "examples" / "pages"
QUESTIONS = read_questions(FOLDER / "questions.jsonl")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The text of each page by its title, as the index has them."""
    texts: dict[str, list[str]] = defaultdict(list)
    for passage in read_corpus([FOLDER]):
        texts[passage.title].append(passage.text)
    return {title: " | ".join([title, *parts]) for title, parts in texts.items()}


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Bm25Searcher:
    folder = tmp_path_factory.mktemp("pages") / "index"
    build_index(read_corpus([FOLDER]), folder)
    return Bm25Searcher.open(folder)


def test_thirty_pages_and_forty_questions(pages: dict[str, str]) -> None:
    assert len(pages) == len(list(FOLDER.glob("*.md"))) == 30
    assert [title for title, text in pages.items() if not 250 <= len(text.split()) <= 500] == []
    kinds = Counter(one.example.kind for one in QUESTIONS)
    assert kinds == {"one-hop": 10, "bridge": 10, "comparison": 10, "list": 5, "paraphrase": 5}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.example.id)
def test_the_gold_pages_hold_the_answer(pages: dict[str, str], question: Question) -> None:
    example = question.example
    gold = [pages[title] for title in example.titles]
    parts = example.answers[0].split(", ")
    assert all(any(covers(text, [part]) for text in gold) for part in parts)
    assert [fact for _, _, fact in question.triples if not any(covers(text, [fact]) for text in gold)] == []
    if example.kind == "bridge":
        first, second = gold
        assert not covers(first, example.answers) and covers(second, example.answers[:1])


def test_one_search_finds_a_fact_and_no_bridge(searcher: Bm25Searcher) -> None:
    found = ceiling(searcher, QUESTIONS, k=3)
    every = {kind: found.figures(kind)["all_titles"] for kind in found.kinds}
    assert every["one-hop"]["question"]["mean"] == 1
    assert every["bridge"]["question"]["mean"] <= 0.2
    assert all(figures["gold_queries"]["mean"] == 1 for figures in every.values())


def test_gold_queries_find_the_passages_with_the_facts(searcher: Bm25Searcher) -> None:
    facts = [triple for one in QUESTIONS for triple in one.triples]
    found = searcher.search([f"{subject} {relation}" for subject, relation, _ in facts], 3)
    held = [any(covers(one.text, [fact]) for one in some) for some, (_, _, fact) in zip(found, facts, strict=True)]
    assert sum(held) >= 0.95 * len(facts)
