"""Reads question sets: files of every form, compressed or not, and data sets on the hub."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.data.questions.fields import is_unanswerable
from ragr1_lite.data.questions.forms import KEYS, parse_question
from ragr1_lite.data.questions.question import Question, QuestionSet
from ragr1_lite.files.json_lines import BadLines, Row, Wanted, parsed
from ragr1_lite.files.sources import File, find_rows, rows_of


def _columns_of(first: list[str]) -> list[str] | None:
    """A question and a list of answers, as DPR's files have them without a header."""
    return ["question", "answers"] if len(first) == 2 and first[1].lstrip()[:1] == "[" else None


QUESTIONS = Wanted(
    what="question file",
    hint="Questions are JSON lines (.jsonl), a JSON array (.json), a table (.tsv, .csv, .parquet) or hub:OWNER/NAME.",
    line='A question file has one JSON object a line, such as {"question": "…", "answers": ["…"]}.',
    table="A table of questions has the columns question and answers, named in its first line.",
    keys=tuple(dict.fromkeys((*KEYS, "Question", "Answer", "QuestionId"))),
    needed=("question", "prompt", "Question"),
    unnamed=_columns_of,
)


def read_questions(
    sources: Sequence[str | Path] | str | Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    kinds: Collection[str] | None = None,
    report: Report = ignore,
) -> list[Question]:
    """Reads questions, or only those of some kinds; with ``limit`` a random draw of at most so many, by ``seed``.

    A source is a file in any of :data:`~ragr1_lite.data.questions.forms.FORMS`: JSON lines, a JSON array, a table
    (``.tsv``, ``.csv``, ``.parquet``), plain or compressed (``.gz``, ``.zst``, ``.bz2``, ``.xz``); or a data set on the
    hub, ``hub:OWNER/NAME[:CONFIG][:SPLIT]``. Rows without an id are numbered; an id that was there before gets a
    number behind it, so that ids are unique over all sources.

    Raises:
        DataError: A source is missing, broken, of another form, has no question, or too many bad rows
            (:class:`~ragr1_lite.files.json_lines.BadLines`).
    """
    found = read_set(sources, report=report).questions
    chosen = [one for one in found if kinds is None or one.example.kind in kinds]
    return chosen if limit is None else random.Random(seed).sample(chosen, min(limit, len(chosen)))


def read_set(sources: Sequence[str | Path] | str | Path, *, report: Report = ignore) -> QuestionSet:
    """Reads questions, and counts what they came in; see :func:`read_questions`."""
    names = [sources] if isinstance(sources, str | Path) else sources
    result, ids = QuestionSet([], Counter()), Counter[str]()
    for source in [find_rows(name, QUESTIONS) for name in names]:
        before, nothing = len(result.questions), f"There is no question in {source}"
        table = isinstance(source, File) and source.form in ("tsv", "csv")
        bad = BadLines(QUESTIONS.table if table else QUESTIONS.line, "rows")
        rows = ((source.place(number), row) for number, row in rows_of(source, QUESTIONS))
        for question in parsed(rows, lambda row, _: _parse(row, result), bad, nothing, report):
            if question:
                result.questions.append(_with_own_id(question, ids))
        if len(result.questions) == before:
            raise DataError(f"{nothing}{bad.first}", bad.form)
        result.bad += bad.count
    if result.unanswerable:
        report(Notice(f"Left out {result.unanswerable} questions that their set says cannot be answered"))
    return result


def _parse(row: Row, result: QuestionSet) -> Question | None:
    """The question of a row; none where it cannot be answered."""
    if is_unanswerable(row):
        result.unanswerable += 1
        return None
    form, question = parse_question(row, len(result.questions))
    result.forms[form.name] += 1
    return question


def _with_own_id(question: Question, ids: Counter[str]) -> Question:
    """The question; where its id was there before, with a number behind the id."""
    id = question.example.id
    ids[id] += 1
    if ids[id] == 1:
        return question
    while (own := f"{id}-{ids[id]}") in ids:
        ids[id] += 1
    ids[own] = 1
    return replace(question, example=replace(question.example, id=own))
