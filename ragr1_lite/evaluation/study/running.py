"""Runs a study: all arms on the same questions, by turns, and says how they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ragr1_lite.assistant import BARE, Assistant, starting_point, with_adapter
from ragr1_lite.config import Recipe, load_recipe
from ragr1_lite.core.errors import ConfigError, DataError, RagR1Error
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.types import Example, Searcher
from ragr1_lite.data.sets import load_examples
from ragr1_lite.data.trajectories import write_rows
from ragr1_lite.evaluation import Arm, Evaluation, evaluate_arms, to_row
from ragr1_lite.evaluation.intervals import Difference, paired
from ragr1_lite.evaluation.study.designs import Design, Variant
from ragr1_lite.files.journal import Journal

COSTS = ("rounds", "queries", "seconds_per_question")


@dataclass(frozen=True, slots=True)
class Row:
    """What became of an arm.

    Attributes:
        label: Its name.
        evaluation: Its results; ``None`` where it could not be run.
        problem: Why not.
        em: How its exact match differs from the first arm's, question by question; ``None`` for that one itself.
        saved: By what share each of :data:`COSTS` is lower than the first arm's.
    """

    label: str
    evaluation: Evaluation | None = None
    problem: str = ""
    em: Difference | None = None
    saved: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The evaluation's figures, or why there are none, and how they differ from the first arm's."""
        if self.evaluation is None:
            return {"arm": self.label, "problem": self.problem}
        told: dict[str, Any] = {"arm": self.label, **self.evaluation.to_json()}
        if self.em:
            told["difference"] = {
                "em": round(self.em.interval.mean, 4),
                "ci": self.em.interval.bounds,
                "p": round(self.em.p, 4),
                "saved": self.saved,
            }
        return told


@dataclass(frozen=True, slots=True)
class Outcome:
    """A study that was run, its rows in the order of the arms."""

    design: Design
    questions: int
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """The study's name and question, and all rows."""
        return {
            "study": self.design.name,
            "question": self.design.question,
            "questions": self.questions,
            "arms": [row.to_json() for row in self.rows],
        }


def run_study(
    design: Design,
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    questions: int = 48,
    split: str = "test",
    kinds: Sequence[str] | None = None,
    batch_size: int = 32,
    out: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = ignore,
) -> Outcome:
    """Answers the recipe's evaluation questions in every arm.

    Arms of one model are loaded together and take turns, so that a noisy machine hits them alike; other models follow.

    Args:
        design: The study.
        recipe: Its model, adapter, index, rollout and questions stay what they are, but for the arms' changes.
        overrides: Changes for all arms, ``section.key=value``.
        questions: At most this many.
        split: ``test`` or ``dev``; of the embedded world only.
        kinds: Only questions of these kinds.
        batch_size: Answers sampled together.
        out: A folder for each arm's results, ``LABEL.jsonl``, and journals until they are written.
        resume: Go on with the journals.
        overwrite: Replace what is there.
        report: Receives progress, and a notice of each arm that cannot be run.

    Raises:
        ConfigError: ``resume`` without ``out``, or no arm can be run.
        RagR1Error: The recipe or the questions cannot be used.
    """
    if resume and out is None:
        raise ConfigError("--resume needs --out", "Name the folder of the study that was interrupted.")
    recipes = {
        arm.label: load_recipe(recipe, [*overrides, f"rollout.batch_size={batch_size}", *arm.settings])
        for arm in design.arms
        if not arm.missing
    }
    section = load_recipe(recipe, overrides).eval
    examples = load_examples(
        section.data,
        split,
        limit=questions,
        seed=0,
        kinds=kinds,
        mix=None if kinds else section.mix,
        report=report,
    )
    if not examples:
        raise DataError("There is no question of these kinds", "Ask for others, or for all.")
    found: dict[str, Evaluation] = {}
    problems = {arm.label: arm.missing for arm in design.arms if arm.missing}
    for group in _by_model(design.arms, recipes):
        with ExitStack() as stack:
            arms = list(_open(group, recipes, examples, problems, stack, report))
            if arms:
                settings: dict[str, Any] = {
                    **{"study": design.name, "recipe": recipe, "overrides": list(overrides)},
                    **{"kinds": kinds and list(kinds), "questions": questions, "split": split},
                    "arms": {arm.label: list(arm.settings) for arm in group},
                }
                evaluations = _evaluate(arms, examples, settings, batch_size, out, resume, overwrite, report)
                found |= dict(zip((arm.label for arm in arms), evaluations, strict=True))
    if not found:
        why = "; ".join(dict.fromkeys(problem.rstrip(".") for problem in problems.values()))
        raise ConfigError(f"No arm of {design.name} can be run: {why}", "Mend it, or name another with --arm.")
    for label, problem in problems.items():
        report(Notice(f"{label} was not run: {problem}", "warning"))
    return Outcome(design, len(examples), tuple(_rows(design, found, problems)))


