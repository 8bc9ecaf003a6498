"""What the defaults find in real corpora, indexed and searched the way a user does."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import pytest

from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import Bm25Searcher, build_index, read_corpus

SHARED = Path(os.environ.get("RAGR1_LITE_SHARED", Path(__file__).parents[3] / "shared")) / "data"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not (SHARED / "corpus_hotpotqa.jsonl.gz").is_file(), reason="needs shared data"),
]


def rows(name: str) -> list[dict[str, str]]:
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def search(corpus: str, folder: Path, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
    build_index(read_corpus([SHARED / corpus]), folder)
    return Bm25Searcher.open(folder).search(queries, k)


def ndcg(ids: Sequence[str], grades: Mapping[str, int], k: int = 10) -> float:
    """Järvelin and Kekäläinen's, with the grade itself as gain, as BEIR computes it."""
    discounts = [1 / math.log2(place + 2) for place in range(k)]
    best = sorted(grades.values(), reverse=True)
    gained = sum(discount * grades.get(id, 0) for discount, id in zip(discounts, ids, strict=False))
    return gained / sum(discount * grade for discount, grade in zip(discounts, best, strict=False))


def test_ndcg_at_10_on_scifact(tmp_path: Path) -> None:
    """Published flat BM25: .679."""
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    with (SHARED / "scifact_qrels_test.tsv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            grades[row["query-id"]][row["corpus-id"]] = int(row["score"])
    texts = {row["_id"]: row["text"] for row in rows("scifact_queries.jsonl.gz")}
    found = search("scifact_corpus.jsonl.gz", tmp_path / "index", [texts[query] for query in grades], 10)
    ids = ([passage.id for passage in passages] for passages in found)
    assert len(grades) == 300
    assert ndcg(["x", "a", "b"], {"a": 1, "b": 1}) == pytest.approx((1 / math.log2(3) + 0.5) / (1 + 1 / math.log2(3)))
    assert fmean(map(ndcg, ids, grades.values())) >= 0.68


def test_recall_of_gold_titles_at_5_on_hotpotqa(tmp_path: Path) -> None:
    questions = rows("hotpotqa_dev.jsonl.gz")
    found = search("corpus_hotpotqa.jsonl.gz", tmp_path / "index", [row["question"] for row in questions], 5)
    titles = ({passage.title for passage in passages} for passages in found)
    recall = fmean(len(got & set(row["gold_titles"])) / 2 for got, row in zip(titles, questions, strict=True))
    assert len(questions) == 632
    assert recall >= 0.76
