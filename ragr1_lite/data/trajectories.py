"""Trajectory files: JSON lines, plain or compressed.

A line (a *record*) is a question, ``{"id", "question", "answers", "kind"}`` and where known ``gold_titles``, and the
turns with their passages; it holds text and no ids, so that it fits every tokenizer. Where the token budget cut a
passage, ``shown`` is what the model saw of its text, empty where that was nothing. ``read_by`` says how an answer
without a tag was read, ``hidden`` names the passages that were hidden from the question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args

from ragr1_lite.core.errors import DataError, RunError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.hiding import without
from ragr1_lite.core.rewards import exact_match
from ragr1_lite.core.types import Example, Passage, Reading, Trajectory, Turn
from ragr1_lite.data.other_forms import Unfinished, as_record, is_r1_searcher
from ragr1_lite.files.json_arrays import read_rows
from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.files.writing import json_text, write_atomic

RECORD_FORM = (
    "Trajectory files are written by `ragr1-lite data generate` and `ragr1-lite eval --out`, or are R1-Searcher's, or "
    "rows for chat training with a whole trajectory in our tags."
)


def write_records(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """Writes trajectories as records, one a line, atomically."""
    write_rows(path, map(to_record, trajectories))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes objects as JSON, one a line, atomically."""
    write_atomic(path, "".join(json_text(row) + "\n" for row in rows))


def to_record(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory as a row of a trajectory file."""
    return {
        **_fields(trajectory.example),
        "answer": trajectory.answer,
        **({"read_by": trajectory.read_by} if trajectory.read_by not in (None, "tag") else {}),
        "stop_reason": trajectory.stop_reason,
        "turns": [
            {
                "kind": turn.kind,
                "think": turn.think,
                "queries": list(turn.queries),
                "passages": [_found_rows(*pair) for pair in zip(turn.passages, turn.shown, strict=True)],
            }
            for turn in trajectory.turns
        ],
    }


def _found_rows(found: Sequence[Passage], shown: Sequence[Passage]) -> list[dict[str, Any]]:
    """What one query found, with what was shown of it where that was less."""
    rows = [asdict(passage) for passage in found]
    for row, passage, seen in zip_longest(rows, found, shown):
        for name in ("place", "index", "file"):
            if not row[name]:
                del row[name]
        if seen != passage:
            row["shown"] = seen.text if seen else ""
    return rows


def no_record(example: Example) -> dict[str, Any]:
    """The record of a question for which there is no trajectory: one without turns and answer."""
    return {**_fields(example), "answer": None, "stop_reason": None, "turns": []}


def _fields(example: Example) -> dict[str, Any]:
    """The question's keys of a record; hops, pass rate, gold and hidden titles only where they are known."""
    fields = asdict(example) | {"answers": list(example.answers), "hidden": list(example.hidden)}
    fields["gold_titles"] = list(fields.pop("titles"))
    unknown: dict[str, Any] = {"hops": 0, "pass_rate": None, "gold_titles": [], "hidden": []}
    return {key: value for key, value in fields.items() if key not in unknown or value != unknown[key]}


def rows_again(path: Path, asked: Iterable[Example]) -> list[dict[str, Any]]:
    """The rows of a finished work's file, none where there is no file; RunError where one is of no question asked."""
    known = {(one.id, one.question) for one in asked}
    there = path.exists() and path.stat().st_size
    rows = list(read_rows(path, lambda row, _: row, RECORD_FORM)) if there else []
    if foreign := next((row for row in rows if (row.get("id"), row.get("question")) not in known), None):
        raise RunError(
            f"{path} is of other questions, such as {foreign.get('id')}",
            "Give the same ones to --resume, or begin anew with --overwrite.",
        )
    return rows


def read_records(path: Path, *, limit: int | None = None, report: Report = ignore) -> list[Trajectory]:
    """Reads the answered trajectories of a file, at most ``limit``; the others teach nothing and are counted.

    They have no segments, as a file holds no ids; all their turns but the last are searches. Raises DataError where
    the file is missing, of another form, or has no answered trajectory.
    """
    read = list(read_rows(path, _parse_record, RECORD_FORM, report))
    records = [one for one in read if isinstance(one, Trajectory)]
    why = Counter(one for one in read if isinstance(one, str))
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in why.items())
    if not records:
        hint = "Generate others, or use another file."
        raise DataError(f"No trajectory in {path} ends in an answer ({reasons})", hint)
    if why:
        report(Notice(f"{why.total():,} of {len(read):,} trajectories are left out: {reasons}.", "warning"))
    return records[:limit]


