"""Selecting: every question is measured, a batch a piece of resumable work, and what is kept is written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ragr1_lite.assistant import Setup
from ragr1_lite.config import WORLD
from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice, PhaseAdvanced, PhaseFinished, PhaseStarted, Report, ignore
from ragr1_lite.data.questions import Question, digest, read_questions, to_row
from ragr1_lite.datagen.endpoint import Connection
from ragr1_lite.datagen.selection.measuring import measure
from ragr1_lite.datagen.selection.rule import Outcome, Rule, Selection, choose, histogram
from ragr1_lite.datagen.teachers import Teacher, open_teacher
from ragr1_lite.files.journal import Journal
from ragr1_lite.files.writing import write_atomic, writing

_PHASE = "Selecting"


def select(
    questions: Sequence[Question],
    out: Path,
    opened: Callable[[], Teacher],
    *,
    rule: Rule,
    batch_size: int = 16,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = ignore,
) -> Selection:
    """Measures questions, and writes what is kept to ``out`` and, beside it, to ``NAME.validation.jsonl``.

    Their lines are those of question files, with the pass rate and the number of rollouts it was measured in. What of
    the measured questions is kept may be decided anew when a run is gone on with; how they are measured may not.

    Args:
        questions: What is measured.
        out: The file of the questions to train on.
        opened: Opens whoever is measured; not called where everything is measured.
        rule: How questions are measured and which are kept.
        batch_size: Questions of a piece.
        settings: What else decides how rollouts come out, such as the model's name.
        resume: Go on with what an interrupted run has measured.
        overwrite: Replace what is there.
        report: Receives progress.

    Raises:
        DataError: A file is there already, or no question is kept.
        RunError: See :meth:`~ragr1_lite.files.journal.Journal.start`.
        StorageError: The disk is full or not writable.
    """
    began = time.perf_counter()
    aside = out.with_name(f"{out.name.removesuffix('.jsonl')}.validation.jsonl")
    if aside.exists() and not (resume or overwrite):
        raise DataError(f"{aside} exists", "Add --overwrite, or choose another --out.")
    how: dict[str, Any] = {"by": rule.by, "tries": rule.tries, "rounds": rule.rounds, "seed": rule.seed}
    how |= {"temperature": rule.warmth, "questions": digest(questions), "batch_size": batch_size, **(settings or {})}
    journal = Journal.start(out, how, resume=resume, overwrite=overwrite)
    with journal.working(report):
        _measure_all(questions, opened, journal, rule, batch_size, report)
    outcomes = _outcomes(journal)
    train, validation = choose(outcomes, rule)
    bins = histogram(outcomes, rule)
    if not train:
        told = ", ".join(f"{name} {count}" for name, count in bins.items() if count)
        raise DataError(
            f"None of {len(questions)} questions is kept; they were right {told}",
            "Go on with --resume and another --keep-between or --easy-share, or begin anew with --overwrite.",
        )
    _write(aside, (_row(questions[number], outcomes[number]) for number in validation))
    _write(out, (_row(questions[number], outcomes[number]) for number in train))
    journal.remove()
    return Selection(tuple(outcomes), tuple(train), tuple(validation), bins, time.perf_counter() - began)


def run(
    sources: Sequence[str],
    out: Path,
    setup: Setup = Setup(),
    *,
    rule: Rule,
    connection: Connection | None = None,
    split: str = "train",
    limit: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = ignore,
) -> Selection:
    """Selects by the rollouts of a model that is named.

    Args:
        sources: ``world``, or as in :func:`~ragr1_lite.data.questions.read_questions`.
        out: As in :func:`select`, like everything that is not explained here.
        setup: The model or the URL of an endpoint, and how it is asked.
        rule: As in :func:`select`.
        connection: How an endpoint is asked.
        split: Of the world.
        limit: At most this many questions, drawn by the rule's seed.
        resume: As in :func:`select`.
        overwrite: Likewise.
        report: Receives progress.

    Raises:
        RagR1Error: Questions, model or index cannot be used, or as in :func:`select`.
    """
    questions = _read(sources, split, limit, rule.seed, report)
    recipe = setup.recipe(report)
    settings = {
        **{"index": recipe.retrieval.index, "mode": recipe.rollout.mode, "k": recipe.retrieval.k},
        **{"max_queries": recipe.rollout.max_queries, "adapter": recipe.model.adapter},
        **{"teacher": recipe.model.name, "model": connection.model if connection else None},
    }
    return select(
        questions,
        out,
        lambda: open_teacher(recipe, connection=connection, report=report),
        rule=rule,
        batch_size=setup.batch_size,
        settings=settings,
        resume=resume,
        overwrite=overwrite,
        report=report,
    )


def _read(sources: Sequence[str], split: str, limit: int | None, seed: int, report: Report) -> list[Question]:
    if list(sources) != [WORLD]:
        return read_questions(sources, limit=limit, seed=seed, report=report)
    from ragr1_lite import world

    return [Question(one.example) for one in world.questions(split, seed=seed, limit=limit)]


def _measure_all(
    questions: Sequence[Question],
    opened: Callable[[], Teacher],
    journal: Journal,
    rule: Rule,
    batch_size: int,
    report: Report,
) -> None:
    """Measures what the journal does not have yet."""
    starts = range(0, len(questions), batch_size)[len(journal.pieces) :]
    if not starts:
        return
    began = time.perf_counter()
    with closing(opened()) as teacher:
        report(PhaseStarted(_PHASE, len(questions) - starts[0], "questions"))
        for start in starts:
            kept = sum(map(len, choose(_outcomes(journal), rule)))
            so_far = f"{kept} kept of the first {start}" if start else ""

            def advance(through: int, done: int = start - starts[0], so_far: str = so_far) -> None:
                report(PhaseAdvanced(_PHASE, done + through, so_far))

            examples = [question.example for question in questions[start : start + batch_size]]
            outcomes = measure(examples, teacher, rule=rule, piece=start // batch_size, advance=advance)
            journal.add([asdict(outcome) for outcome in outcomes])
        report(PhaseFinished(_PHASE, time.perf_counter() - began))
        if cost := teacher.usage:
            read, written = f"{cost.prompt_tokens:,} tokens read", f"{cost.completion_tokens:,} written"
            report(Notice(f"{cost.requests:,} requests to {teacher.name}: {read}, {written}"))


def _outcomes(journal: Journal) -> list[Outcome]:
    return [Outcome(**row) for rows in journal.pieces for row in rows]


def _row(question: Question, outcome: Outcome) -> dict[str, Any]:
    example = replace(question.example, pass_rate=round(outcome.pass_rate, 4))
    return {**to_row(replace(question, example=example)), "tries": outcome.tries}


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a question file; an empty one would be an error to whoever reads it, so there is none."""
    if lines := [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]:
        write_atomic(path, "".join(lines))
        return
    with writing(path):
        path.unlink(missing_ok=True)
