"""From an index to a question file: facts or a teacher, questions, checks."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from ragr1_lite.assistant import Setup
from ragr1_lite.config import RetrievalConfig
from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.events import Notice, Part, Report, ignore, phase
from ragr1_lite.core.types import Passage, Searcher
from ragr1_lite.data.questions import to_row
from ragr1_lite.data.trajectories import write_rows
from ragr1_lite.datagen.endpoint import Connection
from ragr1_lite.datagen.questions.facts import Fact, ground, holds, read_facts
from ragr1_lite.datagen.questions.rules import RULES, Made, Sought
from ragr1_lite.datagen.questions.structured import facts_of
from ragr1_lite.datagen.questions.teacher import WRITTEN, Asker, draw_positions, write_questions
from ragr1_lite.datagen.teachers import Teacher, as_teacher, open_teacher
from ragr1_lite.files.alone import alone_at
from ragr1_lite.files.journal import Journal, Rows, finished
from ragr1_lite.files.json_arrays import read_rows
from ragr1_lite.files.writing import refuse_input
from ragr1_lite.retrieval import open_searcher

KINDS = tuple(RULES)
MAX_FACTS = 500_000
"""Facts are held in memory to be joined; some 300 bytes each."""

_BATCH, _WRITTEN_BATCH = 256, 16

Item = TypeVar("Item")


@alone_at("out")
def make_questions(
    index: str,
    *,
    out: Path,
    facts: Path | None = None,
    teacher: str | Teacher | None = None,
    adapter: str | None = None,
    connection: Connection = Connection(),
    kinds: Sequence[str] = KINDS,
    limit: int | None = None,
    seed: int = 0,
    k: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = ignore,
) -> dict[str, Any]:
    """Writes questions with exact answers about an index's documents.

    They are made by rule from facts: those of a file, which a teacher judges, else those that the passages hold in a
    form that cannot be misread. Without a file a teacher writes and judges more, one-hop questions and bridges.

    ``index`` is ``world``, an index folder or, with facts, a URL; ``facts`` a file of triples; ``teacher`` a model's
    name, an endpoint's URL, or an open teacher. The ``kinds`` take turns. A question is kept where its passages are
    found again among ``k`` per query, by default as many as recipes take.

    Returns:
        ``{"passages": read, "facts": read, "questions": made, "kept", "rejected": {reason: n}, "by_kind": {kind: n}}``.
        Reasons of passages and facts that no question was made of begin with ``passage:`` and ``fact:``.

    Raises:
        ConfigError: A kind is unknown, or the index's passages cannot be listed.
        NothingKept: No question could be kept.
        DataError: The facts are unusable, or ``out`` is what is read.
        RunError: An interrupted run is there, and neither ``resume`` nor ``overwrite`` is set.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ConfigError(f"There is no kind of question {unknown[0]!r}", f"Choose among {', '.join(KINDS)}.")
    refuse_input(out, (index, facts))
    if finished(out, resume=resume, overwrite=overwrite, report=report):
        report(Notice("The figures are of the questions that were kept."))
        kept = list(read_rows(out, lambda row, _: row, "Question files are JSON lines."))
        return Tally(limit, questions=len(kept), kept=kept).to_json()
    kinds, k = list(dict.fromkeys(kinds)), k or RetrievalConfig().k
    with ExitStack() as opened:
        if isinstance(teacher, str):
            recipe = as_teacher(Setup(model=teacher, adapter=adapter, index=index, k=k)).recipe(report)
            teacher = open_teacher(recipe, connection=connection, report=report)
            opened.enter_context(closing(teacher))
        searcher = teacher.searcher if teacher else open_searcher(index, report)
        if not facts and not hasattr(searcher, "passage"):
            raise ConfigError(f"The passages of {index} cannot be listed", "Name an index folder, or give --facts.")
        settings = {
            "index": index, "facts": facts and _digest(facts), "teacher": teacher and teacher.name, "adapter": adapter,
            "kinds": kinds, "seed": seed, "k": k,
        }  # fmt: skip
        journal = Journal.start(out, settings, resume=resume, overwrite=overwrite)
        tally = Tally(limit)
        work = _Work(cast("_Listed", searcher), kinds, seed, k, teacher, tally, report)
        with journal.working(report):
            _run(work.batches(facts), journal, tally, report)
        if not tally.kept:
            journal.remove()
            raise _nothing_kept(index, tally, facts, teacher)
        write_rows(out, tally.kept)
        journal.remove()
        if teacher is None:
            report(Notice("Questions made by rule may be answerable without reading."))
        return tally.to_json()


