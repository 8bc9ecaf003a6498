"""Studies: one thing is varied, all else stays, and a table and a plot show the effect.

All variants answer the same questions, by turns, and are compared with the first.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ragr1_lite.assistant import Assistant
from ragr1_lite.config import Recipe, find_recipe, load_recipe
from ragr1_lite.core.errors import ConfigError, DataError, RagR1Error
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.types import Example, Sampler, Searcher
from ragr1_lite.data.sets import load_examples
from ragr1_lite.data.trajectories import write_rows
from ragr1_lite.evaluation.figures import Evaluation
from ragr1_lite.evaluation.intervals import Difference, bootstrap, paired
from ragr1_lite.evaluation.results import to_row
from ragr1_lite.evaluation.running import QUESTIONS, questions_digest, read_again, recipe_digest
from ragr1_lite.evaluation.variants import Variant, evaluate_variants
from ragr1_lite.files.alone import alone_at
from ragr1_lite.files.journal import Journal, already_there, interrupted
from ragr1_lite.files.json_lines import json_of
from ragr1_lite.files.writing import refuse_input, write_atomic
from ragr1_lite.versions import install_hint

MOST_QUERIES = 5
_LABEL = re.compile(r"\w[\w .+-]*")
"""It names a file, too."""


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """A variant of a study.

    Attributes:
        label: Its name.
        settings: Changes to the recipe, ``section.key=value``.
        served: Whether its index is searched through a server on this machine, which the study starts.
        missing: What the user has to name first, if anything; until then the variant is not run.
    """

    label: str
    settings: tuple[str, ...] = ()
    served: bool = False
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Design:
    """A study: its name, what it asks, its variants. The others are compared with the first variant."""

    name: str
    question: str
    variants: tuple[VariantSpec, ...]


_SINGLE_MULTI = (VariantSpec("single", ("rollout.mode=single",)), VariantSpec("multi", ("rollout.mode=multi",)))
_QUERIES = (
    VariantSpec(str(number), ("rollout.mode=multi", f"rollout.max_queries={number}"))
    for number in range(1, MOST_QUERIES + 1)
)
_SEARCH = (
    VariantSpec("bm25"),
    VariantSpec("http", served=True),
    VariantSpec("web", missing="no web search was named: --variant web:retrieval.index=web+brave://"),
)
_MODELS = (VariantSpec("without adapter", ("model.adapter=null",)), VariantSpec("with adapter"))
STUDIES: Mapping[str, Design] = {
    "single-multi": Design("single-multi", "One query a turn, or several at once?", _SINGLE_MULTI),
    "queries": Design("queries", "How many queries at once?", tuple(_QUERIES)),
    "search": Design("search", "Who searches?", _SEARCH),
    "models": Design("models", "Which model?", _MODELS),
}


def find_design(name: str) -> Design:
    """The study of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(STUDIES)}."
        raise ConfigError(f"There is no study {name}", hint)
    return STUDIES[name]


def with_variants(design: Design, changes: Sequence[str]) -> Design:
    """The study with changes to its variants, and with variants of the user's own.

    A change is ``LABEL:SECTION.KEY=VALUE``; a label that the study does not have makes a new variant.

    Raises:
        ConfigError: A change is of another form.
    """
    variants = {one.label: one for one in design.variants}
    for change in changes:
        label, colon, setting = change.partition(":")
        if not (_LABEL.fullmatch(label) and colon and "=" in setting):
            hint = "Write it as in --variant multi:model.adapter=runs/mq/adapter"
            raise ConfigError(f"--variant {change} is not LABEL:KEY=VALUE", hint)
        spec = variants.get(label, VariantSpec(label))
        variants[label] = replace(spec, settings=(*spec.settings, setting), missing="")
    return replace(design, variants=tuple(variants.values()))


SUMMARY = "study.json"
"""Of a study's folder: the outcome."""
COSTS = ("rounds", "queries", "seconds_per_question")


@dataclass(frozen=True, slots=True)
class Row:
    """The result of a variant.

    Attributes:
        label: The variant's.
        evaluation: Its results; ``None`` where it could not be run.
        problem: Why not.
        em: How its exact match differs from the first variant's, question by question; ``None`` for that one itself.
        saved: By what share each of :data:`COSTS` is lower than the first variant's.
    """

    label: str
    evaluation: Evaluation | None = None
    problem: str = ""
    em: Difference | None = None
    saved: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The evaluation's figures, or why there are none, and how they differ from the first variant's."""
        if self.evaluation is None:
            return {"variant": self.label, "problem": self.problem}
        difference = {"difference": self.em.to_json("em") | {"saved": self.saved}} if self.em else {}
        return {"variant": self.label, **self.evaluation.to_json(), **difference}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A study that was run, its rows in the order of the variants; ``again`` where they were read from its files."""

    design: Design
    questions: int
    rows: tuple[Row, ...]
    again: bool = False

    def to_json(self) -> dict[str, Any]:
        """The study's name and question, and all rows."""
        return {
            "study": self.design.name,
            "question": self.design.question,
            "questions": self.questions,
            "variants": [row.to_json() for row in self.rows],
        }


