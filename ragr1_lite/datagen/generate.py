"""Trajectories by a teacher, with real retrieval results: a batch of questions at a time, judged, and kept or not.

A batch's trajectories follow from the seed and the batch's number alone, so a run that was interrupted and resumed
writes the file that it would have written in one go.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ragr1_lite.assistant import Setup
from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.events import Notice, Part, Report, ignore, phase
from ragr1_lite.core.evidence import Evidence
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Example, Sampler
from ragr1_lite.data.gold import ByteTokenizer, PlanSampler
from ragr1_lite.data.questions import Question, digest, read_questions
from ragr1_lite.data.trajectories import no_record, rows_again, to_record, write_rows
from ragr1_lite.data.unanswerable import as_hidden, unhidden, with_hidden
from ragr1_lite.datagen.endpoint import Connection, Usage
from ragr1_lite.datagen.gold import compose_plans
from ragr1_lite.datagen.rejection import ELSEWHERE, Criteria, why_rejected
from ragr1_lite.datagen.teachers import Teacher, as_teacher, open_teacher, settings_of
from ragr1_lite.files.alone import alone_at
from ragr1_lite.files.journal import Journal, Rows, already_there, finished
from ragr1_lite.files.writing import refuse_input
from ragr1_lite.retrieval import open_searcher

GOLD = "gold"
_PLENTY = Limits(max_rounds=20, document_tokens=10**6, total_document_tokens=10**8, max_length=10**9)
"""Gold plans are short; they have to fit the student's limits, not these."""

_Batch = Sequence[tuple[Question, Example]]
_Work = Callable[[_Batch, int], Rows]
"""Makes the rows of a batch: ``{"record", "reason"}`` per question, in order, and ``{"usage"}`` where it is counted."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How often a question is asked, at most, until a trajectory is kept; at which temperature and from which seed."""

    seed: int = 0
    tries: int = 1
    temperature: float | None = None

    @property
    def resolved_temperature(self) -> float:
        """By default 0 for one try and 1 for several."""
        return float(self.tries > 1) if self.temperature is None else self.temperature

    def seed_of(self, batch: int, attempt: int) -> int:
        """A batch's try has a seed of its own."""
        return random.Random(f"{self.seed}:{batch}:{attempt}").getrandbits(31)


