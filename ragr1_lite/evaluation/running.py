"""Runs an evaluation: loads questions and model, answers in each mode, writes the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ragr1_lite.assistant import Assistant, Setup
from ragr1_lite.config import WORLD, Recipe
from ragr1_lite.core.errors import ConfigError, RunError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.protocol import PROMPTS, Protocol
from ragr1_lite.core.rewards import OURS, SCORERS, NormalizerName, Scorer
from ragr1_lite.core.types import Example, Mode
from ragr1_lite.data.sets import load_examples, load_shots
from ragr1_lite.data.trajectories import write_rows
from ragr1_lite.data.unanswerable import with_hidden
from ragr1_lite.evaluation.figures import Evaluation
from ragr1_lite.evaluation.results import apart, from_row, read_results, to_row
from ragr1_lite.evaluation.variants import Draws, Variant, evaluate_variants
from ragr1_lite.files.alone import alone_at
from ragr1_lite.files.journal import Journal, already_there, digest, finished, interrupted
from ragr1_lite.files.writing import refuse_input

QUESTIONS = "content of the questions"
"""In a journal's settings: what :func:`questions_digest` gives."""


def questions_digest(examples: Sequence[Example]) -> str:
    """For a journal: changes with the questions that are asked."""
    rows = (asdict(example) for example in examples)
    return digest([{key: value for key, value in row.items() if key != "hidden" or value} for row in rows])


def recipe_digest(recipe: Recipe, modes: Sequence[Mode] = ()) -> str:
    """For a journal: changes with all of a recipe that decides the answers, its prompt template included.

    So it does with the prompts of ``modes`` that want no tag, as there were others once; those with tags stay.
    """
    protocol, limits = recipe.rollout.protocol(), recipe.rollout.limits(recipe.retrieval.k)
    rules = {name: getattr(protocol, name) for name in ("mode", "max_queries", "template")}
    prompts = [PROMPTS[mode] for mode in modes or (protocol.mode,) if not Protocol(mode).searches]
    return digest([recipe.model.model_dump(), recipe.retrieval.model_dump(), rules, asdict(limits), *prompts])


def held_out(recipe: Recipe, report: Report = ignore) -> list[Example]:
    """The fixed questions of a recipe's ``eval`` section: a draw that no seed of the recipe changes."""
    section = recipe.eval
    return load_examples(section.data, section.split, limit=section.questions, seed=0, mix=section.mix, report=report)


