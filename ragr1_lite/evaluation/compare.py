"""Two runs over the same questions, paired by question: one is better only where the difference is significant."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.rewards import SCORERS, NormalizerName, Scorer, refuses
from ragr1_lite.evaluation.figures import refusal_sentence, refusal_shares
from ragr1_lite.evaluation.intervals import Difference, Interval, paired
from ragr1_lite.evaluation.results import apart, read_results

COMPARED = ("em", "f1", "cover_em", "rounds", "queries")
COSTS = ("sampled_tokens", "retrieved_tokens", "seconds")
"""Shown, not tested: seconds depend on the machine, and tokens follow from rounds and queries."""


_Rows = list[dict[str, Any]]
_SAME = "Compare two evaluations of the same questions."


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluation files, A and B, by the questions that both have.

    Attributes:
        files: A and B.
        figures: Of each, the means of :data:`COMPARED` and :data:`COSTS`.
        differences: B's less A's, of :data:`COMPARED`.
        questions: How many both have.
        alone: How many A alone has, and B alone.
        refusals: Of each, :func:`~ragr1_lite.evaluation.figures.refusal_shares`; all else is of the questions as they
            are.
    """

    files: tuple[Path, Path]
    figures: tuple[dict[str, float], dict[str, float]]
    differences: dict[str, Difference]
    questions: int
    alone: tuple[int, int]
    refusals: tuple[dict[str, Interval], dict[str, Interval]] = ({}, {})

    @property
    def refused(self) -> list[str]:
        """A sentence of the :attr:`refusals` of each; none where no passages were hidden."""
        return [refusal_sentence(name, shares) for name, shares in zip("AB", self.refusals, strict=True) if shares]

    @property
    def better(self) -> str | None:
        """``A`` or ``B``, by exact match; ``None`` where the difference is not significant."""
        em = self.differences["em"]
        return None if not em.significant else "B" if em.interval.mean > 0 else "A"

    @property
    def verdict(self) -> str:
        """The sentence that the figures allow."""
        em = self.differences["em"]
        mean, low, high = em.interval.mean, em.interval.low, em.interval.high
        chance = "p < .01" if em.p < 0.01 else f"p {_short(em.p)}"
        asked = f"{self.questions:,} {'question' if self.questions == 1 else 'questions'}"
        if self.better == "A":
            mean, low, high = -mean, -high, -low
        sure = f"95 % {_short(low)} to {_short(high)}, {chance}, {asked}"
        if self.better:
            return f"{self.better} is better by {_short(mean)} EM ({sure})"
        return f"No significant difference: B's EM less A's is {_short(mean)} ({sure})"

    def to_json(self) -> dict[str, Any]:
        """``a`` and ``b``: each file with its figures; the ``differences``; the ``verdict``, and who is ``better``."""
        one, other = (
            {"file": str(file), **{name: round(value, 4) for name, value in figures.items()}}
            | ({"refusals": {name: share.to_json() for name, share in refusals.items()}} if refusals else {})
            for file, figures, refusals in zip(self.files, self.figures, self.refusals, strict=True)
        )
        differences = {name: of.to_json("difference") for name, of in self.differences.items()}
        counts = {"questions": self.questions, "only_a": self.alone[0], "only_b": self.alone[1]}
        verdict = {"better": self.better, "verdict": self.verdict}
        return {"a": one, "b": other, **counts, "differences": differences, **verdict}