def _by_model(arms: Sequence[Variant], recipes: dict[str, Recipe]) -> list[list[Variant]]:
    """The arms that can be loaded together: adapters of one model take little room beside each other."""
    groups: dict[tuple[str, str], list[Variant]] = {}
    for arm in arms:
        if arm.label in recipes:
            model = recipes[arm.label].model
            groups.setdefault((model.name, model.dtype), []).append(arm)
    return list(groups.values())


def _open(
    group: Sequence[Variant],
    recipes: dict[str, Recipe],
    examples: Sequence[Example],
    problems: dict[str, str],
    stack: ExitStack,
    report: Report,
) -> Iterator[Arm]:
    """Opens the arms of a group; what hinders one is noted, and the others go on."""
    loaded: dict[str, Assistant] = {}
    for arm in group:
        recipe = recipes[arm.label]
        try:
            adapter = starting_point(recipe).model.adapter or BARE
            if adapter not in loaded:
                loaded[adapter] = Assistant.open_recipe(with_adapter(recipe, adapter), report=report)
            searcher = _searcher(arm, recipe, stack, report)
            searcher.search([examples[0].question], 1)
        except RagR1Error as error:
            problems[arm.label] = str(error)
            continue
        protocol, limits = recipe.rollout.protocol(), recipe.rollout.limits(recipe.retrieval.k)
        yield Arm(arm.label, loaded[adapter].sampler, searcher, protocol, limits)


def _searcher(arm: Variant, recipe: Recipe, stack: ExitStack, report: Report) -> Searcher:
    """The arm's own, or one that asks a server over it."""
    from ragr1_lite.retrieval import open_searcher

    if not arm.served:
        return open_searcher(recipe.retrieval.index, report)
    asking: Any = open_searcher(stack.enter_context(_served(recipe.retrieval.index, report)), report)
    stack.callback(asking.close)
    return cast("Searcher", asking)


@contextmanager
def _served(index: str, report: Report) -> Iterator[str]:
    """The URL of a server over an index, on this machine, while the block runs."""
    from ragr1_lite.retrieval import make_app, open_searcher
    from ragr1_lite.retrieval.remote.hosting import in_background

    with in_background(make_app(open_searcher(index, report), report=report), "The arm") as url:
        yield url


def _evaluate(
    arms: Sequence[Arm],
    examples: Sequence[Example],
    settings: dict[str, Any],
    batch_size: int,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    report: Report,
) -> list[Evaluation]:
    """All arms of a group by turns, kept as they go where there is a folder for it."""
    files = [out / f"{arm.label}.jsonl" for arm in arms] if out else []
    first = files[0] if files else None
    settings = settings | {"batch_size": batch_size}
    journal = Journal.start(first, settings, resume=resume, overwrite=overwrite) if first else None
    with journal.working(report) if journal else nullcontext():
        evaluations = evaluate_arms(examples, arms, batch_size=batch_size, journal=journal, report=report)
        for path, evaluation in zip(files, evaluations, strict=False):
            write_rows(path, map(to_row, evaluation.results))
    if journal:
        journal.remove()
    return evaluations


def _rows(design: Design, found: dict[str, Evaluation], problems: dict[str, str]) -> Iterator[Row]:
    first: Evaluation | None = None
    for arm in design.arms:
        evaluation = found.get(arm.label)
        if evaluation is None:
            yield Row(arm.label, problem=problems[arm.label])
        elif first is None:
            first = evaluation
            yield Row(arm.label, evaluation)
        else:
            yield replace(_against(first, evaluation), label=arm.label)


def _against(first: Evaluation, other: Evaluation) -> Row:
    theirs, ours = first.figures(), other.figures()
    saved = {name: round(1 - ours[name] / theirs[name], 4) for name in COSTS if theirs[name]}
    difference = paired([one.em for one in first.results], [one.em for one in other.results])
    return Row("", other, em=difference, saved=saved)