@alone_at("out")
def run(
    setup: Setup | Recipe = Setup(),
    *,
    data: str = WORLD,
    split: str = "test",
    modes: Sequence[Mode] = (),
    questions: int | None = None,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
    samples: int = 1,
    temperature: float | None = None,
    normalizer: NormalizerName = "ours",
    give_up_after: int | None = None,
    shots: int = 0,
    shots_from: str | None = None,
    unanswerable: bool = False,
    out: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = ignore,
) -> list[Evaluation]:
    """Evaluates one model in one or more modes on the same questions, the modes by turns.

    A recipe instead of a setup is taken as it is, with the adapter that it names or none.
    ``data`` is ``world``, a benchmark's name, a question file or ``hub:OWNER/NAME``. Each mode is one evaluation. The
    ``seed`` draws ``questions`` of them, and answers where there are several ``samples``; the ``temperature`` is then 1
    by default, else 0 (greedy). A mode that answers none of the first ``give_up_after`` questions is asked no more.
    The prompts of modes that do not search have the same ``shots`` (:func:`~ragr1_lite.data.sets.load_shots`).
    With ``unanswerable``, questions that name their gold passages are asked once more, with these hidden.
    Results go to ``out`` (:mod:`ragr1_lite.evaluation.results`), with several modes to a
    file each; until it is written, a journal next to it keeps what is finished, and ``resume`` goes on with that. Of a
    finished evaluation ``resume`` reads the results again.

    Raises:
        ConfigError: Samples and temperature, ``resume`` and ``out``, or ``shots`` or ``unanswerable`` and modes do not
            go together.
        DataError: A file of results is there already, or is one that is read.
        RunError: The interrupted or finished evaluation had other questions or settings.
        RagR1Error: Questions, model or index cannot be used.
    """
    draws = _draws(samples, temperature, seed)
    if out is None and resume:
        raise ConfigError("--resume needs --out", "Name the file of the evaluation that was interrupted.")
    recipe = setup if isinstance(setup, Recipe) else setup.recipe(report)
    modes, batch_size = tuple(modes) or (recipe.rollout.mode,), recipe.rollout.batch_size
    paths = [out.with_stem(f"{out.stem}-{mode}") if len(modes) > 1 else out for mode in modes] if out else []
    for path in paths:
        refuse_input(path, (data, shots_from, *recipe.retrieval.indexes, recipe.rollout.template))
    examples = load_examples(data, split, limit=questions, seed=seed, kinds=kinds, report=report)
    if shots_from and not shots:
        raise ConfigError("--shots-from needs --shots", "Say how many questions the prompt shall answer: --shots 2.")
    without = [mode for mode in modes if Protocol(mode).searches] if shots else []
    if shots and len(without) == len(modes):
        raise ConfigError("--shots are for direct, rag and cot-rag", "Add one of these modes, or leave --shots out.")
    if without:
        report(Notice(f"{' and '.join(without)}: no shots, since a search has its own form."))
    drawn = load_shots(shots, data, shots_from, examples, seed=seed, report=report) if shots else ()
    if unanswerable:
        if "direct" in modes:
            raise ConfigError("--unanswerable hides passages, and mode direct reads none", "Leave one of them out.")
        examples += [one for one in with_hidden(examples, data, 1.0, seed) if one.hidden]
    if out and finished(out, *paths, resume=resume, overwrite=overwrite, report=report):
        options: dict[str, Any] = {"scorer": SCORERS[normalizer], "samples": samples, "gave_up": bool(give_up_after)}
        return [
            read_again(path, mode, mode, examples, **options, shots=0 if Protocol(mode).searches else len(drawn))
            for path, mode in zip(paths, modes, strict=True)
        ]
    goes_on = out is not None and resume and interrupted(out)
    if taken := [path for path in paths if path.exists() and not (overwrite or goes_on)]:
        raise already_there(taken[0])
    settings = {
        **{"data": data, "split": split, "index": recipe.retrieval.index, "modes": list(modes)},
        **{"model": recipe.model.name, "adapter": recipe.model.adapter},
        **{"questions": questions, "kinds": kinds and list(kinds)},
        **{"k": recipe.retrieval.k, "max_queries": recipe.rollout.max_queries},
        **{"batch_size": batch_size, "seed": seed, "samples": samples, "temperature": draws.temperature},
        **({"give_up_after": give_up_after} if give_up_after else {}),
        **({"shots": [asdict(shot) for shot in drawn]} if drawn else {}),
        **{QUESTIONS: questions_digest(examples), "content of the recipe": recipe_digest(recipe, modes)},
    }
    journal = Journal.start(out, settings, resume=resume, overwrite=overwrite) if out else None
    with journal.working(report) if journal else nullcontext():
        assistant = Assistant.open_recipe(recipe, report=report)
        assistant = replace(assistant, protocol=replace(assistant.protocol, shots=drawn))
        evaluations = evaluate_variants(
            examples,
            [Variant.of(mode, assistant.with_mode(mode)) for mode in modes],
            scorer=SCORERS[normalizer],
            draws=draws,
            batch_size=batch_size,
            give_up_after=give_up_after,
            journal=journal,
            report=report,
        )
        for path, evaluation in zip(paths, evaluations, strict=False):
            write_rows(path, map(to_row, evaluation.every))
    if journal:
        journal.remove()
    return evaluations


def read_again(
    path: Path,
    label: str,
    mode: Mode,
    examples: Sequence[Example],
    *,
    scorer: Scorer = OURS,
    samples: int = 1,
    gave_up: bool = False,
    shots: int = 0,
    report: Report = ignore,
) -> Evaluation:
    """The evaluation that a finished file holds; what it took is not in there.

    Raises:
        DataError: The file is of another form.
        RunError: It is of other questions, another mode or other ``samples``, or not of all: it ``gave_up`` on some.
    """
    results = tuple(from_row(row, scorer) for row in read_results(path, report))
    asked = {_identity(example) for example in examples}
    answered = Counter(_identity(one.trajectory.example) for one in results)
    same = answered.keys() <= asked if gave_up else answered.keys() == asked
    if not same or {*answered.values()} != {samples} or {one.mode for one in results} != {mode}:
        raise RunError(
            f"{path} is of other questions, another mode or other samples",
            "Give the same ones to --resume, or begin anew with --overwrite.",
        )
    answerable, hidden = apart(results, lambda one: one.trajectory.example.hidden)
    return Evaluation(label, answerable, samples, None, len(asked) - len(answered), shots, hidden)


def _identity(example: Example) -> tuple[str, ...]:
    """What an evaluation's file keeps of a question, as far as it decides the figures."""
    return (example.id, example.question.strip(), *(answer for answer in example.answers if answer.strip()))


def _draws(samples: int, temperature: float | None, seed: int) -> Draws:
    """Greedy for one sample, at temperature 1 for several, by default.

    Raises:
        ConfigError: Several greedy samples, which would all be the same.
    """
    if temperature is None:
        temperature = 1.0 if samples > 1 else 0.0
    if samples > 1 and not temperature:
        raise ConfigError("Several samples at temperature 0 are all the same", "Add --temperature 1, or ask for one.")
    return Draws(samples, temperature, seed)
