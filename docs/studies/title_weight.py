"""How often a passage's title should be counted in the indexed text: `python docs/studies/title_weight.py DATA`.

DATA holds `hotpotqa_train`, `2wiki_train` and `musique_train` with `corpus_hotpotqa`, `corpus_2wiki_train` and
`corpus_musique_train`, each a .jsonl.gz. Prints the tables of title_weight.md.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from ragr1_lite.data.questions import read_questions
from ragr1_lite.evaluation.ceiling import gold_queries
from ragr1_lite.retrieval import Bm25Searcher, read_corpus

SETS = {
    "HotpotQA": ("hotpotqa_train", "corpus_hotpotqa"),
    "2WikiMultiHopQA": ("2wiki_train", "corpus_2wiki_train"),
    "MuSiQue": ("musique_train", "corpus_musique_train"),
}
WEIGHTS, BASE = (0, 1, 2, 3, 4, 5), 1
WAYS = {"question, k 5": 5, "question, k 3": 3, "gold queries, k 3": 3}
RESAMPLES = 10_000

Recalls = dict[str, dict[int, np.ndarray[Any, Any]]]


def main(folder: Path) -> None:
    """Prints each set's recalls by weight and the paired tests against a weight of 1."""
    recalls = {name: recalls_of(folder, *files) for name, files in SETS.items()}
    for way in WAYS:
        print(f"\n**{way}**\n\n| set (questions) | {' | '.join(f'{weight}' for weight in WEIGHTS)} |")
        print("|---" * (len(WEIGHTS) + 1) + "|")
        for name, by_way in recalls.items():
            cells = [f"{by_way[way][weight].mean():.3f}" for weight in WEIGHTS]
            print(f"| {name} ({len(by_way[way][BASE])}) | {' | '.join(cells)} |")
        tests([by_way[way] for by_way in recalls.values()])


def recalls_of(folder: Path, questions: str, corpus: str) -> Recalls:
    """Share of each question's gold titles among the passages found, by way of searching and weight."""
    read = read_questions(folder / f"{questions}.jsonl.gz")
    passages = list(read_corpus([folder / f"{corpus}.jsonl.gz"]))
    titles = [set(question.titles) for question in read]
    asked: dict[str, list[tuple[str, ...]]] = {
        "question": [(question.example.question,) for question in read],
        "gold queries": [gold_queries(question) for question in read],
    }
    recalls: Recalls = {way: {} for way in WAYS}
    for weight in WEIGHTS:
        searcher = Bm25Searcher.from_passages(passages, title_weight=weight)
        for way, k in WAYS.items():
            queries = asked[way.partition(",")[0]]
            found = iter(searcher.search([query for some in queries for query in some], k))
            named = [{passage.title for _ in some for passage in next(found)} for some in queries]
            recalls[way][weight] = np.array(
                [len(gold & got) / len(gold) for gold, got in zip(titles, named, strict=True)]
            )
    return recalls


def tests(sets: list[dict[int, np.ndarray[Any, Any]]]) -> None:
    """Prints differences to a weight of 1: paired bootstrap interval, paired sign-flip p; the last line's are means."""
    rng = np.random.default_rng(0)
    print(f"\nagainst a weight of {BASE}, with 95 % interval and p:\n\n| set | {' | '.join(map(str, WEIGHTS))} |")
    print("|---" * (len(WEIGHTS) + 1) + "|")
    cells: dict[str, list[str]] = {name: [] for name in (*SETS, "mean of the sets")}
    for weight in WEIGHTS:
        drawn, flipped, means = [], [], []
        for by_weight in sets:
            gains = by_weight[weight] - by_weight[BASE]
            values, counts = np.unique(gains, return_counts=True)
            drawn.append(rng.multinomial(len(gains), counts / len(gains), RESAMPLES) @ values / len(gains))
            flips = [2 * rng.binomial(count, 0.5, RESAMPLES) - count for count in counts]
            flipped.append(np.stack(flips, axis=1) @ values / len(gains))
            means.append(gains.mean())
        rows = [*zip(drawn, flipped, means, strict=True)]
        rows.append((np.mean(drawn, axis=0), np.mean(flipped, axis=0), np.mean(means)))
        for name, (resampled, null, mean) in zip(cells, rows, strict=True):
            low, high = np.quantile(resampled, (0.025, 0.975))
            p = (1 + (np.abs(null) >= abs(mean) - 1e-12).sum()) / (1 + RESAMPLES)
            cells[name].append("–" if weight == BASE else f"{mean:+.3f} ({low:+.3f} to {high:+.3f}), p {p:.4f}")
    for name, texts in cells.items():
        print(f"| {name} | {' | '.join(texts)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
