"""Search in languages other than English, by both tokenizers: `python docs/studies/languages.py FOLDER`.

FOLDER holds question sets in SQuAD's form, each NAME.LANGUAGE.json (xquad.zh.json). A question should find its own
paragraph among all of its set. Prints the table of docs/retrieval.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.bm25.build import build_in_memory
from ragr1_lite.retrieval.bm25.postings import best_by_numpy
from ragr1_lite.retrieval.bm25.tokenizer import WordTokenizer

STEMMERS = {
    "ar": "arabic", "de": "german", "el": "greek", "es": "spanish", "hi": "hindi", "ro": "romanian", "ru": "russian",
    "tr": "turkish",
}  # fmt: skip
K = 10


def main(folder: Path) -> None:
    """Prints recall@5 and nDCG@10 of every set: by version 1, by version 2, and by its language's stemmer."""
    print("| set | paragraphs | questions | first: recall@5, nDCG@10 | today | its stemmer |")
    print("|---" * 6 + "|")
    for file in sorted(folder.glob("*.*.json")):
        passages, questions = read(file)
        ways = [WordTokenizer(version=1), WordTokenizer()]
        language = file.name.split(".")[1]
        if language in STEMMERS:
            ways.append(WordTokenizer(STEMMERS[language]))
        cells = [quality(passages, questions, tokenizer) for tokenizer in ways] + [""] * (3 - len(ways))
        print(f"| {file.stem} | {len(passages):,} | {len(questions):,} | {' | '.join(cells)} |", flush=True)


def read(file: Path) -> tuple[list[Passage], list[tuple[str, int]]]:
    """A set's paragraphs, and its questions with their paragraph's place. XQuAD's titles are English: left out."""
    passages, questions = [], []
    for article in json.loads(file.read_bytes())["data"]:
        for paragraph in article["paragraphs"]:
            questions += [(asked["question"], len(passages)) for asked in paragraph["qas"]]
            title = "" if file.name.startswith("xquad") else article["title"]
            passages.append(Passage(str(len(passages)), title, paragraph["context"]))
    return passages, questions


def quality(passages: list[Passage], questions: list[tuple[str, int]], tokenizer: WordTokenizer) -> str:
    """Mean recall@5 and nDCG@10; each question has one right paragraph."""
    postings, words = build_in_memory(passages, tokenizer)
    known = [(ids, place) for text, place in questions if (ids := tokenizer.known(text, words))]
    found, _scores = best_by_numpy(postings, [ids for ids, _place in known], K)
    right = found == np.array([place for _ids, place in known])[:, None]
    recall = right[:, :5].sum() / len(questions)
    ndcg = (right / np.log2(np.arange(K) + 2)).sum() / len(questions)
    return f"{recall:.3f}, {ndcg:.3f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
