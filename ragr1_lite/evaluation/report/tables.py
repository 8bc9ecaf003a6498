"""What a report is made of, run folders and evaluation files, and its figures as they stand in its tables."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ragr1_lite.core.errors import DataError, RunError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.rewards import refuses
from ragr1_lite.core.safe_text import clean, cleaned
from ragr1_lite.evaluation.figures import refusal_sentence, refusal_shares
from ragr1_lite.evaluation.intervals import CERTAINTY, RESAMPLES, bootstrap, paired
from ragr1_lite.evaluation.report.curves import panels
from ragr1_lite.evaluation.resources import Resources
from ragr1_lite.evaluation.results import apart, read_results
from ragr1_lite.files.json_arrays import read_rows
from ragr1_lite.files.json_lines import BadLine, json_of, whole_text

METRICS = "metrics.jsonl"
FILES = (METRICS, "summary.json", "recipe.yaml")
"""What is read of a run's folder; the last two may be missing."""
_HIDDEN = "passages hidden"
METRICS_FORM = 'Metrics are written by `ragr1-lite sft` and `ragr1-lite grpo`: {"step": 1, "loss": 0.5, ...}.'


@dataclass(frozen=True, slots=True)
class Training:
    """A training run.

    Attributes:
        name: Its folder's.
        steps: The figures of each step that was taken, ``step`` among them.
        summary: Its ``summary.json``, with :class:`Resources`; empty without one.
        recipe: Its ``recipe.yaml``; empty without one.
    """

    name: str
    steps: tuple[Mapping[str, float], ...]
    summary: Mapping[str, Any]
    recipe: str


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The rows of an evaluation file that are of one mode and sample, one a question.

    Attributes:
        name: The file's, and what tells it from the others in it.
        rows: Of the questions as they are: all figures are of these.
        unanswerable: Of questions whose gold passages were hidden; only :attr:`refused` counts them.
    """

    name: str
    rows: tuple[Mapping[str, Any], ...]
    unanswerable: tuple[Mapping[str, Any], ...] = ()

    @property
    def every(self) -> tuple[Mapping[str, Any], ...]:
        """All rows."""
        return (*self.rows, *self.unanswerable)

    @property
    def refused(self) -> str:
        """A sentence of right and wrong refusals; empty where no passages were hidden."""
        right, wrong = ([float(refuses(row["answer"])) for row in some] for some in (self.unanswerable, self.rows))
        return refusal_sentence(self.name, refusal_shares(right, wrong))


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that a report shows."""

    trainings: tuple[Training, ...]
    evaluations: tuple[Evaluated, ...]


def read_sources(paths: Sequence[Path], report: Report = ignore) -> Sources:
    """Reads run folders and evaluation files; their text, which is foreign, is made safe.

    Raises:
        RunError: A folder holds no metrics of a run, or a summary that is broken.
        DataError: A file is missing or of another form.
    """
    trainings = tuple(_training(path, report) for path in paths if path.is_dir())
    evaluations = tuple(one for path in paths if not path.is_dir() for one in _evaluations(path, report))
    return Sources(trainings, evaluations)


def _training(folder: Path, report: Report) -> Training:
    metrics, summary, recipe = (folder / name for name in FILES)
    if not metrics.exists():
        raise RunError(
            f"There is no {METRICS} in {folder}", "Name the folder of a training run, or a file of `eval --out`."
        )
    return Training(
        clean(folder.resolve().name),
        tuple(read_rows(metrics, _step, METRICS_FORM, report)),
        _summary(summary) if summary.exists() else {},
        clean(recipe.read_bytes().decode(errors="replace")) if recipe.is_file() else "",
    )


def _summary(path: Path) -> dict[str, Any]:
    try:
        summary = dict(json_of(whole_text(path)))
        if spent := summary.get("resources"):
            summary["resources"] = Resources.from_json(spent)
        return summary
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise RunError(f"{path} cannot be read", "It is not needed: delete it and try again.") from None


def _step(row: dict[str, Any], number: int) -> dict[str, float]:
    """The figures of a step; null is read as not a number, which JSON cannot write.

    Raises:
        BadLine: It has no number, or a figure is none.
    """
    figures = {name: math.nan if value is None else value for name, value in row.items()}
    if not all(isinstance(value, int | float) for value in figures.values()) or row.get("step") is None:
        raise BadLine("is no step of a training run")
    return {name: value if math.isfinite(value) else math.nan for name, value in figures.items()}