@alone_at("out")
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
    """Answers the recipe's evaluation questions in every variant.

    Variants of one model are loaded together and take turns, so that a noisy machine hits them alike; other models
    follow.

    The recipe stays what it is but for ``overrides``, which all variants take, and their own changes. ``out`` is a
    folder for each variant's results, ``LABEL.jsonl``, and for the journals that ``resume`` goes on with; a finished
    study it reads again. Variants that cannot be run are reported.

    Raises:
        ConfigError: ``resume`` without ``out``, or no variant can be run.
        DataError: A file of results is there already, or is one that is read.
        RunError: The interrupted or finished study had other questions or settings.
        RagR1Error: The recipe or the questions cannot be used.
    """
    if resume and out is None:
        raise ConfigError("--resume needs --out", "Name the folder of the study that was interrupted.")
    changes = [*overrides, f"rollout.batch_size={batch_size}"]
    recipes = {
        spec.label: load_recipe(recipe, [*changes, *spec.settings]) for spec in design.variants if not spec.missing
    }
    section = load_recipe(recipe, overrides).eval
    mix = None if kinds else section.mix
    examples = load_examples(section.data, split, limit=questions, seed=0, kinds=kinds, mix=mix, report=report)
    if not examples:
        raise DataError("There is no question of these kinds", "Ask for others, or for all.")
    files = {label: out / f"{label}.jsonl" for label in recipes} if out else {}
    indexes = [name for one in recipes.values() for name in one.retrieval.indexes]
    for path in files.values():
        refuse_input(path, (section.data, str(find_recipe(recipe)), *indexes))
    problems = {spec.label: spec.missing for spec in design.variants if spec.missing}
    goes_on, known = resume and any(map(interrupted, files.values())), problems | _not_run(out)
    done = all(path.exists() or label in known for label, path in files.items())
    if files and resume and done and not (overwrite or goes_on):
        return _read_again(design, recipes, files, known, examples, report)
    if taken := [path for path in files.values() if path.exists() and not (overwrite or goes_on)]:
        raise already_there(taken[0])
    found: dict[str, Evaluation] = {}
    journals: list[Journal] = []
    for group in _by_model(design.variants, recipes):
        with ExitStack() as stack:
            variants = list(_open(group, recipes, examples, problems, stack, report))
            if not variants:
                continue
            journal = None
            if files:
                settings = {"study": design.name, "batch_size": batch_size, QUESTIONS: questions_digest(examples)}
                settings |= {f"recipe of {one.label}": recipe_digest(recipes[one.label]) for one in variants}
                journal = Journal.start(files[variants[0].label], settings, resume=resume, overwrite=overwrite)
                stack.enter_context(journal.working(report))
                journals.append(journal)
            evaluations = evaluate_variants(examples, variants, batch_size=batch_size, journal=journal, report=report)
            found |= {one.label: one for one in evaluations}
    if not found:
        why = "; ".join(dict.fromkeys(problem.rstrip(".") for problem in problems.values()))
        raise ConfigError(f"No variant of {design.name} can be run: {why}", "Fix it, or name another with --variant.")
    for label, problem in problems.items():
        report(Notice(f"{label} was not run: {problem}", "warning"))
    # All of it at the end: until then, a study of several models goes on with its journals.
    for label, evaluation in found.items() if files else ():
        write_rows(files[label], map(to_row, evaluation.results))
    for journal in journals:
        journal.remove()
    return Outcome(design, len(examples), tuple(_rows(design, found, problems)))


def _read_again(
    design: Design,
    recipes: Mapping[str, Recipe],
    files: Mapping[str, Path],
    problems: Mapping[str, str],
    examples: Sequence[Example],
    report: Report,
) -> Outcome:
    """The outcome of a finished study, from its files."""
    found = {
        label: read_again(path, label, recipes[label].rollout.mode, examples, report=report)
        for label, path in files.items()
        if path.exists()
    }
    report(Notice("This study is finished: nothing was asked, and nothing was changed."))
    return Outcome(design, len(examples), tuple(_rows(design, found, problems)), again=True)


def _not_run(out: Path | None) -> dict[str, str]:
    """Why variants of a finished study were not run, by its own account."""
    if out is None or not (out / SUMMARY).exists():
        return {}
    try:
        rows = json_of((out / SUMMARY).read_text(encoding="utf-8"))["variants"]
        return {row["variant"]: row["problem"] for row in rows if "problem" in row}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{out / SUMMARY} is broken", "It is written anew: delete it and try again.") from None