@alone_at("out")
def generate(
    questions: str | Path | Sequence[str | Path],
    setup: Setup,
    *,
    out: Path,
    connection: Connection = Connection(),
    limit: int | None = None,
    sampling: Sampling = Sampling(),
    criteria: Criteria = Criteria(),
    unanswerable: float = 0.0,
    rejected: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = ignore,
) -> dict[str, Any]:
    """Writes the trajectories that are worth imitating, at most one per question.

    The setup's model is a name, the URL of an endpoint, or ``gold``, which composes trajectories from what the sets say
    about their questions; its ``batch_size`` questions are worked on together. At most ``limit`` questions are drawn by
    the seed. A share of them is asked once more as ``unanswerable``: ``gold`` hides their gold passages and writes that
    the documents do not hold the answer. ``rejected`` is a file for the other trajectories, each with its ``reason``.

    Returns:
        ``{"questions", "kept", "rejected": {reason: n}, "rounds", "queries", "by_kind": {kind: kept}}``, rounds and
        queries being means over what was kept; for endpoints ``"usage"`` as well.

    Raises:
        DataError: There are no such questions, nothing is kept, or ``out`` or ``rejected`` exists already or is read.
        RunError: An interrupted run is there, and neither ``resume`` nor ``overwrite`` is set, or its settings differ;
            or a finished one is, of other questions.
        RagR1Error: The teacher cannot be opened, or fails.
    """
    if rejected == out:
        raise ConfigError("--rejected and --out are the same file", "Choose two.")
    if rejected is not None and rejected.exists() and not (resume or overwrite):
        raise already_there(rejected, "Add --overwrite, or choose another --rejected.")
    recipe = as_teacher(setup).recipe(report)
    read = [*([questions] if isinstance(questions, str | Path) else questions), *recipe.retrieval.indexes]
    refuse_input(out, read)
    if rejected is not None:
        refuse_input(rejected, read, "--rejected")
    rollout, retrieval, gold = recipe.rollout, recipe.retrieval, recipe.model.name == GOLD
    if rollout.mode not in ("multi", "single"):
        raise ConfigError(f"Trajectories cannot be generated in mode {rollout.mode}", "Add --mode multi or single.")
    if unanswerable and not gold:
        raise ConfigError("Only the gold teacher answers that documents do not say it", "Leave out --unanswerable.")
    asked = read_questions(questions, limit=limit, seed=sampling.seed, report=report)
    known = {question.example.id: question for question in asked}
    examples = with_hidden([question.example for question in asked], "", unanswerable, sampling.seed)
    if finished(out, resume=resume, overwrite=overwrite, report=report):
        return _read_again(out, rejected, examples)
    settings = {
        **{"questions": digest(asked), **settings_of(recipe, connection), **asdict(sampling), **asdict(criteria)},
        **({"unanswerable": unanswerable} if unanswerable else {}),
    }

    def opened() -> Teacher:
        if not gold:
            return open_teacher(recipe, connection=connection, report=report)
        searcher, limits = open_searcher(retrieval.index, report), replace(_PLENTY, k=retrieval.k)
        return Teacher(GOLD, searcher, rollout.protocol(), limits, lambda *_: PlanSampler(ByteTokenizer(), []))

    journal = Journal.start(out, settings, resume=resume, overwrite=overwrite)
    rows = [(known[unhidden(one)], one) for one in examples]
    batches = [rows[start : start + setup.batch_size] for start in range(0, len(rows), setup.batch_size)]
    if len(journal.pieces) < len(batches):
        with journal.working(report), closing(opened()) as teacher:
            judged = _Judged(teacher, sampling, criteria)
            _work(judged.compose if gold else judged.ask, batches, journal, report)
    return _finish(journal, out, rejected, connection, report)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Makes the rows of a batch, of questions and what each is rolled out as, and judges the trajectories."""

    teacher: Teacher
    sampling: Sampling
    criteria: Criteria

    def compose(self, batch: _Batch, number: int) -> Rows:
        """By the gold teacher: plans from the set, replayed through the rollout that models go through."""
        asked = [question for question, _ in batch]
        composed = compose_plans(asked, self.teacher.searcher, self.teacher.protocol, k=self.teacher.limits.k)
        signature = {"teacher": GOLD, "seed": self.sampling.seed_of(number, 0)}
        planned = [(pair, one.plan) for pair, one in zip(batch, composed, strict=True) if one.plan is not None]
        plans = as_hidden([example for (_, example), _ in planned], [plan for _, plan in planned])
        rows = iter(self._roll_out([pair for pair, _ in planned], PlanSampler(ByteTokenizer(), plans), signature))
        return [
            next(rows) if one.plan is not None else {"record": no_record(example) | signature, "reason": one.reason}
            for (_, example), one in zip(batch, composed, strict=True)
        ]

    def ask(self, batch: _Batch, number: int) -> Rows:
        """By a model: of each question the first trajectory that is kept, else the last."""
        teacher = self.teacher
        before = teacher.usage
        rows: dict[int, dict[str, Any]] = {}
        for attempt in range(self.sampling.tries):
            left = [place for place in range(len(batch)) if place not in rows or rows[place]["reason"]]
            if not left:
                break
            seed = self.sampling.seed_of(number, attempt)
            sampler = teacher.sampler(seed, self.sampling.resolved_temperature)
            judged = self._roll_out([batch[place] for place in left], sampler, {"teacher": teacher.name, "seed": seed})
            rows |= zip(left, judged, strict=True)
        cost = [] if teacher.usage is None or before is None else [{"usage": asdict(teacher.usage - before)}]
        return [*(rows[place] for place in range(len(batch))), *cost]

    def _roll_out(self, batch: _Batch, sampler: Sampler, signature: Mapping[str, Any]) -> Rows:
        rows: Rows = []
        by, protocol, examples = self.teacher, self.teacher.protocol, [example for _, example in batch]
        trajectories = run_rollouts(examples, sampler, by.searcher, protocol=protocol, limits=by.limits)
        for (question, _), one in zip(batch, trajectories, strict=True):
            ids = [segment.token_ids for segment in one.segments if segment.source == "model"]
            written = [sampler.tokenizer.decode(each) for each in ids]
            reason = why_rejected(one, written, protocol=protocol, criteria=self.criteria)
            if one.example.hidden and Evidence.of(question.example).complete_in(one.shown):
                reason = reason or ELSEWHERE
            rows.append({"record": {**to_record(one), **signature}, "reason": reason})
        return rows


def _work(work: _Work, batches: Sequence[_Batch], journal: Journal, report: Report) -> None:
    """Does the batches that the journal does not have."""
    kept: Counter[bool] = Counter()
    with phase(report, "Generating", sum(map(len, batches)), "questions") as advance:
        for number, batch in enumerate(batches):
            part: Part = "skipped"
            if number == len(journal.pieces):
                journal.add(work(batch, number))
                part = "ended"
            kept.update(row["reason"] is None for row in _rows(journal.pieces[number : number + 1]))
            advance(kept.total(), f"kept {kept[True]:,}, rejected {kept[False]:,}", part=part)


def _rows(pieces: Sequence[Rows]) -> Rows:
    """One per question."""
    return [row for piece in pieces for row in piece if "record" in row]


def _finish(
    journal: Journal, out: Path, rejected: Path | None, connection: Connection, report: Report
) -> dict[str, Any]:
    """Writes what is kept and, where that is wanted, what is rejected; counts both."""
    rows = _rows(journal.pieces)
    kept = [row["record"] for row in rows if row["reason"] is None]
    others = [row["record"] | {"reason": row["reason"]} for row in rows if row["reason"] is not None]
    reasons = Counter(record["reason"] for record in others)
    if rejected is not None:
        write_rows(rejected, others)
    used = [Usage(**row["usage"]) for piece in journal.pieces for row in piece if "usage" in row]
    if used:
        report(Notice(connection.describe(sum(used, Usage()))))
    if not kept:
        raise _nothing_kept(journal, rejected, reasons)
    write_rows(out, kept)
    journal.remove()
    cost = {"usage": _cost(sum(used, Usage()), connection)} if used else {}
    return _counts(len(rows), kept, reasons) | cost


def _read_again(out: Path, rejected: Path | None, asked: Sequence[Example]) -> dict[str, Any]:
    """What :func:`generate` returned when it wrote the files, except for usage, and for reasons that no file has.

    Raises:
        RunError: They are of other questions.
    """
    kept, others = rows_again(out, asked), rows_again(rejected, asked) if rejected is not None else []
    reasons = Counter(row["reason"] for row in others)
    if unknown := len(asked) - len(kept) - len(others):
        reasons["not in a file"] = unknown
    return _counts(len(asked), kept, reasons)


def _counts(questions: int, kept: Rows, reasons: Counter[str]) -> dict[str, Any]:
    searches = [[len(turn["passages"]) for turn in record["turns"] if turn["passages"]] for record in kept]
    return {
        "questions": questions,
        "kept": len(kept),
        "rejected": dict(reasons.most_common()),
        "rounds": round(statistics.fmean(map(len, searches)), 3),
        "queries": round(statistics.fmean(map(sum, searches)), 3),
        "by_kind": dict(Counter(record["kind"] for record in kept)),
    }


def _nothing_kept(journal: Journal, rejected: Path | None, reasons: Counter[str]) -> DataError:
    """The error; the journal, whose answers may have been paid for, stays unless all of it is in ``rejected``."""
    counts = ", ".join(f"{reason}: {number}" for reason, number in reasons.most_common())
    message = f"None of {reasons.total()} questions gave a trajectory to keep ({counts})"
    check = "Check that the index holds what the questions ask for"
    if rejected is not None:
        journal.remove()
        return DataError(message, f"{check}, and look at the trajectories in {rejected}.")
    return DataError(
        f"{message}; all trajectories are kept in {journal.path}",
        f"{check}. Write the trajectories with --resume --rejected FILE, or begin anew with --overwrite.",
    )


def _cost(usage: Usage, connection: Connection) -> dict[str, Any]:
    cost = connection.cost(usage)
    return asdict(usage) | ({} if cost is None else {"cost": round(cost, 6)})