def _evaluations(path: Path, report: Report) -> Iterator[Evaluated]:
    """The evaluations of a file: one for each mode in it, and for each sample where questions were asked again."""
    parts: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in read_results(path, report):
        parts.setdefault((row["mode"], row.get("sample", 0)), []).append(cleaned(row))
    modes, samples = {mode for mode, _ in parts}, {sample for _, sample in parts}
    for (mode, sample), rows in parts.items():
        names = [clean(path.name.partition(".")[0])]
        names += [mode] * (len(modes) > 1) + [f"sample {sample + 1}"] * (len(samples) > 1)
        answerable, hidden = apart(rows, lambda row: row.get("hidden"))
        if not answerable:
            raise DataError(f"In {path} all passages were hidden", "Name a file with the questions as they are, too.")
        unanswerable = tuple({**row, "kind": _HIDDEN, "cause": None} for row in hidden)
        yield Evaluated(" · ".join(names), answerable, unanswerable)


_SHARES = {"em": "EM", "f1": "F1", "cover_em": "Cover EM"}
_MEANS = {
    "rounds": ("Rounds", "{:.2f}"),
    "queries": ("Queries", "{:.2f}"),
    "retrieved_tokens": ("Retrieved tokens", "{:,.0f}"),
    "sampled_tokens": ("Sampled tokens", "{:,.0f}"),
    "seconds": ("Seconds", "{:.2f}"),
}
INTERVALS = f"Ranges are {CERTAINTY:.0%} intervals by {RESAMPLES:,} resamples of the questions; the rest are means."
MEANINGS: Mapping[str, str] = {
    "format": "no usable tag, no answer in free text, or cut while it wrote",
    "budget": "still searching in its last generation, or out of room",
    "unsearched": "nothing was retrieved",
    "synthesis": "what was retrieved holds the answer",
    "retrieval": "what was retrieved does not hold the answer, as far as can be seen",
}
"""Of the causes of :mod:`ragr1_lite.evaluation.results`."""
_TENTHS = 10
_LEAST = 0.001
"""Smaller p are only said to be smaller."""