def _digest(facts: Path) -> str:
    """Differs where the file has changed; a name that cannot be opened is its own."""
    try:
        with facts.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return str(facts)


class NothingKept(DataError):
    """No question could be kept; ``counts`` are those of :func:`make_questions`."""

    def __init__(self, message: str, hint: str, counts: dict[str, Any]) -> None:
        super().__init__(message, hint)
        self.counts = counts


class _Listed(Searcher, Protocol):
    """An index whose passages can be read one by one."""

    def __len__(self) -> int: ...

    def passage(self, position: int) -> Passage: ...


@dataclass(slots=True)
class Tally:
    """What became of passages, facts and questions; no more than ``limit`` questions are kept."""

    limit: int | None = None
    passages: int = 0
    facts: int = 0
    questions: int = 0
    kept: list[dict[str, Any]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    _ids: set[str] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether there are enough questions."""
        return self.limit is not None and len(self.kept) >= self.limit

    def take(self, rows: Rows) -> None:
        """Counts judged rows until there are enough; a question that was kept already is a duplicate."""
        for row in rows:
            if self.full:
                return
            self.questions += 1
            question = row.get("question")
            if question is None or question["id"] in self._ids:
                self.rejected[row.get("rejected", "duplicate")] += 1
                continue
            self._ids.add(question["id"])
            self.kept.append(question)

    def to_json(self) -> dict[str, Any]:
        """The counts."""
        return {
            "passages": self.passages,
            "facts": self.facts,
            "questions": self.questions,
            "kept": len(self.kept),
            "rejected": dict((+self.rejected).most_common()),
            "by_kind": dict(Counter(row["kind"] for row in self.kept)),
        }


@dataclass(frozen=True, slots=True)
class _Work:
    """The batches of the work, each of which follows from the seed and its number alone."""

    searcher: _Listed
    kinds: Sequence[str]
    seed: int
    k: int
    teacher: Teacher | None
    tally: Tally
    report: Report

    def batches(self, facts: Path | None) -> Iterator[Callable[[], Rows]]:
        """What makes the rows of each batch."""
        if facts is not None:
            return self._of_facts(read_facts(facts, self.report))
        by_rule = replace(self, teacher=None)._of_facts(self._facts())
        return chain(by_rule, self._by_teacher()) if self.teacher else by_rule

    def _of_facts(self, source: Iterator[Fact]) -> Iterator[Callable[[], Rows]]:
        """By rule; a teacher, if there is one, judges them."""
        facts, rejected = ground(self._counted(source), self.searcher)
        self.tally.rejected += rejected
        by_kind = [RULES[kind](facts, random.Random(f"{self.seed}:{kind}")) for kind in self.kinds]
        made = (one for turn in zip_longest(*by_kind) for one in turn if one is not None)
        for number, batch in enumerate(_batches(made, _BATCH)):
            yield partial(_judge, batch, self.searcher, self.k, self._asker(number))

    def _by_teacher(self) -> Iterator[Callable[[], Rows]]:
        """The teacher writes, passage by passage in a drawn order, and judges itself."""
        kinds = [kind for kind in self.kinds if kind in WRITTEN]
        if not kinds:
            return
        for number, batch in enumerate(_batches(draw_positions(len(self.searcher), self.seed), _WRITTEN_BATCH)):
            yield partial(self._write, number, batch, kinds)

    def _write(self, number: int, positions: Sequence[int], kinds: Sequence[str]) -> Rows:
        asker = self._asker(number)
        assert asker is not None
        passages = [self.searcher.passage(position) for position in positions]
        made = write_questions(passages, kinds, self.searcher, asker)
        return _judge(made, self.searcher, self.k, asker)

    def _asker(self, number: int) -> Asker | None:
        return Asker(self.teacher.sampler, self.seed, str(number)) if self.teacher else None

    def _facts(self) -> Iterator[Fact]:
        with phase(self.report, "Reading passages", len(self.searcher), "passages") as advance:
            before = ""
            for position in range(len(self.searcher)):
                self.tally.passages += 1
                passage = self.searcher.passage(position)
                facts = list(facts_of(passage, before))
                self.tally.rejected["passage: no sure fact"] += not (facts or self.teacher)  # it writes of the others
                yield from facts
                before = passage.text
                if position % 1000 == 0:
                    advance(position)

    def _counted(self, facts: Iterable[Fact]) -> Iterator[Fact]:
        for fact in islice(facts, MAX_FACTS):
            self.tally.facts += 1
            yield fact
        if self.tally.facts == MAX_FACTS:
            self.report(Notice(f"Only the first {MAX_FACTS:,} facts are used.", "warning"))


def _run(batches: Iterable[Callable[[], Rows]], journal: Journal, tally: Tally, report: Report) -> None:
    """Does the batches that the journal does not have yet, until there are enough questions."""
    with phase(report, "Making questions", tally.limit, "questions") as advance:
        for number, batch in enumerate(batches):
            part: Part = "skipped"
            if number == len(journal.pieces):
                journal.add(batch())
                part = "ended"
            tally.take(journal.pieces[number])
            advance(len(tally.kept), f"of {tally.questions:,} tried", part=part)
            if tally.full:
                break


def _judge(made: Sequence[Made | str], searcher: Searcher, k: int, asker: Asker | None) -> Rows:
    """A row per question, in order: ``{"question": …}`` as question files have it, or ``{"rejected": reason}``.

    The searcher has to find each question's passages among ``k`` per query. A teacher, if there is one, must not know
    the answers, and must find them in the passages.
    """
    questions = [one for one in made if isinstance(one, Made)]
    results = iter(searcher.search([sought.query for one in questions for sought in one.sought], k))
    found = [[next(results) for _ in one.sought] for one in questions]
    reasons = [
        "" if all(map(_is_among, one.sought, passages)) else "passage not found again"
        for one, passages in zip(questions, found, strict=True)
    ]
    if asker is not None:
        left = [number for number, reason in enumerate(reasons) if not reason]
        for number, reply in zip(left, asker.answer_unread([_text(questions[one]) for one in left]), strict=True):
            reasons[number] = "known without reading" if _answers(questions[number], reply) else ""
        left = [number for number in left if not reasons[number]]
        documents = [[*dict.fromkeys(passage for each in found[one] for passage in each)] for one in left]
        replies = asker.answer_read([_text(questions[one]) for one in left], documents)
        for number, reply in zip(left, replies, strict=True):
            reasons[number] = "" if _answers(questions[number], reply) else "not answered from what is found"
    rows = iter(
        {"rejected": reason} if reason else {"question": to_row(one.question)}
        for one, reason in zip(questions, reasons, strict=True)
    )
    return [{"rejected": one} if isinstance(one, str) else next(rows) for one in made]


def _is_among(sought: Sought, found: Sequence[Passage]) -> bool:
    titled = [passage for passage in found if passage.title == sought.title]
    return any(not sought.forms or holds(passage.text, sought.forms) for passage in titled)


def _text(made: Made) -> str:
    return made.question.example.question


def _answers(made: Made, reply: str) -> bool:
    return holds(reply, made.question.example.answers)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def _nothing_kept(index: str, tally: Tally, facts: Path | None, teacher: Teacher | None) -> NothingKept:
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.rejected.most_common(5))
    hint = "Raise -k, or take another teacher." if teacher else "Give facts with --facts, or a --teacher."
    if facts:
        hint = "Check that the facts are about the index's documents, or raise -k."
    message = f"No question about {index} could be kept ({reasons or 'no fact was found'})"
    return NothingKept(message, hint, tally.to_json())
