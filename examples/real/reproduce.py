"""Repeats a table of docs/results.md from a folder of the sets' files: indexes, gold trajectories, SFT, evaluations.

    python examples/real/reproduce.py hotpotqa-smollm2 --data FOLDER [--out runs/real]
    python examples/real/reproduce.py data --data FOLDER      all that is trained and searched, and no training

Every command is printed as it could be typed. What is finished is not done again, and what was interrupted goes on.
FOLDER holds corpus_hotpotqa, hotpotqa_train, hotpotqa_dev, corpus_2wiki_train, 2wiki_train, corpus_musique_train and
musique_train (.jsonl.gz): passages with title and text, questions with id, question, answers and gold_titles.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ragr1_lite.config import load_recipe
from ragr1_lite.evaluation import read_results
from ragr1_lite.evaluation.intervals import bootstrap

MODES = {"multi": "mq", "single": "sq"}
CORPORA = {"hotpotqa": "corpus_hotpotqa", "2wiki": "corpus_2wiki_train", "musique": "corpus_musique_train"}
NEEDED = (*CORPORA.values(), "hotpotqa_train", "hotpotqa_dev", "2wiki_train", "musique_train")
TESTED = {
    "hotpotqa": "hotpotqa-test-200",
    "hotpotqa-all": "hotpotqa-test",
    "2wiki": "2wiki-test",
    "musique": "musique-test",
}
RECIPES = {"smollm2": "sft-real-smollm2-135m", "qwen0.5b": "sft-real-qwen2.5-coder-0.5b"}
TABLES = [f"{tested}-{model}" for tested in TESTED for model in RECIPES]
K = 2
ONCE = 4
"""Passages that the one retrieval of `rag` and `cot-rag` gives: two for each of two queries, as `multi` reads about."""
HEAD = ("", "EM", "95 %", "F1", "answered", "rounds", "queries", "s/question")


def step(result: Path, *words: object) -> None:
    """Runs a command that makes a file or folder, unless it is there."""
    command = [str(word) for word in words]
    print(f"$ {shlex.join(command)}", flush=True)
    if result.exists():
        print(f"{result} is there.", flush=True)
        return
    program = {"ragr1-lite": ["-m", "ragr1_lite"], "python": []}[command[0]]
    if code := subprocess.run([sys.executable, *program, *command[1:]], check=False).returncode:
        sys.exit(code)


class Real:
    """The folder that everything goes to, made from the folder ``data``."""

    def __init__(self, data: Path, out: Path) -> None:
        self.data, self.out = data, out
        self.questions, self.indexes, self.gold = out / "questions", out / "indexes", out / "gold"

    def splits(self, result: Path, *words: object) -> None:
        """A command of splits.py."""
        step(result, "python", os.path.relpath(Path(__file__).with_name("splits.py")), *words)

    def prepare(self) -> None:
        """Question files and an index of each set."""
        self.splits(self.questions / "musique-test.jsonl", "questions", self.data, self.questions)
        for name, corpus in CORPORA.items():
            index = self.indexes / name
            step(index, "ragr1-lite", "index", "build", self.data / f"{corpus}.jsonl.gz", "--out", index)

    def trajectories(self, mode: str) -> Path:
        """Gold trajectories of all three sets' training questions."""
        files = [self.gold / f"{name}-{mode}.jsonl" for name in CORPORA]
        for name, file in zip(CORPORA, files, strict=True):
            asked = self.questions / f"{name}-train.jsonl"
            generate = ("ragr1-lite", "data", "generate", asked, "--teacher", "gold", "--mode", mode)
            step(file, *generate, "--k", K, "--index", self.indexes / name, "--out", file, "--resume")
        mixed = self.out / f"gold-{mode}.jsonl"
        self.splits(mixed, "mix", self.questions, mixed, *files)
        return mixed

    def more(self) -> None:
        """Questions made of 2WikiMultiHopQA's triples, R1-Searcher's trajectories, and one index of all passages."""
        made, mixed = self.gold / "2wiki-made.jsonl", self.out / "made.jsonl"
        facts = self.questions / "2wiki-train.jsonl"
        make = ("ragr1-lite", "data", "make-questions", self.indexes / "2wiki", "--facts", facts)
        step(made, *make, "--out", made, "--resume")
        self.splits(mixed, "mix", self.questions, mixed, made)
        theirs, ours = self.data / "trajectories_r1searcher_hotpotqa.jsonl.gz", self.out / "r1-searcher.jsonl"
        if theirs.exists():
            self.splits(ours, "mix", self.questions, ours, theirs)
        passages, index = self.out / "passages.jsonl", self.indexes / "all"
        self.splits(passages, "corpus", passages, *(self.data / f"{corpus}.jsonl.gz" for corpus in CORPORA.values()))
        step(index, "ragr1-lite", "index", "build", passages, "--out", index)

    def train(self, model: str, mode: str) -> Path:
        """An adapter, trained on the gold trajectories of a mode."""
        run = self.out / f"sft-{model}-{MODES[mode]}"
        begun = ["--resume"] if (run / "recipe.yaml").exists() else []
        settings = {"data.train": self.trajectories(mode), "rollout.mode": mode, "output": run}
        index = {"retrieval.index": self.indexes / "hotpotqa"}
        options = [word for key, value in (settings | index).items() for word in ("--set", f"{key}={value}")]
        step(run / "adapter", "ragr1-lite", "sft", RECIPES[model], *options, *begun)
        return run

    def evaluate(self, name: str, tested: str, k: int, *words: object, modes: tuple[str, ...]) -> list[Path]:
        """Evaluations of one model, a file for each mode."""
        out = self.out / "eval" / f"{name}.jsonl"
        files = [out.with_stem(f"{out.stem}-{mode}") if len(modes) > 1 else out for mode in modes]
        asked = [word for mode in modes for word in ("--mode", mode)]
        index = self.indexes / tested.partition("-")[0]
        data = ("--data", self.questions / f"{TESTED[tested]}.jsonl", "--index", index, "--k", k)
        step(files[-1], "ragr1-lite", "eval", *words, *data, *asked, "--out", out, "--resume")
        return files

    def table(self, name: str) -> None:
        """A table: the untrained model in four ways, and after SFT with several queries and with single ones."""
        tested, _, model = name.rpartition("-")
        base = ("--model", load_recipe(RECIPES[model]).model.name, "--adapter", "none")
        self.prepare()
        direct, multi = self.evaluate(f"{name}-base", tested, K, *base, modes=("direct", "multi"))
        rag, cot = self.evaluate(f"{name}-once", tested, ONCE, *base, modes=("rag", "cot-rag"))
        rows = {"direct": direct, "rag": rag, "cot-rag": cot, "multi, zero-shot": multi}
        for mode, label in MODES.items():
            run = self.train(model, mode)
            [rows[f"SFT {label}"]] = self.evaluate(f"{name}-{label}", tested, K, "--adapter", run, modes=(mode,))
        print(f"\n{name}\n\n{line(HEAD)}\n{line(['---'] * len(HEAD))}")
        for label, file in rows.items():
            print(line([label, *figures(file)]))


def figures(file: Path) -> list[str]:
    """The figures of an evaluation, in the order of HEAD."""
    results = read_results(file)
    em = bootstrap([one["em"] for one in results])
    answered = statistics.fmean(one["stop_reason"] == "answer" for one in results)
    keys = ("f1", "rounds", "queries", "seconds")
    f1, *costs = (statistics.fmean(one[key] for one in results) for key in keys)
    shares = [f"{em.mean:.3f}", f"{em.low:.3f}–{em.high:.3f}", f"{f1:.3f}", f"{answered:.2f}"]
    return shares + [f"{cost:.2f}" for cost in costs]


def line(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Repeats a table of docs/results.md.")
    parser.add_argument("table", choices=["data", *TABLES])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets' files")
    parser.add_argument("--out", type=Path, default=Path("runs/real"), help="where everything goes")
    given = parser.parse_args()
    if lacking := [name for name in NEEDED if not (given.data / f"{name}.jsonl.gz").is_file()]:
        parser.error(f"{given.data} has no {', '.join(f'{name}.jsonl.gz' for name in lacking)}")
    real = Real(given.data, given.out)
    if given.table != "data":
        real.table(given.table)
        return
    real.prepare()
    for mode in MODES:
        real.trajectories(mode)
    real.more()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