def evaluation_rows(evaluations: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """Each evaluation with its figures.

    Returns:
        ``name``, ``number``, ``n``, ``refused``, a sentence, and ``figures``: by its heading each figure's ``value``
        and its ``interval``, which is empty where it has none.
    """
    return [
        {"name": one.name, "number": number, "n": len(one.rows), "refused": one.refused, "figures": dict(_figures(one))}
        for number, one in enumerate(evaluations)
    ]


def _figures(evaluation: Evaluated) -> Iterator[tuple[str, dict[str, str]]]:
    for name, heading in _SHARES.items():
        interval = bootstrap([row[name] for row in evaluation.rows])
        bounds = f"{_share(interval.low)}–{_share(interval.high)}"
        yield heading, {"value": _share(interval.mean), "interval": bounds}
    answered = statistics.fmean(row["stop_reason"] == "answer" for row in evaluation.rows)
    yield "Answered", {"value": _share(answered), "interval": ""}
    for name, (heading, form) in _MEANS.items():
        yield heading, {"value": form.format(statistics.fmean(row[name] for row in evaluation.rows)), "interval": ""}


def kinds(evaluations: Sequence[Evaluated]) -> dict[str, list[str]]:
    """Exact match by kind of question, one figure for each evaluation; nothing where there is one kind."""
    known = list(dict.fromkeys(kind for one in evaluations for row in one.rows if (kind := row.get("kind"))))
    shares: dict[str, list[str]] = {kind: [] for kind in (known if len(known) > 1 else ())}
    for kind, one in product(shares, evaluations):
        chosen = [row["em"] for row in one.rows if row.get("kind") == kind]
        shares[kind].append(_share(statistics.fmean(chosen)) if chosen else "–")
    return shares


def pairs(evaluations: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """The last evaluation against each other one, by the questions that both were asked.

    Returns:
        ``name`` of the other, ``n`` questions, ``em`` and ``f1``: the last one's less the other's, with its interval
        and p.
    """
    *others, last = ({row["id"]: row for row in one.rows} for one in evaluations)
    found = []
    for one, rows in zip(evaluations, others, strict=False):
        if shared := [id for id in rows if id in last and rows[id]["question"] == last[id]["question"]]:
            scores = {name: tuple([of[id][name] for id in shared] for of in (rows, last)) for name in ("em", "f1")}
            found.append({"name": one.name, "n": len(shared)} | {name: _less(*two) for name, two in scores.items()})
    return found


def _less(other: Sequence[float], last: Sequence[float]) -> str:
    of = paired(other, last)
    bounds = f"{_share(of.interval.low, '+')} to {_share(of.interval.high, '+')}"
    chance = f"p {_share(of.p, digits=3)}" if of.p >= _LEAST else f"p < {_share(_LEAST, digits=3)}"
    return f"{_share(of.interval.mean, '+')} ({bounds}, {chance})"


def causes(evaluations: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """Why answers were wrong, for each evaluation with wrong answers.

    Returns:
        ``name``, ``number`` of the evaluation, how many were ``wrong``, and ``causes``, the most frequent first: each
        with ``cause``, ``n`` and its ``meaning``.
    """
    found = []
    for number, one in enumerate(evaluations):
        counted = Counter(row["cause"] for row in one.rows if row["cause"])
        parts = [{"cause": cause, "n": n, "meaning": MEANINGS[cause]} for cause, n in counted.most_common()]
        if parts:
            found.append({"name": one.name, "number": number, "wrong": counted.total(), "causes": parts})
    return found


def courses(steps: Sequence[Mapping[str, float]]) -> list[dict[str, str]]:
    """What each drawn figure was over the first and the last tenth of the steps that have it."""
    rows = []
    for name in (name for names in panels(steps).values() for name in names):
        if values := _values(steps, name):
            some = max(1, len(values) // _TENTHS)
            first, last = statistics.fmean(values[:some]), statistics.fmean(values[-some:])
            rows.append({"name": name, "first": f"{first:.3g}", "last": f"{last:.3g}"})
    return rows


def _values(steps: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """A figure of the steps that have it."""
    return [value for step in steps if (value := step.get(name)) is not None and math.isfinite(value)]


def resources(training: Training) -> dict[str, str]:
    """What a run took: by its metrics, then by its summary."""
    steps = training.steps
    rows = {"Steps": f"{len(steps):,}"}
    if seconds := _values(steps, "seconds"):
        rows["Time in steps"] = _time(sum(seconds))
    if speeds := _values(steps, "tokens_per_second"):
        rows["Sampled tokens per second"] = f"{statistics.median(speeds):,.0f}"
    if peaks := _values(steps, "memory_gb"):
        rows["Peak memory"] = f"{max(peaks):.1f} GB"
    return rows | (_metered(spent) if (spent := training.summary.get("resources")) else {})


_CARD, _ENERGY = "Memory on the card", "Energy, {part}"


def _metered(spent: Resources) -> dict[str, str]:
    rows = {
        "Time": _time(spent.seconds),
        "Cores busy": f"{spent.cpu_load:.1f}",
        "Peak memory": f"{spent.peak_rss_gb:.1f} GB",
    }
    if spent.peak_vram_gb is not None:
        rows[_CARD] = f"{spent.peak_vram_gb:.1f} GB"
    rows |= {_ENERGY.format(part=part): f"{used:.3g} Wh" for part, used in spent.energy_wh.items()}
    names = {"peak_vram_gb": _CARD} | {f"energy_wh.{part}": _ENERGY.format(part=part) for part in ("gpu", "cpu")}
    missing = {names.get(name, name.capitalize()): why for name, why in spent.not_measurable.items()}
    return rows | {name: f"not measurable here ({why})" for name, why in missing.items()}


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _share(value: float, sign: str = "", digits: int = 2) -> str:
    return re.sub(r"^([+-]?)0", r"\1", f"{value:{sign}.{digits}f}").replace("-", "−")


def cell(text: object) -> str:
    """A text for a cell of a Markdown table: no line, column or tag of its own."""
    line = " ".join(str(text).split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
