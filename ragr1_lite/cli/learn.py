"""From a folder of documents to a model trained on them; every stage goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ragr1_lite.assistant import BARE, Setup, with_adapter
from ragr1_lite.cli.learn_folder import Learned, LearnFolder
from ragr1_lite.cli.learn_plan import MODEL, TRAINED, affordable, recipes, size_of, training_work, with_steps
from ragr1_lite.cli.time_left import GIVE_UP_AFTER, SAMPLED, TimeLeft
from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.data.questions import Question, read_questions, to_row
from ragr1_lite.data.trajectories import write_rows
from ragr1_lite.datagen.generate import generate
from ragr1_lite.datagen.questions import NothingKept, hold_out, make_questions
from ragr1_lite.evaluation import Evaluation
from ragr1_lite.evaluation import run as evaluate
from ragr1_lite.evaluation.report import write_report
from ragr1_lite.files.alone import alone
from ragr1_lite.models.adapter_folder import adapter_of
from ragr1_lite.retrieval import build_index, read_corpus, update_index

LEAST = 40
"""Questions to train on, below which nothing is trained: the shipped adapter then answers better."""
SHARE, MOST = 0.2, 60
"""Of the questions that are held out, and how many at most."""
BYTE = 3e-6
"""Seconds that a byte of documents takes in each of the first stages: a guess that the first one replaces."""

BEFORE, SFT, GRPO = "before", "SFT", "SFT + GRPO"
"""The evaluations."""
READING = ("index", "questions", "trajectories")
STAGES = (*READING[1:], f"eval {BEFORE}", "SFT", f"eval {SFT}", "GRPO", f"eval {GRPO}")
"""Those after the index, by the names under which they are timed."""


def run(
    documents: Path,
    *,
    out: Path | None = None,
    model: str | None = None,
    teacher: str | None = None,
    minutes: float | None = None,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    report: Report = ignore,
) -> Learned:
    """Goes the whole way in ``out``, or on from where it was stopped.

    With ``minutes`` SFT has as many steps as fit, and GRPO is left out where it does not; how many is decided once,
    by steps that are measured here. ``overrides`` change keys of both recipes.

    Raises:
        RagR1Error: Of any of the stages; or the minutes are not enough.
        KeyboardInterrupt: All that is finished is kept.
    """
    began = time.monotonic()
    model = model or MODEL
    given = {"model": model, "teacher": teacher, "set": list(overrides)}
    out = out or Path("runs") / f"learn-{documents.resolve().name}"
    deadline = None if minutes is None else began + 60 * minutes
    with alone(out):
        folder = LearnFolder.open(out, documents, given, overwrite=overwrite)
        return _Way(documents, folder, model, teacher, overrides, deadline, report).go()


class _Way:
    def __init__(
        self,
        documents: Path,
        folder: LearnFolder,
        model: str,
        teacher: str | None,
        overrides: Sequence[str],
        deadline: float | None,
        report: Report,
    ) -> None:
        self._documents, self._folder, self._model, self._teacher = documents, folder, model, teacher
        self._deadline, self._report = deadline, report
        self._first, self._second = recipes(folder, model, overrides)
        self._left = TimeLeft({}, report, size=None)

    def go(self) -> Learned:
        setup = Setup(model=self._model, index=str(self._folder.index), k=self._first.retrieval.k)
        stale = self._indexed()
        if too_few := self._material():
            return Learned(self._folder, setup, too_few=too_few)
        setups, rows = [setup], [self._evaluate(BEFORE, adapter_of(self._model), give_up_after=GIVE_UP_AFTER)]
        for label, recipe in zip((SFT, GRPO), self._decide(), strict=True):
            if recipe is None:
                break
            self._train(recipe)
            setups.append(replace(setup, adapter=str(recipe.output)))
            rows.append(self._evaluate(label, recipe.output / "adapter"))
        self._write_report()
        best = max(range(len(rows)), key=lambda at: (rows[at].figures()["em"], rows[at].figures()["f1"], at))
        if not best:
            self._report(Notice("The training did not help: what answered before answers best.", "warning"))
        return Learned(self._folder, setups[best], tuple(rows), stale)

    def _stage(self, name: str, work: Callable[[], Any]) -> Any:
        """Does a stage, and keeps how long it took: from then on it counts as finished."""
        seconds: dict[str, float] = dict(self._folder.known.get("seconds", {}))
        with self._left.stage(name, seconds, quick=name in READING):
            done = work()
        self._folder.keep(seconds=seconds)
        return done

    def _is_done(self, stage: str) -> bool:
        return stage in self._folder.known.get("seconds", ())

    def _announce(self, size: int) -> None:
        """What is going to be done, and how long that will take here."""
        first, second = self._planned()
        reading = {stage: {"read": float(size)} for stage in READING}
        work = reading | {f"eval {BEFORE}": {"sampled": float(MOST * SAMPLED)}} | training_work(first, second, MOST)
        if self._teacher:
            del work["questions"]
        to_do = {stage: some for stage, some in work.items() if any(some.values()) and not self._is_done(stage)}
        if not to_do:
            return
        by = "by rule" + (f" and by {self._teacher}, whose time is not counted here" if self._teacher else "")
        goes = f"SFT ({first.train.steps} steps)" + (f" and GRPO ({second.train.steps} steps)" if second else "")
        if self._deadline and "steps" not in self._folder.known:
            goes = "as much of SFT as there is time for, and GRPO after all of it"
        self._report(
            Notice(
                f"{self._model} learns {self._documents} in {self._folder.path}: an index, questions {by}, "
                f"trajectories, {goes}, the same held-out questions before and after each, a report. "
                "Ctrl-C stops it; the same command goes on."
            )
        )
        self._left = TimeLeft(to_do, self._report, size=size_of(self._model), guess={"read": BYTE})
        if not self._left.say():
            self._report(Notice("How long that takes is said as soon as it is measured here."))

    def _indexed(self) -> tuple[str, ...]:
        """Builds the index or brings it up to date, and says what that makes stale."""
        if not self._folder.index.exists():
            corpus = read_corpus([self._documents], self._report)
            self._announce(corpus.bytes_total or 0)
            self._stage("index", lambda: build_index(corpus, self._folder.index, report=self._report))
            return self._folder.stale(STAGES)
        update = update_index(self._folder.index, self._documents, self._report)
        stale = self._folder.stale(STAGES)
        if update.added or update.changed or update.removed:
            changes = f"{update.added} files added, {update.changed} changed, {update.removed} removed"
            self._report(Notice(f"The index was updated: {changes}."))
        if stale:
            made = f"{', '.join(stale)} were made of the documents as they were before"
            self._report(Notice(f"Stale: {made}. To make them anew: --overwrite.", "warning"))
        self._announce(update.info.bytes)
        return stale

    def _material(self) -> str:
        """Makes questions and trajectories; returns why they are too few, or nothing."""
        if not self._is_done("questions"):
            self._stage("questions", self._make_questions)
        if self._counts["train"] < LEAST:
            return self._too_few(self._counts["train"], self._counts["questions"])
        if not self._is_done("trajectories"):
            self._stage("trajectories", self._make_trajectories)
        kept = self._counts["trajectories"]["kept"]
        return self._too_few(kept, self._counts["trajectories"]) if kept < LEAST else ""

    def _make_questions(self) -> None:
        folder = self._folder
        parts: tuple[list[Question], list[Question]] = [], []
        out, index, k = folder.file("questions"), str(folder.index), self._first.retrieval.k
        try:
            made = make_questions(index, out=out, teacher=self._teacher, k=k, resume=True, report=self._report)
            parts = hold_out(read_questions(out), share=SHARE, most=MOST)
        except NothingKept as nothing:
            made = nothing.counts
        for name, part in zip(("train", "held-out"), parts, strict=True):
            write_rows(folder.file(name), map(to_row, part))
            self._counts[name] = len(part)
        self._counts["questions"] = made

    def _make_trajectories(self) -> None:
        folder = self._folder
        gold = Setup(model="gold", index=str(folder.index), k=self._first.retrieval.k, mode=self._first.rollout.mode)
        asked, out = folder.file("train"), folder.file("trajectories")
        self._counts["trajectories"] = generate(asked, gold, out=out, resume=True, report=self._report)

    def _too_few(self, left: int, counts: Mapping[str, Any]) -> str:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts["rejected"].items())
        helps = "More documents would help, or facts as `Key: value` lines and tables"
        if not self._teacher:
            helps += ", or a teacher, who makes questions of prose: --teacher MODEL or URL"
        return (
            f"Nothing was trained: {left} questions are left to train on, next to {self._counts['held-out']} held out, "
            f"and {LEAST} are the least. Of {counts['questions']:,} questions {counts['kept']:,} were kept"
            + (f"; rejected: {reasons}. " if reasons else ". ")
            + f"{helps}. The index is built, and the model as it is answers from it."
        )

    @property
    def _counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = self._folder.known.setdefault("counts", {})
        return counts

    def _planned(self) -> tuple[Recipe, Recipe | None]:
        """The recipes with the steps that were decided, else with their own; no second one where it is left out."""
        steps = self._folder.known.get("steps", {})
        first = with_steps(self._first, steps.get("SFT", self._first.train.steps))
        more = steps.get("GRPO", self._second.train.steps)
        return first, with_steps(self._second, more) if more else None

    def _decide(self) -> tuple[Recipe, Recipe | None]:
        """The same, once their steps are decided."""
        if "steps" not in self._folder.known:
            own = {"SFT": self._first.train.steps, "GRPO": self._second.train.steps}
            self._folder.keep(steps=self._affordable(self._deadline) if self._deadline else own)
        first, second = self._planned()
        for stage, work in training_work(first, second, self._counts["held-out"]).items():
            self._left.expect(stage, **work)
        return first, second

    def _affordable(self, deadline: float) -> dict[str, int]:
        """Steps for the time there is, by two that are taken for it."""
        if "seconds_per_trajectory" not in self._folder.known:
            from ragr1_lite.training.planning import probe

            measured = probe(self._first, TRAINED, self._report)
            self._folder.keep(seconds_per_trajectory=measured.train_seconds / measured.trained)
        row = float(self._folder.known["seconds_per_trajectory"])
        self._left.learn("trained", TRAINED, row)
        return affordable(
            self._first,
            self._second,
            deadline - time.monotonic(),
            row=row,
            token=self._folder.known.get("seconds_per_token", 0.0),
            questions=self._counts["held-out"],
            report=self._report,
        )

    def _train(self, recipe: Recipe) -> None:
        """Trains, or goes on, or does nothing where the adapter is there."""
        name = recipe.task.upper()
        if self._is_done(name) and (recipe.output / "adapter").is_dir():
            return
        trainer = import_module(f"ragr1_lite.training.{recipe.task}")  # torch and TRL take seconds
        begun = (recipe.output / "recipe.yaml").exists()
        self._stage(name, lambda: trainer.train(recipe, resume=begun, report=self._left))

    def _evaluate(self, label: str, adapter: Path | None, give_up_after: int | None = None) -> Evaluation:
        """Answers the held-out questions as SFT's recipe has it, or reads what was answered."""
        recipe = with_adapter(self._first, str(adapter or BARE))

        def ask() -> Evaluation:
            out = self._folder.file({BEFORE: "before", SFT: "sft", GRPO: "grpo"}[label])
            held = str(self._folder.file("held-out"))
            (one,) = evaluate(recipe, data=held, give_up_after=give_up_after, out=out, resume=True, report=self._report)
            return replace(one, label=label)

        stage = f"eval {label}"
        if self._is_done(stage):
            return ask()
        done: Evaluation = self._stage(stage, ask)
        if done.resources:
            tokens = max(1, sum(one.sampled_tokens for one in done.trajectories))
            self._folder.keep(seconds_per_token=done.resources.seconds / tokens)
            if not done.given_up:  # few rows at once are slower than many
                self._left.learn_from(done)
        return done

    def _write_report(self) -> None:
        """The page, and the tables as Markdown; without the packages for them a notice says which."""
        files = [self._folder.file(name) for name in ("before", "sft", "grpo")]
        runs = [path for path in (self._folder.sft, self._folder.grpo, *files) if path.exists()]
        try:
            for form in ("html", "md"):
                title = f"Learning {self._documents.resolve().name}"
                write_report(runs, self._folder.path / f"report.{form}", format=form, title=title, report=self._report)
        except ConfigError as error:
            self._report(Notice(str(error), "warning"))
