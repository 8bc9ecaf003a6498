"""Runs questions through the one rollout, greedy, and keeps the time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ragr1_lite.answer import Assistant
from ragr1_lite.config import WORLD, Recipe
from ragr1_lite.core import Example, Mode, Sampler, Searcher
from ragr1_lite.data.files import write_rows
from ragr1_lite.data.sets import load_examples
from ragr1_lite.evaluate.figures import Evaluation
from ragr1_lite.evaluate.normalisers import OURS, SCORERS, NormalizerName, Scorer
from ragr1_lite.evaluate.results import shared, to_row
from ragr1_lite.events import PhaseAdvanced, PhaseFinished, PhaseStarted, Report, RolloutFinished, ignore
from ragr1_lite.protocol import Protocol
from ragr1_lite.rollout import Limits, run_rollouts


def evaluate(
    examples: Sequence[Example],
    sampler: Sampler,
    searcher: Searcher,
    *,
    protocol: Protocol,
    limits: Limits,
    label: str,
    scorer: Scorer = OURS,
    report: Report = ignore,
) -> Evaluation:
    """Rolls out every question and keeps the time."""
    name, done = f"Evaluating {label}", 0
    report(PhaseStarted(name, len(examples), "questions"))

    def count(event: object) -> None:
        nonlocal done
        if isinstance(event, RolloutFinished):
            done += 1
            report(PhaseAdvanced(name, done))

    began = time.perf_counter()
    trajectories = run_rollouts(examples, sampler, searcher, protocol=protocol, limits=limits, report=count)
    seconds = time.perf_counter() - began
    report(PhaseFinished(name, seconds))
    results = shared(trajectories, mode=protocol.mode, seconds=seconds, scorer=scorer)
    return Evaluation(label, results, seconds)


def held_out(recipe: Recipe, report: Report = ignore) -> list[Example]:
    """The fixed questions of a recipe's ``eval`` section: a draw that no seed of the recipe changes."""
    section = recipe.eval
    return load_examples(section.data, section.split, limit=section.questions, seed=0, mix=section.mix, report=report)


def run(
    *,
    data: str = WORLD,
    split: str = "test",
    index: str | None = None,
    model: str | None = None,
    adapter: str | None = None,
    modes: Sequence[Mode] = ("multi",),
    questions: int | None = None,
    kinds: Sequence[str] | None = None,
    k: int | None = None,
    max_queries: int = 3,
    batch_size: int = 32,
    seed: int = 0,
    normalizer: NormalizerName = "ours",
    out: Path | None = None,
    report: Report = ignore,
) -> list[Evaluation]:
    """Evaluates one model in one or more modes on the same questions, greedy.

    Args:
        data: ``world`` or a question file.
        split: ``dev`` or ``test``; of the world only.
        index: ``world`` or an index folder.
        model: As in :meth:`~ragr1_lite.answer.Assistant.open`.
        adapter: Likewise.
        modes: One evaluation each.
        questions: At most this many, drawn by ``seed``.
        kinds: Only questions of these kinds.
        k: Passages per query.
        max_queries: Parallel queries per search.
        batch_size: Rows sampled together.
        seed: Of the draw.
        normalizer: How answers are held against the accepted ones.
        out: A file for the results, see :mod:`ragr1_lite.evaluate.results`; with several modes,
            the mode's name is added to its own.
        report: Receives progress.
    """
    examples = load_examples(data, split, limit=questions, seed=seed, kinds=kinds, report=report)
    assistant = Assistant.open(
        model=model,
        adapter=adapter,
        index=index,
        k=k,
        max_queries=max_queries,
        batch_size=batch_size,
        report=report,
    )
    evaluations = []
    for mode in modes:
        evaluation = evaluate(
            examples,
            assistant.sampler,
            assistant.searcher,
            protocol=Protocol(mode, max_queries, assistant.protocol.template),
            limits=assistant.limits,
            label=mode,
            scorer=SCORERS[normalizer],
            report=report,
        )
        if out is not None:
            path = out if len(modes) == 1 else out.with_stem(f"{out.stem}-{mode}")
            write_rows(path, map(to_row, evaluation.results))
        evaluations.append(evaluation)
    return evaluations
