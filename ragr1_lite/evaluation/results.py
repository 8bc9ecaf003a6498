"""The result of each question, why it is wrong, and the file that keeps it: what `report` and `compare` read.

Each wrong answer has exactly one cause, so that the causes sum to the errors.

A line is a trajectory file's (``data.trajectories``) with figures added: ``mode``, ``read_by`` (how the answer was
read; null where there is none, missing in older files, which read tags alone), ``seconds``, ``em``,
``f1``, ``cover_em``, ``cause`` (null where the answer is right), ``rounds``, ``queries``, ``sampled_tokens``,
``retrieved_tokens``, ``segments``: ``[{"source", "tokens"}]``; where a question was answered several times, ``sample``,
the answer's number.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.evidence import Evidence
from ragr1_lite.core.rewards import OURS, Scorer
from ragr1_lite.core.types import Mode, Segment, Source, StopReason, Trajectory, Turn
from ragr1_lite.data.trajectories import parse_turns, to_record
from ragr1_lite.files.json_arrays import read_rows
from ragr1_lite.files.json_lines import BadLine

T = TypeVar("T")
Cause = Literal["format", "budget", "unsearched", "synthesis", "retrieval"]


def cause(trajectory: Trajectory, scorer: Scorer = OURS) -> Cause | None:
    """The first of these that holds; ``None`` where the answer is right.

    - ``format``: the model wrote no usable tag and no answer in free text, or was cut while it wrote.
    - ``budget``: it still searched in its last generation, or the sequence was full.
    - ``unsearched``: nothing was ever retrieved for it.
    - ``synthesis``: what the model saw of the passages holds the answer; see :mod:`ragr1_lite.core.evidence`.
    - ``retrieval``: everything else; the model never saw the answer, or whether it did cannot be known.
    """
    if scorer.exact_match(trajectory.answer, trajectory.example.answers) == 1.0:
        return None
    if trajectory.stop_reason in ("invalid", "length"):
        return "format"
    if trajectory.stop_reason in ("budget", "context"):
        return "budget"
    if not trajectory.rounds:
        return "unsearched"
    return "synthesis" if Evidence.of(trajectory.example).complete_in(trajectory.shown) else "retrieval"


def failures(trajectories: Sequence[Trajectory]) -> dict[str, float | None]:
    """The failure signatures of searches; ``None`` where nothing could show them.

    Returns:
        ``query_imbalance``: the share of a search's passages with the answer that its best query brought, over searches
        with several queries that brought any; 1 means that one query did all the work.
        ``passage_overlap``: passages that two queries of a search both brought over those that either did, over all
        such pairs. ``repeated_queries``: the share of queries that an earlier turn had asked.
    """
    return {
        "query_imbalance": _mean(share for one in trajectories for share in _best_shares(one)),
        "passage_overlap": _mean(share for one in trajectories for turn in one.turns for share in _overlaps(turn)),
        "repeated_queries": _mean(float(again) for one in trajectories for again in _repeated(one)),
    }


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return round(statistics.fmean(known), 4) if known else None


def _best_shares(trajectory: Trajectory) -> Iterator[float]:
    """For each search with several queries and passages with the answer, the share of these that its best one found."""
    evidence = Evidence.of(trajectory.example)
    for turn in trajectory.turns:
        if len(turn.passages) < 2:
            continue
        useful = [{one.key for one in found if evidence.held_by(one)} for found in turn.passages]
        if every := set[tuple[str, str]]().union(*useful):
            yield max(map(len, useful)) / len(every)


def _overlaps(turn: Turn) -> Iterator[float]:
    """For each two queries of a search, the share of their passages that both found; none where they found nothing."""
    for one, other in combinations([{passage.key for passage in found} for found in turn.passages], 2):
        if one | other:
            yield len(one & other) / len(one | other)


def _repeated(trajectory: Trajectory) -> Iterator[bool]:
    """For each query that was answered, whether an earlier turn had asked it."""
    earlier: set[str] = set()
    for turn in trajectory.turns:
        if turn.passages:
            asked = [" ".join(query.casefold().split()) for query in turn.queries]
            yield from (query in earlier for query in asked)
            earlier.update(asked)


RESULTS_FORM = "Evaluation files are written by `ragr1-lite eval --out`."
_SCORES = ("em", "f1", "cover_em")
_COUNTS = ("rounds", "queries", "sampled_tokens", "retrieved_tokens")


@dataclass(frozen=True, slots=True)
class Result:
    """The rollout of a question, and how it is scored.

    Attributes:
        trajectory: The rollout.
        mode: How the model could search.
        seconds: Its share of the wall time.
        scorer: Compares the answer with the accepted ones.
        sample: Which of a question's answers it is, from 0.
    """

    trajectory: Trajectory
    mode: Mode
    seconds: float
    scorer: Scorer = OURS
    sample: int = 0

    @property
    def em(self) -> float:
        """Exact match, 1.0 or 0.0."""
        return self.scorer.exact_match(self.trajectory.answer, self.trajectory.example.answers)

    @property
    def f1(self) -> float:
        """F1 of the words."""
        return self.scorer.f1(self.trajectory.answer, self.trajectory.example.answers)

    @property
    def cover_em(self) -> float:
        """1.0 where the answer contains an accepted one."""
        return self.scorer.covers(self.trajectory.answer, self.trajectory.example.answers)

    @property
    def cause(self) -> Cause | None:
        """Why the answer is wrong; ``None`` where it is right."""
        return cause(self.trajectory, self.scorer)

    @property
    def retrieved_tokens(self) -> int:
        """Tokens of what the environment wrote; 0 in ``rag`` mode, whose documents are part of the prompt."""
        return sum(len(segment.token_ids) for segment in self.trajectory.segments if segment.source == "env")


def apart(asked: Sequence[T], hidden: Callable[[T], object]) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """What was asked with nothing hidden, and what was asked with its gold passages hidden."""
    sides = ([one for one in asked if bool(hidden(one)) == wanted] for wanted in (False, True))
    answerable, unanswerable = map(tuple, sides)
    return answerable, unanswerable


def share_seconds(
    trajectories: Sequence[Trajectory],
    seconds: float,
    *,
    mode: Mode,
    scorer: Scorer = OURS,
    samples: Sequence[int] | None = None,
) -> tuple[Result, ...]:
    """The results of questions that were answered together in ``seconds``, shared by the tokens they sampled."""
    tokens = [one.sampled_tokens for one in trajectories]
    parts = tokens if any(tokens) else [1] * len(tokens)
    each = zip(trajectories, parts, samples or [0] * len(parts), strict=True)
    return tuple(Result(one, mode, seconds * part / sum(parts), scorer, sample) for one, part, sample in each)


def to_journal(result: Result) -> dict[str, Any]:
    """A result as a journal keeps it: all of it but its scorer."""
    segments = [{"source": segment.source, "ids": list(segment.token_ids)} for segment in result.trajectory.segments]
    known = {"mode": result.mode, "seconds": result.seconds, "sample": result.sample, "segments": segments}
    return to_record(result.trajectory) | known


def from_row(row: Mapping[str, Any], scorer: Scorer = OURS) -> Result:
    """What :func:`to_journal` gave, or the result of a line of :func:`read_results`: its tokens are numbers alone."""
    example, turns = parse_turns(dict(row), 0)
    ids = (one["ids"] if "ids" in one else [0] * one["tokens"] for one in row["segments"])
    segments = tuple(Segment(one["source"], tuple(some)) for one, some in zip(row["segments"], ids, strict=True))
    trajectory = Trajectory(example, segments, turns, row["stop_reason"])
    return Result(trajectory, row["mode"], row["seconds"], scorer, row.get("sample", 0))


def to_row(result: Result) -> dict[str, Any]:
    """The line of a result."""
    one = result.trajectory
    return {
        **to_record(one),
        "mode": result.mode,
        "read_by": one.read_by,
        "seconds": round(result.seconds, 4),
        "em": result.em,
        "f1": round(result.f1, 4),
        "cover_em": result.cover_em,
        "cause": result.cause,
        "rounds": one.rounds,
        "queries": one.queries,
        "sampled_tokens": one.sampled_tokens,
        "retrieved_tokens": result.retrieved_tokens,
        "segments": [{"source": segment.source, "tokens": len(segment.token_ids)} for segment in one.segments],
        "sample": result.sample,
    }


def read_results(path: Path, report: Report = ignore) -> list[dict[str, Any]]:
    """Reads the lines of an evaluation file; a line that is there twice counts once, which is reported.

    Raises:
        DataError: The file is missing or of another form.
    """
    rows: list[dict[str, Any]] = []
    places: dict[Any, int] = {}
    equal, other = 0, set[str]()
    for row in read_rows(path, _row, RESULTS_FORM, report):
        place = places.setdefault((row["id"], row["mode"], row.get("sample", 0)), len(rows))
        if place == len(rows) or row != rows[place]:
            other |= {row["id"]} if place < len(rows) else set()
            rows.append(row)
        else:
            equal += 1
    if equal:
        report(Notice(f"{path} has {equal:,} of its rows twice: each counts once", "warning"))
    if other:
        text = f"{path} has {len(other):,} questions more than once, in rows that differ: all of them count"
        report(Notice(text, "warning"))
    return rows


def _row(row: dict[str, Any], number: int) -> dict[str, Any]:
    """A line that has everything; its question and id are as they are read elsewhere.

    Raises:
        BadLine: Something in it is missing or not of its kind.
    """
    example, _ = parse_turns(row, number)
    if problem := next(_problems(row), None):
        raise BadLine(f"is no row of an evaluation ({problem})")
    return row | {"id": example.id, "question": example.question}


def _problems(row: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a line, apart from its trajectory."""
    if row.get("id") is None:
        yield "it has no `id`"
    for key in (*_SCORES, "seconds"):
        if not _is_count(row.get(key), float) or (key in _SCORES and row[key] > 1):
            yield f"`{key}` is not {'a share' if key in _SCORES else 'a number of seconds'}"
    for key in (*_COUNTS, "sample"):
        if not _is_count(row.get(key, 0 if key == "sample" else None)):
            yield f"`{key}` is not a whole number"
    for key, known in (("mode", get_args(Mode)), ("stop_reason", get_args(StopReason)), ("cause", _CAUSES)):
        if row.get(key, "") not in known:
            yield f"`{key}` is none of {', '.join(map(str, known))}"
    if not isinstance(row.get("segments"), list) or not all(map(_is_segment, row["segments"])):
        yield "`segments` is not a list of sources and tokens"


_CAUSES = (None, *get_args(Cause))


def _is_count(value: object, kind: type[int] | type[float] = int) -> bool:
    return isinstance(value, int | kind) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_segment(value: object) -> bool:
    return isinstance(value, dict) and value.get("source") in get_args(Source) and _is_count(value.get("tokens"))