def _parse_record(row: dict[str, Any], number: int) -> Trajectory | str:
    """The record of a row, or why it teaches nothing; of R1-Searcher's, which nobody has chosen, only right ones do."""
    try:
        example, turns = parse_turns(row, number)
    except Unfinished as sample:
        return str(sample).removeprefix("is ")
    searches = turns[:-1]
    if not turns or turns[-1].answer is None or any(turn.kind != "search" for turn in searches):
        return "no answer, or tags that do not fit"
    if is_r1_searcher(row) and not exact_match(turns[-1].answer, example.answers):
        return "wrong answer"
    if any(len(turn.queries) != len(turn.passages) for turn in searches):
        raise _no_trajectory("`passages` are not as many as `queries`")
    if any(without(found, example.hidden) != found for turn in searches for found in turn.passages):
        raise _no_trajectory("passages that are `hidden` were found")
    return Trajectory(example, (), turns, "answer")


def parse_turns(row: dict[str, Any], number: int) -> tuple[Example, tuple[Turn, ...]]:
    """The question of a row, in our form or R1-Searcher's, and its turns, whether or not they lead to an answer.

    ``number`` is the question's id where the row has none. Raises BadLine where a key is missing or not of its kind.
    """
    row = as_record(row)
    turns = _each(row, "turns", dict)
    answer = None if row.get("answer") is None else _text(row, "answer")
    read_by = _get(row, "read_by", str, "tag")
    if read_by not in get_args(Reading):
        raise _no_trajectory(f"`read_by` is none of {', '.join(get_args(Reading))}")
    parsed = [_turn(turn, answer if turn is turns[-1] else None) for turn in turns]
    if answer is not None and parsed:
        parsed[-1] = replace(parsed[-1], read_by=read_by)
    return _example(row, number), tuple(parsed)


def _turn(row: Mapping[str, Any], answer: str | None) -> Turn:
    """A turn; ``answer`` is the trajectory's where it is the last one."""
    kind, think = _get(row, "kind", str), _get(row, "think", str)
    if kind == "invalid":
        return Turn("invalid", think)
    if kind == "answer" and answer is not None:
        return Turn("answer", think, answer=answer)
    if kind != "search":
        raise _no_trajectory("a turn is no search, and no answer with the trajectory's `answer`")
    queries, found = _each(row, "queries", str), _each(row, "passages", list)
    if not queries or len(found) not in (0, len(queries)):
        raise _no_trajectory("`passages` are not as many as `queries`")
    pairs = [[_passage(one) for one in _all(rows, "passages", dict)] for rows in found]
    passages = tuple(tuple(whole for whole, _ in some) for some in pairs)
    shown = tuple(tuple(seen for _, seen in some if seen) for some in pairs)
    return Turn("search", think, tuple(queries), passages=passages, cut=None if shown == passages else shown)


def _example(row: Mapping[str, Any], number: int) -> Example:
    answers = tuple(answer for answer in _each(row, "answers", str) if answer.strip())
    if not answers:
        raise _no_trajectory("`answers` are empty")
    return Example(
        str(_get(row, "id", (str, int), number)),
        _text(row, "question").strip(),
        answers,
        _get(row, "kind", str, ""),
        _get(row, "hops", int, 0),
        _get(row, "pass_rate", (float, int), None),
        tuple(_all(_get(row, "gold_titles", list, []), "gold_titles", str)),
        tuple(_all(_get(row, "hidden", list, []), "hidden", str)),
    )


def _passage(row: Mapping[str, Any]) -> tuple[Passage, Passage | None]:
    """A passage, and what the model saw of it."""
    id, title, text = (_get(row, key, str) for key in ("id", "title", "text"))
    known = (_get(row, key, str, "") for key in ("place", "index", "file"))
    found = Passage(id, title, text, _get(row, "score", (float, int), 0.0), *known)
    seen = _get(row, "shown", str, None)
    return found, found if seen is None else replace(found, text=seen) if seen else None


_KINDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    (float, int): "a number",
    (str, int): "text or a number",
    list: "a list",
    dict: "an object",
}
_MISSING: Any = object()


def _get(row: Mapping[str, Any], key: str, kind: Any, default: Any = _MISSING) -> Any:
    """The value of a key, or the default where it is missing or null."""
    value = row.get(key)
    if value is None and default is not _MISSING:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _no_trajectory(f"`{key}` is not {_KINDS[kind]}")
    return value


def _text(row: Mapping[str, Any], key: str) -> str:
    """A text that is not blank."""
    text: str = _get(row, key, str)
    if not text.strip():
        raise _no_trajectory(f"`{key}` is empty")
    return text


def _each(row: Mapping[str, Any], key: str, kind: type) -> list[Any]:
    """A list of values of one kind."""
    return _all(_get(row, key, list), key, kind)


def _all(values: list[Any], key: str, kind: type) -> list[Any]:
    for value in values:
        if not isinstance(value, kind):
            raise _no_trajectory(f"`{key}` holds something that is not {_KINDS[kind]}")
    return values


def _no_trajectory(reason: str) -> BadLine:
    return BadLine(f"is no trajectory ({reason})")
