"""From a folder of documents to a model trained on them; every stage goes on where it was stopped."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ragr1_lite.assistant import Setup
from ragr1_lite.cli.learn_folder import LearnFolder
from ragr1_lite.cli.learn_plan import MODEL, TRAINED, affordable, recipes, size_of, training_work, with_steps
from ragr1_lite.cli.time_left import GIVE_UP_AFTER, SAMPLED, TimeLeft
from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.data.questions import read_questions, to_row
from ragr1_lite.data.trajectories import write_rows
from ragr1_lite.datagen.generate import generate
from ragr1_lite.datagen.questions import NothingKept, hold_out, make_questions
from ragr1_lite.evaluation import Evaluation
from ragr1_lite.evaluation import run as evaluate
from ragr1_lite.evaluation.report import write_report
from ragr1_lite.retrieval import build_index, read_corpus, update_index

LEAST = 60
"""Questions to train on, below which nothing is trained: the shipped adapter then answers better."""
SHARE, MOST = 0.2, 60
"""Of the questions that are held out, and how many at most."""
BYTE = 3e-6
"""Seconds that a byte of documents takes in each of the first stages: a guess that the first one replaces."""

BEFORE, SFT, GRPO = "before", "SFT", "SFT + GRPO"
"""The evaluations."""
STAGES = ("questions", "trajectories", f"eval {BEFORE}", "SFT", f"eval {SFT}", "GRPO", f"eval {GRPO}")
"""Those after the index, by the names under which they are timed."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of it.

    Attributes:
        folder: Where everything is.
        setup: Who answers: what answered the held-out questions best, or without a training the shipped adapter.
        evaluations: Of the same questions before, after SFT and after GRPO; none where nothing was trained.
        stale: The stages that are of other documents than the index.
        too_few: Why nothing was trained, and what would help; empty where something was.
    """

    folder: LearnFolder
    setup: Setup
    evaluations: tuple[Evaluation, ...] = ()
    stale: tuple[str, ...] = ()
    too_few: str = ""

    @property
    def command(self) -> str:
        """What opens the prompt."""
        given = {"model": self.setup.model, "adapter": self.setup.adapter, "index": self.setup.index, "k": self.setup.k}
        if self.setup.adapter:  # whose run knows the others
            given |= {"model": None, "k": None}
        return shlex.join(
            ["ragr1-lite", "ask", *(word for name in given if given[name] for word in (f"--{name}", str(given[name])))]
        )

    def to_json(self) -> dict[str, Any]:
        """``{"run", "index", "counts", "rows": {label: figures as of eval}, "adapter", …}``."""
        return {
            "run": str(self.folder.path),
            "index": str(self.folder.index),
            "counts": self.folder.known["counts"],
            "enough": not self.too_few,
            "rows": {one.label: one.to_json() for one in self.evaluations},
            "model": self.setup.model,
            "adapter": self.setup.adapter,
            "ask": self.command,
            "stale": list(self.stale),
            "seconds": {stage: round(seconds, 1) for stage, seconds in self.folder.known["seconds"].items()},
        }


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
    folder = LearnFolder.open(out, documents, given, overwrite=overwrite)
    deadline = None if minutes is None else began + 60 * minutes
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
        self._counts = folder.known.setdefault("counts", {})
        self._left = TimeLeft({}, report, size=None)

    def go(self) -> Learned:
        bare = Setup(model=self._model, index=str(self._folder.index), k=self._first.retrieval.k)
        new = not self._folder.index.exists()
        corpus = read_corpus([self._documents], self._report) if new else None
        self._announce(corpus.bytes_total or 0 if corpus else 0)
        if corpus:
            self._stage("index", lambda: build_index(corpus, self._folder.index, report=self._report))
            stale = self._folder.stale(STAGES)
        else:
            stale = self._update()
        if too_few := self._material():
            return Learned(self._folder, bare, too_few=too_few)
        rows = [self._evaluate(BEFORE, bare, give_up_after=GIVE_UP_AFTER)]
        setups = [bare]
        for label, recipe in zip((SFT, GRPO), self._decide(), strict=True):
            if recipe is None:
                break
            self._train(recipe)
            setups.append(Setup(model=self._model, adapter=str(recipe.output), index=bare.index))
            rows.append(self._evaluate(label, setups[-1]))
        self._write_report()
        best = max(range(len(rows)), key=lambda at: (rows[at].figures()["em"], rows[at].figures()["f1"], at))
        if not best:
            self._report(Notice("The training did not help: what answered before answers best.", "warning"))
        return Learned(self._folder, setups[best], tuple(rows), stale)

    def _stage(self, name: str, work: Callable[[], Any]) -> Any:
        """Does a stage, and keeps how long it took: from then on it counts as finished."""
        seconds: dict[str, float] = dict(self._folder.known.get("seconds", {}))
        with self._left.stage(name, seconds):
            done = work()
        self._folder.keep(seconds=seconds)
        return done

    def _is_done(self, stage: str) -> bool:
        return stage in self._folder.known.get("seconds", ())

    def _announce(self, size: int) -> None:
        """What is going to be done, and how long that will take here."""
        first, second = self._planned()
        reading = {stage: {"read": float(size)} for stage in ("index", "questions", "trajectories")}
        work = reading | {f"eval {BEFORE}": {"sampled": float(MOST * SAMPLED)}} | training_work(first, second, MOST)
        if self._teacher:
            del work["questions"]
        to_do = {stage: some for stage, some in work.items() if any(some.values()) and not self._is_done(stage)}
        if not to_do:
            return
        by = f"written by {self._teacher}, whose time is not counted here" if self._teacher else "by rule"
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

    def _update(self) -> tuple[str, ...]:
        """Brings the index up to date, and says what that makes stale."""
        update = update_index(self._folder.index, self._documents, self._report)
        stale = self._folder.stale(STAGES)
        self._counts = self._folder.known.setdefault("counts", {})
        if update.added or update.changed or update.removed:
            changes = f"{update.added} files added, {update.changed} changed, {update.removed} removed"
            self._report(Notice(f"The index was updated: {changes}."))
        if stale:
            made = f"{', '.join(stale)} were made of the documents as they were before"
            self._report(Notice(f"Stale: {made}. To make them anew: --overwrite.", "warning"))
        return stale

    def _material(self) -> str:
        """Makes questions and trajectories; returns why they are too few, or nothing."""
        questions, train, held = (self._folder.file(name) for name in ("questions", "train", "held-out"))
        index, k = str(self._folder.index), self._first.retrieval.k

        def ask() -> None:
            try:
                made = make_questions(
                    index, out=questions, teacher=self._teacher, k=k, resume=True, report=self._report
                )
            except NothingKept as nothing:
                self._counts["questions"] = nothing.counts
                return
            self._counts["questions"] = made
            parts = hold_out(read_questions(questions, report=self._report), share=SHARE, most=MOST)
            for path, part in zip((train, held), parts, strict=True):
                write_rows(path, map(to_row, part))
            self._counts["train"], self._counts["held-out"] = map(len, parts)

        def replay() -> None:
            gold = Setup(model="gold", index=index, k=k, mode=self._first.rollout.mode)
            out = self._folder.file("trajectories")
            self._counts["trajectories"] = generate([train], gold, out=out, resume=True, report=self._report)

        if not self._is_done("questions"):
            self._stage("questions", ask)
        if self._counts.get("train", 0) < LEAST:
            return self._too_few("train", "questions")
        if not self._is_done("trajectories"):
            self._stage("trajectories", replay)
        kept = self._counts["trajectories"]["kept"]
        return self._too_few("trajectories", "trajectories") if kept < LEAST else ""

    def _too_few(self, what: str, of: str) -> str:
        counts = self._counts.get(of, {})
        left = counts.get("kept", 0) if what == of else self._counts.get(what, 0)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.get("rejected", {}).items())
        made = f"{counts.get('questions', 0):,} made, {counts.get('kept', 0):,} kept"
        helps = "More documents or facts in lines `Key: value` and tables"
        helps += (
            " would help."
            if self._teacher
            else " would help, or a teacher, who makes questions of prose: --teacher MODEL or URL."
        )
        why = f" ({reasons})" if reasons else ""
        return f"{left} {of} are left to train on, and fewer than {LEAST} teach too little: {made}{why}. {helps}"

    def _planned(self) -> tuple[Recipe, Recipe | None]:
        """The recipes with the steps that were decided, else with their own; no second one where it is left out."""
        steps = self._folder.known.get("steps", {})
        first = with_steps(self._first, steps.get("SFT", self._first.train.steps))
        more = steps.get("GRPO", self._second.train.steps)
        return first, with_steps(self._second, more) if more else None

    def _decide(self) -> tuple[Recipe, Recipe | None]:
        """The same, once it was decided by two steps that are taken for it, where there is a time to keep to."""
        if self._deadline and "steps" not in self._folder.known:
            from ragr1_lite.training.planning import probe

            measured = probe(self._first, TRAINED, self._report)
            self._left.learn("trained", measured.trained * TRAINED, measured.train_seconds)
            steps = affordable(
                self._first,
                self._second,
                self._deadline - time.monotonic(),
                row=measured.train_seconds / measured.trained,
                token=self._folder.known.get("seconds_per_token", 0.0),
                questions=self._counts["held-out"],
                report=self._report,
            )
            self._folder.keep(steps=steps)
        first, second = self._planned()
        for stage, work in training_work(first, second, self._counts["held-out"]).items():
            self._left.expect(stage, **work)
        return first, second

    def _train(self, recipe: Recipe) -> None:
        """Trains, or goes on, or does nothing where the adapter is there."""
        name = recipe.task.upper()
        if self._is_done(name) and (recipe.output / "adapter").is_dir():
            return
        trainer = import_module(f"ragr1_lite.training.{recipe.task}")  # torch and TRL take seconds
        begun = (recipe.output / "recipe.yaml").exists()
        self._stage(name, lambda: trainer.train(recipe, resume=begun, report=self._left))

    def _evaluate(self, label: str, setup: Setup, give_up_after: int | None = None) -> Evaluation:
        """Answers the held-out questions, or reads what was answered."""

        def ask() -> Evaluation:
            out = self._folder.file({BEFORE: "before", SFT: "sft", GRPO: "grpo"}[label])
            held = str(self._folder.file("held-out"))
            (one,) = evaluate(setup, data=held, give_up_after=give_up_after, out=out, resume=True, report=self._report)
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
