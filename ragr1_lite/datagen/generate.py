"""Trajectories by a teacher, with real retrieval results: a batch of questions at a time, judged, and kept or not.

A batch is a piece of resumable work. What a teacher says in it follows from the seed and the batch's number alone, so a
run that was cut off and resumed writes the file that it would have written in one go.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ragr1_lite.assistant import Setup
from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.events import Notice, PhaseAdvanced, PhaseFinished, PhaseStarted, Report, ignore
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Example, Sampler, Searcher
from ragr1_lite.data.gold import ByteTokenizer, PlanSampler
from ragr1_lite.data.questions import Question, digest, read_questions
from ragr1_lite.data.trajectories import no_record, to_record, write_rows
from ragr1_lite.datagen.endpoint import Connection, Usage
from ragr1_lite.datagen.gold import Composed, compose_plans
from ragr1_lite.datagen.rejection import Criteria, why_rejected
from ragr1_lite.datagen.teachers import Teacher, open_teacher
from ragr1_lite.files.journal import Journal, Rows
from ragr1_lite.retrieval import open_searcher

GOLD = "gold"
_PHASE = "Generating"
_PLENTY = Limits(max_rounds=20, document_tokens=10**6, total_document_tokens=10**8, max_length=10**9)
"""Plans are short; it is the student's limits that they have to fit."""

Work = Callable[[Sequence[Question], int], Rows]
"""Makes the rows of a batch: ``{"record", "reason"}`` per question, in order, and ``{"usage"}`` where it is counted."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model is sampled.

    Attributes:
        seed: Every batch's and every try's own seed follows from it.
        tries: How often a question is asked until a trajectory is kept.
        temperature: By default 0 for one try and 1 for several.
    """

    seed: int = 0
    tries: int = 1
    temperature: float | None = None

    @property
    def warmth(self) -> float:
        """The temperature."""
        return float(self.tries > 1) if self.temperature is None else self.temperature

    def seed_of(self, batch: int, attempt: int) -> int:
        """The seed of a batch's try."""
        return random.Random(f"{self.seed}:{batch}:{attempt}").getrandbits(31)


def generate(
    questions: str | Path | Sequence[str | Path],
    setup: Setup,
    *,
    out: Path,
    connection: Connection | None = None,
    limit: int | None = None,
    sampling: Sampling | None = None,
    criteria: Criteria | None = None,
    rejected: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = ignore,
) -> dict[str, Any]:
    """Writes the trajectories that are worth imitating, at most one per question.

    Args:
        questions: Question sets.
        setup: The teacher, and how it searches. The model ``gold`` composes trajectories from what the sets say about
            their questions; else see :func:`~ragr1_lite.datagen.teachers.open_teacher`. As many questions as its
            ``batch_size`` are worked on together.
        out: The trajectory file to write.
        connection: How an endpoint is asked.
        limit: At most this many questions, drawn by the seed.
        sampling: Seed, tries and temperature.
        criteria: Which answers are kept.
        rejected: A file for the other trajectories, each with its ``reason``.
        resume: Go on with what an interrupted run has finished.
        overwrite: Replace what is there.
        report: Receives notices and progress.

    Returns:
        ``{"questions", "kept", "rejected": {reason: n}, "rounds", "queries", "by_kind": {kind: kept}}``, rounds and
        queries being means over what was kept; for endpoints ``"usage"`` as well.

    Raises:
        DataError: There are no such questions, nothing could be kept, or ``out`` is there already.
        RunError: An interrupted run of other settings is there.
        RagR1Error: The teacher cannot be opened, or breaks off.
    """
    if rejected == out:
        raise ConfigError("--rejected and --out are the same file", "Choose two.")
    recipe, batch_size = setup.recipe(report), setup.batch_size
    rollout, k, gold = recipe.rollout, recipe.retrieval.k, recipe.model.name == GOLD
    if rollout.mode not in ("multi", "single"):
        raise ConfigError(f"Trajectories cannot be generated in mode {rollout.mode}", "Add --mode multi or single.")
    connection, sampling, criteria = connection or Connection(), sampling or Sampling(), criteria or Criteria()
    asked = read_questions(questions, limit=limit, seed=sampling.seed, report=report)
    who = {"teacher": recipe.model.name, "teacher_model": connection.model, "adapter": recipe.model.adapter}
    how = {"index": recipe.retrieval.index, "mode": rollout.mode, "k": k, "max_queries": rollout.max_queries}
    settings = {
        "questions": digest(asked),
        **who,
        **how,
        "batch_size": batch_size,
        **asdict(sampling),
        **asdict(criteria),
    }

    @contextmanager
    def opened() -> Iterator[Work]:
        if gold:
            yield Composing(open_searcher(recipe.retrieval.index, report), rollout.protocol(), k, sampling, criteria)
            return
        with closing(open_teacher(recipe, connection=connection, report=report)) as teacher:
            yield Asking(teacher, sampling, criteria)

    journal = Journal.start(out, settings, resume=resume, overwrite=overwrite)
    _work(opened, asked, batch_size, journal, report)
    return _finish(journal, out, rejected, connection, report)