def compare(a: Path, b: Path, *, normalizer: NormalizerName = "ours", report: Report = ignore) -> Comparison:
    """Compares two evaluation files by the questions that both have; a question's several rows are averaged.

    Each side is scored by its own accepted answers; where those differ, that is reported, as is a file compared with
    itself.

    Raises:
        DataError: A file is missing or of another form, holds several modes, or they have no question in common.
    """
    ours, theirs = (_by_question(path, report) for path in (a, b))
    shared = [id for id in ours if id in theirs]
    common, hidden = apart(shared, lambda id: ours[id][0].get("hidden"))
    if not common:
        texts = [{one["question"] for some in rows.values() for one in some} for rows in (ours, theirs)]
        why = ": they have the same ones by other ids" if texts[0] & texts[1] else ""
        why = ", but those whose passages were hidden" if hidden else why
        raise DataError(f"{a} and {b} have no question in common{why}", _SAME)
    for id in shared:
        if ours[id][0]["question"] != theirs[id][0]["question"]:
            raise DataError(f"Question {id} differs between {a} and {b}", _SAME)
    scorer = SCORERS[normalizer]
    for text in _warnings(a, b, [(ours[id], theirs[id]) for id in common], scorer):
        report(Notice(text, "warning"))
    values = tuple([_figures(rows[id], scorer) for id in common] for rows in (ours, theirs))
    first, second = ({name: statistics.fmean(one[name] for one in run) for name in run[0]} for run in values)
    pairs = {name: tuple([one[name] for one in run] for run in values) for name in COMPARED}
    differences = {name: paired(one, other) for name, (one, other) in pairs.items()}
    alone = (len(ours) - len(shared), len(theirs) - len(shared))
    refused = ([[_refused(rows[id]) for id in some] for some in (hidden, common)] for rows in (ours, theirs))
    mine, other = (refusal_shares(right, wrong) for right, wrong in refused)
    return Comparison((a, b), (first, second), differences, len(common), alone, (mine, other))


def _by_question(path: Path, report: Report) -> dict[str, _Rows]:
    """The rows of each question, by its id.

    Raises:
        DataError: They are of several modes, or one id stands for several questions.
    """
    rows: dict[str, _Rows] = {}
    for row in read_results(path, report):
        rows.setdefault(row["id"], []).append(row)
    modes = sorted({row["mode"] for some in rows.values() for row in some})
    if len(modes) > 1:
        raise DataError(f"{path} holds several modes ({', '.join(modes)})", "Compare files of one mode each.")
    for id, some in rows.items():
        if len({row["question"] for row in some}) > 1:
            raise DataError(f"Several questions in {path} have the id {id}", "Give each question an id of its own.")
    return rows


def _warnings(a: Path, b: Path, pairs: Sequence[tuple[_Rows, _Rows]], scorer: Scorer) -> Iterator[str]:
    """What makes a comparison say less than it seems to."""
    if a.samefile(b):
        yield f"{a} and {b} are one file: nothing is compared"
    accepted = ([{scorer.normalize(one) for row in rows for one in row["answers"]} for rows in pair] for pair in pairs)
    if differing := sum(one != other for one, other in accepted):
        what = f"{differing:,} of {len(pairs):,} questions have other accepted answers in {b} than in {a}"
        yield f"{what}: each side is scored by its own, so the difference may be theirs"


def _figures(rows: Sequence[Mapping[str, Any]], scorer: Scorer) -> dict[str, float]:
    """The means over the rows of one question."""
    scores = {"em": scorer.exact_match, "f1": scorer.f1, "cover_em": scorer.covers}
    figures = {name: [of(row["answer"], row["answers"]) for row in rows] for name, of in scores.items()}
    figures |= {name: [row[name] for row in rows] for name in (*COMPARED, *COSTS) if name not in scores}
    return {name: statistics.fmean(values) for name, values in figures.items()}


def _refused(rows: Sequence[Mapping[str, Any]]) -> float:
    """The share of one question's answers that refuse."""
    return statistics.fmean(float(refuses(row["answer"])) for row in rows)


def _short(value: float) -> str:
    """Two places, without a leading zero.

    >>> _short(0.072), _short(-0.05), _short(1.0), _short(-0.001)
    ('.07', '−.05', '1.00', '.00')
    """
    digits = f"{abs(value):.2f}".removeprefix("0")
    return f"−{digits}" if value < 0 and digits != ".00" else digits
