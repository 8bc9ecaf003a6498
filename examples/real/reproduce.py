"""Repeats a table of docs/results.md from a folder of the sets' files: indexes, gold trajectories, SFT, evaluations.

    python examples/real/reproduce.py hotpotqa-smollm2 --data FOLDER [--out runs/real]
    python examples/real/reproduce.py data --data FOLDER      all that is trained and searched, and no training
    python examples/real/reproduce.py adapter --data FOLDER   the adapter for people's own pages
    python examples/real/reproduce.py grpo --data FOLDER      SmolLM2 after a short SFT, and after GRPO on comparisons

Every command is printed as it could be typed. What is finished is not done again, and what was interrupted goes on.
FOLDER holds corpus_hotpotqa, hotpotqa_train, hotpotqa_dev, corpus_2wiki_train, 2wiki_train, corpus_musique_train and
musique_train (.jsonl.gz): passages with title and text, questions with id, question, answers and gold_titles. For
`adapter` it holds factbook_facts.json too: the area, capital, highest point and population of countries, as text.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from ragr1_lite.config import load_recipe

MODES = {"multi": "mq", "single": "sq"}
CORPORA = {"hotpotqa": "corpus_hotpotqa", "2wiki": "corpus_2wiki_train", "musique": "corpus_musique_train"}
NEEDED = (*CORPORA.values(), "hotpotqa_train", "hotpotqa_dev", "2wiki_train", "musique_train")
FACTS = "factbook_facts.json"
TESTED = {
    "hotpotqa": "hotpotqa-test-200",
    "hotpotqa-all": "hotpotqa-test",
    "2wiki": "2wiki-test",
    "musique": "musique-test",
}
RECIPES = {"smollm2": "sft-real-smollm2-135m", "qwen0.5b": "sft-real-qwen2.5-coder-0.5b"}
TABLES = [f"{tested}-{model}" for tested in TESTED for model in RECIPES]
K = 2
THEN = {
    "train.steps": 80,
    "train.micro_batch": 4,
    "train.learning_rate": 5e-4,
    "train.warmup_steps": 3,
    "train.save_every": 8,
}
"""How the adapter for pages goes on after the sets, and once more, with more steps, to compare."""
GRPO = "grpo-real-smollm2-135m"
SHORT = {
    "retrieval.k": 1,
    "rollout.max_length": 1024,
    "train.steps": 64,
    "train.micro_batch": 4,
    "train.learning_rate": 8e-4,
    "train.save_every": 16,
}
"""The SFT that GRPO starts from: one passage a query, and a third of the trajectories once."""
COMPARISONS = {"hotpotqa-all": ("comparison",), "2wiki": ("comparison", "bridge_comparison")}
"""The held-out questions that are asked before and after GRPO, by kind."""
ONCE = 4
"""Passages that the one retrieval of `rag` and `cot-rag` gives: two for each of two queries, as `multi` reads about."""


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
        self.script("splits.py", result, *words)

    def script(self, name: str, result: Path, *words: object) -> None:
        """A command of a script beside this one."""
        step(result, "python", os.path.relpath(Path(__file__).with_name(name)), *words)

    def index(self, index: Path, passages: Path) -> Path:
        """An index of passages or pages."""
        step(index, "ragr1-lite", "index", "build", passages, "--out", index)
        return index

    def prepare(self) -> None:
        """Question files and an index of each set."""
        self.splits(self.questions / "musique-test.jsonl", "questions", self.data, self.questions)
        for name, corpus in CORPORA.items():
            self.index(self.indexes / name, self.data / f"{corpus}.jsonl.gz")

    def trajectories(self, mode: str, k: int = K) -> Path:
        """Gold trajectories of all three sets' training questions."""
        kind = mode if k == K else f"{mode}-k{k}"
        files = [self.gold / f"{name}-{kind}.jsonl" for name in CORPORA]
        for name, file in zip(CORPORA, files, strict=True):
            self.follow(self.questions / f"{name}-train.jsonl", self.indexes / name, file, mode, k)
        mixed = self.out / f"gold-{kind}.jsonl"
        self.splits(mixed, "mix", self.questions, mixed, *files)
        return mixed

    def follow(self, asked: Path, index: Path, file: Path, mode: str = "multi", k: int = K) -> None:
        """Gold trajectories of questions."""
        generate = ("ragr1-lite", "data", "generate", asked, "--teacher", "gold", "--mode", mode)
        step(file, *generate, "--k", k, "--index", index, "--out", file, "--resume")

    def made(self) -> Path:
        """Questions made of 2WikiMultiHopQA's triples."""
        made, facts = self.gold / "2wiki-made.jsonl", self.questions / "2wiki-train.jsonl"
        make = ("ragr1-lite", "data", "make-questions", self.indexes / "2wiki", "--facts", facts, "--k", K)
        step(made, *make, "--out", made, "--resume")
        return made

    def pages(self) -> Path:
        """Trajectories about pages of several passages; half of them search again for what they found."""
        asked, pages, gold = self.questions, self.out / "pages", self.gold / "pages"
        countries, index = pages / "countries", self.index
        self.script("pages.py", asked / "2wiki-some.jsonl", "questions", self.data, asked, self.made())
        self.script("pages.py", countries, "countries", self.data / FACTS, countries)
        of = {"countries": index(self.indexes / "pages-countries", countries)}
        for name, corpus in CORPORA.items():
            passages = pages / f"{name}.jsonl"
            self.script("pages.py", passages, "cut", self.data / f"{corpus}.jsonl.gz", passages)
            of[name] = index(self.indexes / f"pages-{name}", passages)
        facts = pages / "countries.jsonl"
        make = ("ragr1-lite", "data", "make-questions", of["countries"], "--k", K)
        step(facts, *make, "--out", facts, "--resume")
        for name in CORPORA:
            self.follow(asked / f"{name}-train.jsonl", of[name], gold / f"{name}.jsonl")
        self.follow(asked / "2wiki-some.jsonl", of["2wiki"], gold / "2wiki-some.jsonl")
        self.follow(asked / "musique-parts.jsonl", of["musique"], gold / "musique-parts.jsonl")
        self.follow(facts, of["countries"], gold / "countries.jsonl")
        drawn, mixed = pages / "drawn.jsonl", self.out / "gold-pages.jsonl"
        self.script("pages.py", drawn, "mix", gold, drawn)
        self.splits(mixed, "mix", asked, mixed, drawn)
        return mixed

    def compared(self) -> Path:
        """Trajectories half of which are comparisons, of the sets, pages and made questions."""
        made, drawn = self.gold / "2wiki-made-multi.jsonl", self.out / "compared.jsonl"
        self.follow(self.made_apart(), self.indexes / "2wiki", made)
        files = (self.out / "gold-multi.jsonl", self.out / "gold-pages.jsonl", made)
        self.script("pages.py", drawn, "compared", *files, drawn)
        return drawn

    def made_apart(self) -> Path:
        """The made questions that do not leak."""
        mixed = self.out / "made.jsonl"
        self.splits(mixed, "mix", self.questions, mixed, self.made())
        return mixed

    def more(self) -> None:
        """Questions made of 2WikiMultiHopQA's triples, R1-Searcher's trajectories, and one index of all passages."""
        self.made_apart()
        theirs, ours = self.data / "trajectories_r1searcher_hotpotqa.jsonl.gz", self.out / "r1-searcher.jsonl"
        if theirs.exists():
            self.splits(ours, "mix", self.questions, ours, theirs)
        passages, index = self.out / "passages.jsonl", self.indexes / "all"
        self.splits(passages, "corpus", passages, *(self.data / f"{corpus}.jsonl.gz" for corpus in CORPORA.values()))
        self.index(index, passages)

    def train(self, model: str, mode: str, **settings: object) -> Path:
        """An adapter, trained on the gold trajectories of a mode."""
        trained = {"data.train": self.trajectories(mode), "rollout.mode": mode, **settings}
        return self.sft(self.out / f"sft-{model}-{MODES[mode]}", model, trained)

    def sft(self, run: Path, model: str, settings: dict[str, object]) -> Path:
        """An SFT run of a model's recipe with settings."""
        return self.run("sft", RECIPES[model], run, settings)

    def run(self, stage: str, recipe: str, run: Path, settings: dict[str, object]) -> Path:
        """A training by a recipe with settings."""
        begun = ["--resume"] if (run / "recipe.yaml").exists() else []
        settings = settings | {"output": run, "retrieval.index": self.indexes / "hotpotqa"}
        options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        step(run / "adapter", "ragr1-lite", stage, recipe, *options, *begun)
        return run

    def adapter(self) -> None:
        """The adapter for people's own pages: trained on the sets, and then on pages."""
        model = "qwen0.5b"
        sets = self.train(model, "multi", **{"train.micro_batch": 4})
        about = {"model.adapter": sets, "data.train": self.pages(), **THEN}
        pages = self.sft(self.out / f"sft-{model}-pages", model, about)
        compared = {"model.adapter": pages, "data.train": self.compared(), **THEN, "train.steps": 120}
        self.sft(self.out / f"sft-{model}-adapter", model, compared)

    def grpo(self) -> None:
        """SmolLM2 after a short SFT, and after GRPO on comparisons from there."""
        name, mode, compared = "grpo-smollm2", "multi", self.out / "comparisons.jsonl"
        start = self.sft(self.out / f"{name}-start", "smollm2", {"data.train": self.trajectories(mode, 1), **SHORT})
        self.splits(compared, "comparisons", compared, self.gold / "hotpotqa-multi-k1.jsonl")
        after = self.run("grpo", GRPO, self.out / name, {"model.adapter": start, "data.train": compared})
        for tested, kinds in COMPARISONS.items():
            asked = [word for kind in kinds for word in ("--kind", kind)]
            rows = [
                self.evaluate(f"{run.name}-{tested}", tested, 1, "--adapter", run, *asked, modes=(mode,))[0]
                for run in (start, after)
            ]
            self.report(f"{name}-{tested}", rows)

    def report(self, name: str, rows: list[Path]) -> None:
        """The evaluations as a table, printed, and as a page."""
        for form in ("html", "md"):
            report = self.out / f"{name}.{form}"
            step(report, "ragr1-lite", "report", *rows, "--format", form, "--title", name, "-o", report)
        print(f"\n{report.read_text('utf-8')}")

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
        """A table: the untrained model in four ways, and after SFT with single queries and with several."""
        tested, _, model = name.rpartition("-")
        base = ("--model", load_recipe(RECIPES[model]).model.name, "--adapter", "none")
        self.prepare()
        direct, multi = self.evaluate(f"{name}-base", tested, K, *base, modes=("direct", "multi"))
        rag, cot = self.evaluate(f"{name}-once", tested, ONCE, *base, modes=("rag", "cot-rag"))
        rows = [direct, rag, cot, multi]
        for mode in reversed(MODES):
            run = self.train(model, mode)
            rows += self.evaluate(f"{name}-{MODES[mode]}", tested, K, "--adapter", run, modes=(mode,))
        self.report(name, rows)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Repeats a table of docs/results.md.")
    parser.add_argument("table", choices=["data", "adapter", "grpo", *TABLES])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets' files")
    parser.add_argument("--out", type=Path, default=Path("runs/real"), help="where everything goes")
    given = parser.parse_args()
    if lacking := [name for name in NEEDED if not (given.data / f"{name}.jsonl.gz").is_file()]:
        parser.error(f"{given.data} has no {', '.join(f'{name}.jsonl.gz' for name in lacking)}")
    if given.table == "adapter" and not (given.data / FACTS).is_file():
        parser.error(f"{given.data} has no {FACTS}")
    real = Real(given.data, given.out)
    if given.table in TABLES:
        real.table(given.table)
        return
    real.prepare()
    if given.table in ("adapter", "grpo"):
        getattr(real, given.table)()
        return
    for mode in MODES:
        real.trajectories(mode)
    real.more()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
