"""Stage 2's selection: the questions that a model can learn from by reward, found by its own rollouts.

``first-right`` is the paper's rule: it keeps the questions that are wrong at first and right in one of several rollouts
at a higher temperature, hard yet answerable, and a share of those that are right at first. ``pass-rate`` keeps those
that are neither always right nor always wrong: groups of equal rewards teach GRPO nothing.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ragr1_lite import world
from ragr1_lite.assistant import Setup
from ragr1_lite.config import WORLD, GrpoConfig
from ragr1_lite.core.errors import ConfigError, DataError, RunError
from ragr1_lite.core.events import Notice, Report, ignore, phase
from ragr1_lite.core.rewards import exact_match
from ragr1_lite.core.rollout import run_rollouts
from ragr1_lite.core.types import Example
from ragr1_lite.data.questions import Question, digest, read_questions, to_row
from ragr1_lite.data.trajectories import rows_again, write_rows
from ragr1_lite.datagen.endpoint import Connection
from ragr1_lite.datagen.teachers import Teacher, open_teacher, settings_of
from ragr1_lite.files.alone import alone_at
from ragr1_lite.files.journal import Journal, already_there, finished
from ragr1_lite.files.writing import beside, refuse_input, writing

By = Literal["first-right", "pass-rate"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A question's rollouts: whether the first one was right, how many there were, and how many were right."""

    first: bool
    tries: int
    right: int

    @property
    def pass_rate(self) -> float:
        """The share of right rollouts."""
        return self.right / self.tries


@dataclass(frozen=True, slots=True)
class Rule:
    """How questions are measured and which are kept. Defaults are the paper's.

    Attributes:
        by: ``first-right``: a greedy rollout, then others until one is right; ``pass-rate``: equally many of each.
        tries: Rollouts of a question at most, without the greedy one.
        temperature: Of these rollouts; by default 1.2 for ``first-right``, that of GRPO recipes for ``pass-rate``.
        rounds: Retrieval rounds of a rollout, at most.
        seed: Of rollouts and draws.
        easy_share: Share that is kept of the questions that are right at first; ``first-right`` only.
        between: The lowest and the highest pass rate that are kept, ``pass-rate`` only; by default all but 0 and 1.
        validation: Share of the kept questions that is set aside.

    Raises:
        ConfigError: ``temperature``, ``tries`` or ``between`` is of no use.
    """

    by: By = "first-right"
    tries: int = 10
    temperature: float | None = None
    rounds: int = 10
    seed: int = 0
    easy_share: float = 0.25
    between: tuple[float, float] | None = None
    validation: float = 0.05

    def __post_init__(self) -> None:
        if not self.resolved_temperature > 0:
            raise ConfigError("At temperature 0 every rollout is the same", "Choose a --temperature above 0.")
        if self.by == "pass-rate" and self.tries < 2 and self.between is None:
            raise ConfigError("With --tries 1 every pass rate is 0 or 1: none is kept", "Choose more --tries.")
        if self.between is None:
            return
        if self.by != "pass-rate":
            raise ConfigError("--keep-between is about pass rates", "Add --by pass-rate.")
        low, high = self.between
        if not 0 <= low <= high <= 1:
            raise ConfigError(f"--keep-between {low:g} {high:g} is no range of pass rates", "Write it as 0.1 0.9.")

    @property
    def resolved_temperature(self) -> float:
        """The temperature, or its default."""
        if self.temperature is not None:
            return self.temperature
        return 1.2 if self.by == "first-right" else GrpoConfig().temperature

    @property
    def rollouts(self) -> int:
        """Rollouts of a question at most, with the greedy one."""
        return self.tries + (self.by == "first-right")

    def keeps(self, outcome: Outcome) -> bool:
        """Whether a question may be kept; of those that are right at first, ``first-right`` then draws a share."""
        if self.by == "first-right":
            return outcome.right > 0
        if self.between is None:
            return 0 < outcome.right < outcome.tries
        return self.between[0] <= outcome.pass_rate <= self.between[1]


def choose(outcomes: Sequence[Outcome], rule: Rule) -> tuple[list[int], list[int]]:
    """The numbers of the questions that are kept for training and for validation, each in order."""
    kept = {number for number, outcome in enumerate(outcomes) if rule.keeps(outcome)}
    if rule.by == "first-right":
        easy = [number for number in sorted(kept) if outcomes[number].first]
        kept -= {*easy} - {*_draw(easy, rule.easy_share, f"{rule.seed}:easy")}
    validation = _draw(sorted(kept), rule.validation, f"{rule.seed}:validation")
    return sorted(kept - {*validation}), validation


