"""What both tokenizers find in many languages: `python docs/studies/languages.py FOLDER [DATA]`.

FOLDER holds question sets in SQuAD's form, each NAME.LANGUAGE.json (xquad.zh.json); DATA holds HotpotQA and SciFact
as .jsonl.gz and SciFact's judgments. Prints the figures of docs/retrieval.md: what a question finds of its own
passages among all of its set, and for DATA what both tokenizers take, in turns.
"""

from __future__ import annotations

import csv
import gzip
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import read_corpus
from ragr1_lite.retrieval.bm25.build import build_in_memory
from ragr1_lite.retrieval.bm25.postings import best_by_numpy
from ragr1_lite.retrieval.bm25.tokenizer import WordTokenizer

STEMMERS = {
    "ar": "arabic", "de": "german", "el": "greek", "es": "spanish", "hi": "hindi", "ro": "romanian", "ru": "russian",
    "tr": "turkish",
}  # fmt: skip
K, ROUNDS = 10, 11

Set = tuple[list[Passage], list[tuple[str, set[int]]]]
"""Passages, and questions with the places of their own ones."""


def main(folder: Path, data: Path | None = None) -> None:
    """Prints recall@5 and nDCG@10 of every set: by version 1, by version 2, and by its language's stemmer."""
    sets = {file.stem: squad(file) for file in sorted(folder.glob("*.*.json"))}
    if data:
        sets |= {"hotpotqa.en": hotpotqa(data), "scifact.en": scifact(data)}
    print("| set | passages | questions | version 1: recall@5, nDCG@10 | version 2 | its stemmer |")
    print("|---" * 6 + "|")
    for name, (passages, questions) in sets.items():
        ways = [WordTokenizer(version=1), WordTokenizer()]
        language = name.split(".")[1]
        if language in STEMMERS:
            ways.append(WordTokenizer(STEMMERS[language]))
        cells = [quality(passages, questions, tokenizer) for tokenizer in ways] + [""] * (3 - len(ways))
        print(f"| {name} | {len(passages):,} | {len(questions):,} | {' | '.join(cells)} |", flush=True)
    if data:
        costs(*sets["hotpotqa.en"])


def squad(file: Path) -> Set:
    """The paragraphs of a set in SQuAD's form. XQuAD's titles are English in all languages: left out."""
    passages: list[Passage] = []
    questions = []
    for article in json.loads(file.read_bytes())["data"]:
        for paragraph in article["paragraphs"]:
            questions += [(asked["question"], {len(passages)}) for asked in paragraph["qas"]]
            title = "" if file.name.startswith("xquad") else article["title"]
            passages.append(Passage(str(len(passages)), title, paragraph["context"]))
    return passages, questions


def hotpotqa(data: Path) -> Set:
    """The dev questions, whose own passages are those of the gold titles."""
    passages = list(read_corpus([data / "corpus_hotpotqa.jsonl.gz"]))
    places = {passage.title: place for place, passage in enumerate(passages)}
    asked = rows(data / "hotpotqa_dev.jsonl.gz")
    return passages, [(row["question"], {places[title] for title in row["gold_titles"]}) for row in asked]


def scifact(data: Path) -> Set:
    """The test queries; all judgments are of grade 1."""
    passages = list(read_corpus([data / "scifact_corpus.jsonl.gz"]))
    places = {passage.id: place for place, passage in enumerate(passages)}
    texts = {row["_id"]: row["text"] for row in rows(data / "scifact_queries.jsonl.gz")}
    own: dict[str, set[int]] = {}
    for row in csv.DictReader((data / "scifact_qrels_test.tsv").open(newline=""), delimiter="\t"):
        own.setdefault(texts[row["query-id"]], set()).add(places[row["corpus-id"]])
    return passages, list(own.items())


def rows(file: Path) -> list[dict[str, Any]]:
    """All rows of a file of JSON lines."""
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def quality(passages: list[Passage], questions: list[tuple[str, set[int]]], tokenizer: WordTokenizer) -> str:
    """Mean recall@5 and nDCG@10."""
    postings, words = build_in_memory(passages, tokenizer)
    known = [(ids, own) for text, own in questions if (ids := tokenizer.known(text, words))]
    found, _scores = best_by_numpy(postings, [ids for ids, _own in known], K)
    discounts = 1 / np.log2(np.arange(K) + 2)
    recall = ndcg = 0.0
    for places, (_ids, own) in zip(found.tolist(), known, strict=True):
        right = np.array([place in own for place in places])
        recall += right[:5].sum() / len(own)
        ndcg += (right * discounts).sum() / discounts[: len(own)].sum()
    return f"{recall / len(questions):.3f}, {ndcg / len(questions):.3f}"


def costs(passages: list[Passage], questions: list[tuple[str, set[int]]]) -> None:
    """Prints processor time by version, in turns: of an index in memory, and of cutting a query into ids."""
    tokenizers = {version: WordTokenizer(version=version) for version in (1, 2)}
    built: dict[int, list[float]] = {1: [], 2: []}
    asked: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(ROUNDS):
        for version in (1, 2) if turn % 2 else (2, 1):
            tokenizer, began = tokenizers[version], time.process_time()
            _postings, words = build_in_memory(passages, tokenizer)
            built[version].append(time.process_time() - began)
            began = time.process_time()
            for text, _own in questions:
                tokenizer.known(text, words)
            asked[version].append((time.process_time() - began) / len(questions) * 1e6)
    for name, unit, times in (("build", "s", built), ("query", "us", asked)):
        ratio = statistics.median(new / old for old, new in zip(times[1], times[2], strict=True))
        medians = [f"{statistics.median(times[version]):.3g} {unit}" for version in (1, 2)]
        print(f"{name}: {medians[0]} by version 1, {medians[1]} by version 2, median ratio {ratio:.3f}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