@dataclass(frozen=True, slots=True)
class Composing:
    """The gold teacher: plans made of what a set says, replayed through the rollout that models go through."""

    searcher: Searcher
    protocol: Protocol
    k: int
    sampling: Sampling
    criteria: Criteria

    def __call__(self, batch: Sequence[Question], number: int) -> Rows:
        """Rows of the questions, in order."""
        composed = compose_plans(
            batch,
            self.searcher,
            mode="single" if self.protocol.mode == "single" else "multi",
            k=self.k,
            max_queries=self.protocol.max_queries,
        )
        signed = {"teacher": GOLD, "seed": self.sampling.seed_of(number, 0)}
        plans = [one.plan for one in composed if one.plan is not None]
        rows = iter(
            _judged(
                [one.question.example for one in composed if one.plan is not None],
                PlanSampler(ByteTokenizer(), plans),
                self.searcher,
                self.protocol,
                replace(_PLENTY, k=self.k),
                self.criteria,
                signed,
            )
        )
        return [_planless(one, signed) if one.plan is None else next(rows) for one in composed]


@dataclass(frozen=True, slots=True)
class Asking:
    """A model as the teacher."""

    teacher: Teacher
    sampling: Sampling
    criteria: Criteria

    def __call__(self, batch: Sequence[Question], number: int) -> Rows:
        """Rows of the questions, in order: of each the first trajectory that is kept, else the last."""
        teacher, before = self.teacher, self.teacher.usage
        rows: dict[int, dict[str, Any]] = {}
        for attempt in range(self.sampling.tries):
            left = [place for place in range(len(batch)) if place not in rows or rows[place]["reason"]]
            seed = self.sampling.seed_of(number, attempt)
            if left:
                judged = _judged(
                    [batch[place].example for place in left],
                    teacher.sampler(seed, self.sampling.warmth),
                    teacher.searcher,
                    teacher.protocol,
                    teacher.limits,
                    self.criteria,
                    {"teacher": teacher.name, "seed": seed},
                )
                rows |= zip(left, judged, strict=True)
        cost = [] if teacher.usage is None or before is None else [{"usage": asdict(teacher.usage - before)}]
        return [*(rows[place] for place in range(len(batch))), *cost]


def _judged(
    examples: Sequence[Example],
    sampler: Sampler,
    searcher: Searcher,
    protocol: Protocol,
    limits: Limits,
    criteria: Criteria,
    signed: Mapping[str, Any],
) -> Rows:
    """Rolls out the questions, and says of each why its trajectory is rejected, if it is."""
    rows: Rows = []
    for one in run_rollouts(examples, sampler, searcher, protocol=protocol, limits=limits):
        ids = [segment.token_ids for segment in one.segments if segment.source == "model"]
        reason = why_rejected(one, list(map(sampler.tokenizer.decode, ids)), protocol=protocol, criteria=criteria)
        rows.append({"record": {**to_record(one), **signed}, "reason": reason})
    return rows