def _by_model(specs: Sequence[VariantSpec], recipes: Mapping[str, Recipe]) -> list[list[VariantSpec]]:
    """The variants that can be loaded together: adapters of one model take little memory."""
    groups: dict[tuple[str, ...], list[VariantSpec]] = {}
    for spec in specs:
        if spec.label in recipes:
            model = recipes[spec.label].model
            groups.setdefault((model.name, model.dtype, model.engine), []).append(spec)
    return list(groups.values())


def _open(
    group: Sequence[VariantSpec],
    recipes: Mapping[str, Recipe],
    examples: Sequence[Example],
    problems: dict[str, str],
    stack: ExitStack,
    report: Report,
) -> Iterator[Variant]:
    """Opens the variants of a group; one that cannot be opened is noted, and the others go on."""
    samplers: dict[Any, Sampler] = {}
    for spec in group:
        recipe = recipes[spec.label]
        try:
            loaded = (recipe.model, recipe.rollout.max_length, recipe.rollout.batch_size)
            if loaded not in samplers:
                samplers[loaded] = Assistant.open_recipe(recipe, report=report).sampler
            searcher = _searcher(spec, recipe, stack, report)
            searcher.search([examples[0].question], 1)
        except RagR1Error as error:
            problems[spec.label] = str(error)
            continue
        protocol, limits = recipe.rollout.protocol(), recipe.rollout.limits(recipe.retrieval.k)
        yield Variant(spec.label, samplers[loaded], searcher, protocol, limits)


def _searcher(spec: VariantSpec, recipe: Recipe, stack: ExitStack, report: Report) -> Searcher:
    """The variant's own, or one that asks a server over it."""
    from ragr1_lite.retrieval import make_app, open_searcher
    from ragr1_lite.retrieval.remote.hosting import in_background

    searcher = open_searcher(recipe.retrieval.index, report)
    if not spec.served:
        return searcher
    url = stack.enter_context(in_background(make_app(searcher, report=report), "The variant"))
    client: Any = open_searcher(url, report)
    stack.callback(client.close)
    return cast("Searcher", client)


def _rows(design: Design, found: Mapping[str, Evaluation], problems: Mapping[str, str]) -> Iterator[Row]:
    first: Evaluation | None = None
    for spec in design.variants:
        evaluation = found.get(spec.label)
        if evaluation is None:
            yield Row(spec.label, problem=problems[spec.label])
        elif first is None:
            first = evaluation
            yield Row(spec.label, evaluation)
        else:
            theirs, ours = first.figures(), evaluation.figures()
            saved = {name: round(1 - ours[name] / theirs[name], 4) for name in COSTS if theirs[name]}
            difference = paired([one.em for one in first.results], [one.em for one in evaluation.results])
            yield Row(spec.label, evaluation, em=difference, saved=saved)


_PANELS = {"em": "EM", "rounds": "Rounds", "queries": "Queries", "seconds_per_question": "Seconds a question"}
_INK, _BAR, _ERROR = "#7d8590", "#3b82c4", "#c98a3b"


def draw_study(outcome: Outcome, path: Path) -> None:
    """Draws exact match with its interval, rounds, queries and seconds of every variant that was run.

    Raises:
        ConfigError: matplotlib is not installed.
        StorageError: The file cannot be written.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("Plots need matplotlib", install_hint("report")) from None
    rows = [row for row in outcome.rows if row.evaluation]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": outcome.design.name, "font.size": 9, "text.color": _INK}):
        figure = Figure(figsize=(9.6, 0.9 + 0.34 * len(rows)), layout="constrained")
        for axes, (name, title) in zip(figure.subplots(1, len(_PANELS), sharey=True), _PANELS.items(), strict=True):
            _draw(axes, rows, name, title)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date")))
    write_atomic(path, written.getvalue())


def _draw(axes: Any, rows: Sequence[Row], name: str, title: str) -> None:
    values = [row.evaluation.figures()[name] for row in rows if row.evaluation]
    places = range(len(rows))
    bars = axes.barh(places, values, color=_BAR, height=0.62)
    if name == "em":
        intervals = [bootstrap([one.em for one in row.evaluation.results]) for row in rows if row.evaluation]
        reach = [[one.mean - one.low for one in intervals], [one.high - one.mean for one in intervals]]
        axes.errorbar(values, places, xerr=reach, fmt="none", ecolor=_ERROR, capsize=2.5, linewidth=1.2)
        axes.set_xlim(0, 1)
        axes.bar_label(bars, fmt="%.2f", label_type="center", color="white")
    else:
        axes.bar_label(bars, fmt="%.2f", padding=3, color=_INK)
        axes.margins(x=0.25)
    axes.set_yticks(places, [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(title, loc="left", fontsize=9, color=_INK)
    axes.tick_params(length=0, colors=_INK, labelsize=9)
    axes.tick_params(axis="x", labelbottom=False)
    for side in axes.spines.values():
        side.set_visible(False)
