"""The figures of a report, as they stand in its tables."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ragr1_lite.evaluation.intervals import CERTAINTY, RESAMPLES, bootstrap
from ragr1_lite.evaluation.report.curves import panels
from ragr1_lite.evaluation.report.reading import Evaluated, Training
from ragr1_lite.evaluation.resources import Resources

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
"""Of the causes of :mod:`ragr1_lite.evaluation.failures`."""
_TENTHS = 10


def evaluation_rows(evaluations: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """Each evaluation with its figures.

    Returns:
        ``name``, ``number``, ``n``, and ``figures``: by its heading each figure's ``value`` and its ``interval``, which
        is empty where it has none.
    """
    return [
        {"name": one.name, "number": number, "n": len(one.rows), "figures": dict(_figures(one))}
        for number, one in enumerate(evaluations)
    ]


def _figures(evaluation: Evaluated) -> Iterator[tuple[str, dict[str, str]]]:
    for name, heading in _SHARES.items():
        interval = bootstrap([row[name] for row in evaluation.rows])
        bounds = f"{_share(interval.low)}–{_share(interval.high)}"
        yield heading, {"value": _share(interval.mean), "interval": bounds}
    for name, (heading, form) in _MEANS.items():
        yield heading, {"value": form.format(statistics.fmean(row[name] for row in evaluation.rows)), "interval": ""}


def kinds(evaluations: Sequence[Evaluated]) -> dict[str, list[str]]:
    """Exact match by kind of question, one figure for each evaluation; nothing where there is one kind."""
    known = dict.fromkeys(kind for one in evaluations for row in one.rows if (kind := row.get("kind")))
    return {kind: [_match(one, kind) for one in evaluations] for kind in known} if len(known) > 1 else {}


def _match(evaluation: Evaluated, kind: str) -> str:
    chosen = [row["em"] for row in evaluation.rows if row.get("kind") == kind]
    return _share(statistics.fmean(chosen)) if chosen else "–"


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


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def cell(text: object) -> str:
    """A text for a cell of a Markdown table: no line, column or tag of its own."""
    line = " ".join(str(text).split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
