"""A study's figures as one drawing: SVG by matplotlib, legible on light and on dark."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.evaluation.intervals import bootstrap
from ragr1_lite.evaluation.study.running import Outcome, Row
from ragr1_lite.files.writing import write_atomic
from ragr1_lite.versions import install_hint

_PANELS = {"em": "EM", "rounds": "Rounds", "queries": "Queries", "seconds_per_question": "Seconds a question"}
_INK, _BAR, _ERROR = "#7d8590", "#3b82c4", "#c98a3b"


def draw_study(outcome: Outcome, path: Path) -> None:
    """Draws exact match with its interval, rounds, queries and seconds of every variant that was run.

    Raises:
        ConfigError: matplotlib is not installed.
        StorageError: The file cannot be written.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("Plots need matplotlib", install_hint("report")) from None
    rows = [row for row in outcome.rows if row.evaluation]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": outcome.design.name, "font.size": 9, "text.color": _INK}):
        figure = Figure(figsize=(9.6, 0.9 + 0.34 * len(rows)), layout="constrained")
        for axes, (name, title) in zip(figure.subplots(1, len(_PANELS), sharey=True), _PANELS.items(), strict=True):
            _draw(axes, rows, name, title)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date")))
    write_atomic(path, written.getvalue())


def _draw(axes: Any, rows: Sequence[Row], name: str, title: str) -> None:
    values = [row.evaluation.figures()[name] for row in rows if row.evaluation]
    places = range(len(rows))
    bars = axes.barh(places, values, color=_BAR, height=0.62)
    if name == "em":
        intervals = [bootstrap([one.em for one in row.evaluation.results]) for row in rows if row.evaluation]
        reach = [[one.mean - one.low for one in intervals], [one.high - one.mean for one in intervals]]
        axes.errorbar(values, places, xerr=reach, fmt="none", ecolor=_ERROR, capsize=2.5, linewidth=1.2)
        axes.set_xlim(0, 1)
        axes.bar_label(bars, fmt="%.2f", label_type="center", color="white")
    else:
        axes.bar_label(bars, fmt="%.2f", padding=3, color=_INK)
        axes.margins(x=0.25)
    axes.set_yticks(places, [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(title, loc="left", fontsize=9, color=_INK)
    axes.tick_params(length=0, colors=_INK, labelsize=9)
    axes.tick_params(axis="x", labelbottom=False)
    for side in axes.spines.values():
        side.set_visible(False)