def _draw(numbers: Sequence[int], share: float, seed: str) -> list[int]:
    return sorted(random.Random(seed).sample(numbers, round(share * len(numbers))))


def histogram(outcomes: Sequence[Outcome], rule: Rule) -> dict[str, int]:
    """How many questions were right at first, in try 1, 2, …, never; by ``pass-rate``, in 0, 1, … of the rollouts."""
    if rule.by == "first-right":
        names = ["at first", *(f"in try {attempt}" for attempt in range(1, rule.tries + 1)), "never"]
        places = Counter(outcome.tries - 1 if outcome.right else rule.tries + 1 for outcome in outcomes)
    else:
        names = [f"{right} of {rule.tries}" for right in range(rule.tries + 1)]
        places = Counter(outcome.right for outcome in outcomes)
    return {name: places[place] for place, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Selection:
    """One outcome per question, the numbers of those that are kept, and the seconds without an interrupted run's."""

    outcomes: tuple[Outcome, ...]
    train: tuple[int, ...]
    validation: tuple[int, ...]
    histogram: Mapping[str, int]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON; the hard questions are those that were wrong in their first rollout."""
        kept = [self.outcomes[number] for number in (*self.train, *self.validation)]
        easy = sum(outcome.first for outcome in kept)
        return {
            "kept": len(kept),
            "histogram": list(self.histogram.values()),
            "questions": len(self.outcomes),
            "right_first": sum(outcome.first for outcome in self.outcomes),
            "hard_kept": len(kept) - easy,
            "easy_kept": easy,
            "train": len(self.train),
            "validation": len(self.validation),
            "seconds": round(self.seconds, 1),
        }


def run(
    sources: Sequence[str],
    out: Path,
    setup: Setup = Setup(),
    *,
    rule: Rule,
    connection: Connection = Connection(),
    split: str = "train",
    limit: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = ignore,
) -> Selection:
    """Selects, as :func:`select` does, by the rollouts of the setup's model, which may be the URL of an endpoint.

    ``sources`` are question files or ``world``, of which ``split`` is taken; of their questions, ``limit`` are drawn by
    the rule's seed.

    Raises:
        RagR1Error: Questions, model or index cannot be used, or as in :func:`select`.
    """
    recipe = setup.recipe(report)
    for file in (out, validation_of(out)):
        refuse_input(file, (*sources, *recipe.retrieval.indexes))
    if list(sources) == [WORLD]:
        questions = [Question(one.example) for one in world.questions(split, seed=rule.seed, limit=limit)]
    else:
        questions = read_questions(sources, limit=limit, seed=rule.seed, report=report)
    return select(
        questions,
        out,
        lambda: open_teacher(recipe, connection=connection, report=report),
        rule=rule,
        batch_size=setup.batch_size,
        settings=settings_of(recipe, connection),
        resume=resume,
        overwrite=overwrite,
        report=report,
    )


@alone_at("out")
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
    """Measures questions, and writes those that are kept to ``out`` and, next to it, ``NAME.validation.jsonl``.

    Their lines are those of question files, with the pass rate and the number of rollouts it was measured in. A
    resumed run may choose among the measured questions by another rule, but not measure them in another way: the
    ``settings`` are all that decides the rollouts apart from the rule. ``opened`` opens the model, if it is needed.

    Raises:
        DataError: A file exists already, or no question is kept.
        RunError, StorageError: See :meth:`~ragr1_lite.files.journal.Journal.start`.
    """
    began = time.perf_counter()
    validation_file = validation_of(out)
    if finished(out, resume=resume, overwrite=overwrite, report=report):
        return _read_again(out, questions, rule, report)
    if validation_file.exists() and not (resume or overwrite):
        raise already_there(validation_file)
    measured_by = {
        "by": rule.by,
        "tries": rule.tries,
        "rounds": rule.rounds,
        "seed": rule.seed,
        "temperature": rule.resolved_temperature,
        "questions": digest(questions),
        "batch_size": batch_size,
        **(settings or {}),
    }
    journal = Journal.start(out, measured_by, resume=resume, overwrite=overwrite)
    with journal.working(report):
        _measure_all(questions, opened, journal, rule, batch_size, report)
    outcomes = _outcomes(journal)
    train, validation = choose(outcomes, rule)
    bins = histogram(outcomes, rule)
    if not train:
        counts = ", ".join(f"{name} {count}" for name, count in bins.items() if count)
        raise DataError(
            f"None of {len(questions)} questions is kept; they were right {counts}",
            "Go on with --resume and another --keep-between or --easy-share, or begin anew with --overwrite.",
        )
    if validation:
        write_rows(validation_file, [_row(questions[number], outcomes[number]) for number in validation])
    else:  # an empty question file could not be read
        with writing(validation_file):
            validation_file.unlink(missing_ok=True)
    write_rows(out, [_row(questions[number], outcomes[number]) for number in train])
    journal.remove()
    return Selection(tuple(outcomes), tuple(train), tuple(validation), bins, time.perf_counter() - began)


def validation_of(out: Path) -> Path:
    """Where the questions go that are set aside."""
    return beside(out, f"{out.name.removesuffix('.jsonl')}.validation.jsonl")


def _read_again(out: Path, questions: Sequence[Question], rule: Rule, report: Report) -> Selection:
    """The selection that files hold: of the questions that were kept alone, as the others are in none.

    Raises:
        RunError: They are of other questions.
    """
    parts = [rows_again(file, [one.example for one in questions]) for file in (out, validation_of(out))]
    rows = [row for part in parts for row in part]
    if any("tries" not in row for row in rows):
        raise RunError(f"{out} does not say what was measured", "Begin anew with --overwrite.")
    report(Notice("The figures are of the questions that were kept."))
    outcomes = [Outcome(row["tries"] == 1, row["tries"], round(row["pass_rate"] * row["tries"])) for row in rows]
    numbers = range(len(outcomes))
    train = len(parts[0])
    return Selection(tuple(outcomes), tuple(numbers[:train]), tuple(numbers[train:]), histogram(outcomes, rule), 0.0)


def _measure_all(
    questions: Sequence[Question],
    opened: Callable[[], Teacher],
    journal: Journal,
    rule: Rule,
    batch_size: int,
    report: Report,
) -> None:
    """Measures the batches that the journal does not have yet."""
    starts = range(0, len(questions), batch_size)[len(journal.pieces) :]
    if not starts:
        return
    with closing(opened()) as teacher:
        with phase(report, "Selecting", len(questions) - starts[0], "questions") as advance:
            for start in starts:
                kept = sum(map(len, choose(_outcomes(journal), rule)))
                so_far = f"{kept} kept of the first {start}" if start else ""

                def advance_by(through: int, done: int = start - starts[0], so_far: str = so_far) -> None:
                    advance(done + through, so_far, part="going on")

                examples = [question.example for question in questions[start : start + batch_size]]
                outcomes = measure(examples, teacher, rule=rule, batch=start // batch_size, advance=advance_by)
                journal.add([asdict(outcome) for outcome in outcomes])
                advance(start - starts[0] + len(examples), so_far)
        if teacher.usage:
            report(Notice(f"{teacher.name}: {Connection().describe(teacher.usage)}"))


def measure(
    examples: Sequence[Example],
    teacher: Teacher,
    *,
    rule: Rule,
    batch: int,
    advance: Callable[[int], None] = lambda through: None,
) -> list[Outcome]:
    """Rolls out a batch of questions together, one try after the other.

    By ``first-right`` a question leaves with its first right rollout. A try's seed follows from the rule's seed, the
    batch's number and the try alone, so that a batch's outcomes do not depend on what was done before it. ``advance``
    receives, after each try, how many of the batch's questions are done.
    """
    limits = replace(teacher.limits, max_rounds=rule.rounds)
    results: list[list[bool]] = [[] for _ in examples]
    live = list(range(len(examples)))
    for attempt in range(rule.rollouts):
        greedy = rule.by == "first-right" and attempt == 0
        seed = random.Random(f"{rule.seed}:{batch}:{attempt}").getrandbits(31)
        trajectories = run_rollouts(
            [examples[number] for number in live],
            teacher.sampler(seed, 0.0 if greedy else rule.resolved_temperature),
            teacher.searcher,
            protocol=teacher.protocol,
            limits=limits,
        )
        for number, trajectory in zip(live, trajectories, strict=True):
            results[number].append(exact_match(trajectory.answer, trajectory.example.answers) == 1)
        if rule.by == "first-right":
            live = [number for number in live if not results[number][-1]]
        advance(max(len(examples) - len(live), len(examples) * (attempt + 1) // rule.rollouts))
        if not live:
            break
    return [Outcome(tries[0], len(tries), sum(tries)) for tries in results]


def _outcomes(journal: Journal) -> list[Outcome]:
    return [Outcome(**row) for rows in journal.pieces for row in rows]


def _row(question: Question, outcome: Outcome) -> dict[str, Any]:
    example = replace(question.example, pass_rate=round(outcome.pass_rate, 4))
    return {**to_row(replace(question, example=example)), "tries": outcome.tries}