def _planless(composed: Composed, signed: Mapping[str, Any]) -> dict[str, Any]:
    return {"record": {**no_record(composed.question.example), **signed}, "reason": composed.reason}


def _work(
    opened: Callable[[], AbstractContextManager[Work]],
    asked: Sequence[Question],
    batch_size: int,
    journal: Journal,
    report: Report,
) -> None:
    """Does the batches that the journal does not have."""
    batches = [asked[start : start + batch_size] for start in range(0, len(asked), batch_size)]
    if len(journal.pieces) == len(batches):
        return
    began, tally = time.perf_counter(), _Tally()
    with journal.working(report), opened() as work:
        report(PhaseStarted(_PHASE, len(asked), "questions"))
        report(tally.count(journal.pieces))
        for number in range(len(journal.pieces), len(batches)):
            journal.add(work(batches[number], number))
            report(tally.count(journal.pieces[-1:]))
    report(PhaseFinished(_PHASE, time.perf_counter() - began))


@dataclass(slots=True)
class _Tally:
    """Questions that are done, and kept ones among them."""

    done: int = 0
    kept: int = 0

    def count(self, pieces: Sequence[Rows]) -> PhaseAdvanced:
        """Counts further pieces, and says how far it is."""
        rows = _rows(pieces)
        self.done += len(rows)
        self.kept += sum(row["reason"] is None for row in rows)
        return PhaseAdvanced(_PHASE, self.done, f"kept {self.kept:,}, rejected {self.done - self.kept:,}")


def _rows(pieces: Sequence[Rows]) -> Rows:
    """One per question."""
    return [row for piece in pieces for row in piece if "record" in row]


def _finish(
    journal: Journal, out: Path, rejected: Path | None, connection: Connection, report: Report
) -> dict[str, Any]:
    """Writes what is kept, and what is not where that is wanted, and counts."""
    rows = _rows(journal.pieces)
    kept = [row["record"] for row in rows if row["reason"] is None]
    others = [row["record"] | {"reason": row["reason"]} for row in rows if row["reason"] is not None]
    reasons = Counter(record["reason"] for record in others)
    if rejected is not None:
        write_rows(rejected, others)
    if kept:
        write_rows(out, kept)
    used = [Usage(**row["usage"]) for piece in journal.pieces for row in piece if "usage" in row]
    usage = {"usage": _cost(sum(used, Usage()), connection, report)} if used else {}
    journal.remove()
    if not kept:
        told = ", ".join(f"{reason}: {number}" for reason, number in reasons.most_common())
        raise DataError(f"None of {len(rows)} questions gave a trajectory to keep ({told})", _NOTHING_KEPT)
    searches = [[len(turn["passages"]) for turn in record["turns"] if turn["passages"]] for record in kept]
    return {
        "questions": len(rows),
        "kept": len(kept),
        "rejected": dict(reasons.most_common()),
        "rounds": round(statistics.fmean(map(len, searches)), 3),
        "queries": round(statistics.fmean(map(sum, searches)), 3),
        "by_kind": dict(Counter(record["kind"] for record in kept)),
        **usage,
    }


_NOTHING_KEPT = "Check that the index holds what the questions ask for, and look at the others with --rejected FILE."


def _cost(usage: Usage, connection: Connection, report: Report) -> dict[str, Any]:
    """What the endpoint counted, and its price where prices were given; both are told."""
    cost = connection.cost(usage)
    told = f"{usage.prompt_tokens:,} tokens read and {usage.completion_tokens:,} written in {usage.requests:,} requests"
    report(Notice(told if cost is None else f"{told}, which cost {cost:.4g}"))
    return asdict(usage) | ({} if cost is None else {"cost": round(cost, 6)})
