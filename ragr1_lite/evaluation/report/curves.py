"""A run's figures over its steps as small plots: SVG by matplotlib, whose colours and fonts are the page's own."""

from __future__ import annotations

import io
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.versions import install_hint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS: dict[str, tuple[str, ...]] = {
    "Reward": ("reward",),
    "Exact match": ("em", "eval_em"),
    "Parts of the reward": (),
    "Loss": ("loss",),
    "KL": ("kl",),
    "Entropy": ("entropy",),
    "Sampled tokens": ("tokens",),
    "Searching": ("rounds", "queries"),
    "Groups": ("dead", "resampled", "invalid"),
    "Gradient": ("grad_norm",),
    "Seconds": ("seconds", "rollout_seconds"),
}
"""What is drawn together; figures that are not named here are parts of the reward."""
_UNDRAWN = {"step", "lr", "signal", "tokens_per_second", "memory_gb"} | {
    f"{name}{figure}" for name in ("expert", "continued") for figure in ("", "_reward")
}
_SERIES = 5
"""Colours the page has for lines; a sixth line has the first one's again."""
_SMOOTHED_FROM = 20
"""Steps from which a mean is drawn over the single ones."""
_WINDOWS = 12
"""A run has so many windows of the mean."""
_WIDTH, _HEIGHT = 300, 132
"""Points, which are the units of the drawing."""
_MARGIN = {"left": 0.105, "right": 0.985, "top": 0.96, "bottom": 0.135}
_DIGITS = 4

_COLOURS = {"muted": "#010101", "line": "#020202"} | {f"series-{n}": f"#0303{n:02}" for n in range(_SERIES)}
"""Stand-ins that matplotlib writes, for the page's variables of these names."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn panel.

    Attributes:
        title: What it shows.
        lines: Each figure's ``name``, ``colour`` (the page's variable) and ``last``, the mean of the last window.
        svg: The drawing, for an HTML page.
        points: What the page needs to show the values under the pointer.
    """

    title: str
    lines: list[dict[str, Any]]
    svg: str
    points: dict[str, Any]


def plots(steps: Sequence[Mapping[str, float]]) -> list[Plot]:
    """Draws the figures of the steps, one plot a theme.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError("Plots need matplotlib", install_hint("report")) from None
    return [_plot(title, names, steps) for title, names in panels(steps).items()]


def panels(steps: Sequence[Mapping[str, float]]) -> dict[str, list[str]]:
    """The names of the figures that are drawn together.

    >>> panels([{"step": 1, "loss": 0.5, "em": 0.2, "reward": 0.3, "politeness": 1.0, "lr": 0.1}])
    {'Reward': ['reward'], 'Exact match': ['em'], 'Parts of the reward': ['politeness'], 'Loss': ['loss']}
    """
    known = list(dict.fromkeys(name for step in steps for name in step))
    placed = {name for names in _PANELS.values() for name in names} | _UNDRAWN
    free = [name for name in known if name not in placed]
    chosen = {title: [name for name in names or free if name in known] for title, names in _PANELS.items()}
    return {title: names for title, names in chosen.items() if names}


def _plot(title: str, names: Sequence[str], steps: Sequence[Mapping[str, float]]) -> Plot:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    window = max(1, len(steps) // _WINDOWS) if len(steps) >= _SMOOTHED_FROM else 1
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "axes.linewidth": 0.7}):
        figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72))
        figure.subplots_adjust(**_MARGIN)
        axes = figure.add_subplot()
        lines = [_draw(axes, place, name, steps, window) for place, name in enumerate(names)]
        _dress(axes)
        written = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=metadata)
        first, last = axes.get_xlim()
    points = {
        "steps": [step["step"] for step in steps],
        "lines": {name: [_rounded(step.get(name)) for step in steps] for name in names},
        "range": [first, last],
        "ends": [_MARGIN["left"], _MARGIN["right"]],
    }
    return Plot(title, lines, _for_page(written.getvalue()), points)


def _draw(axes: Axes, place: int, name: str, steps: Sequence[Mapping[str, float]], window: int) -> dict[str, Any]:
    """A figure's line: of a long run the single steps faintly, and over them their running mean."""
    colour = f"series-{place % _SERIES}"
    points = [(step["step"], step[name]) for step in steps if name in step]
    at, values = [step for step, _ in points], [value for _, value in points]
    style: dict[str, Any] = {"color": _COLOURS[colour], "solid_capstyle": "round"}
    # A figure that comes every few steps is dots, which nothing smooths.
    if len(points) < len(steps) or len(points) == 1:
        axes.plot(at, values, linewidth=1.0, marker="o", markersize=2.6, **style)
        return {"name": name, "colour": colour, "last": values[-1]}
    if window > 1:
        axes.plot(at, values, linewidth=0.6, alpha=0.35, **style)
    # The mean of each value and those before it, ``window`` at most; not a number where one of them is none.
    means = [statistics.fmean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]
    axes.plot(at, means, linewidth=1.4, **style)
    return {"name": name, "colour": colour, "last": means[-1]}


def _dress(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_COLOURS["line"])
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y", color=_COLOURS["line"], linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=4, labelsize=8, labelcolor=_COLOURS["muted"])
    axes.margins(x=0.01, y=0.08)


_LEFT_OUT = re.compile(r'<!--.*?-->|<style.*?</style>|(?<=<g) id="[^"]*"|font-\w+: [^;"]*; ?', re.DOTALL)
"""What would change the rest of the page, and what the page decides itself."""


def _for_page(svg: str) -> str:
    """The drawing as a part of a page, in the page's colours and fonts, without links."""
    inner = svg.partition("<svg")[2].partition(">")[2]
    drawing = re.sub(r"\s*\n\s*", "\n", _LEFT_OUT.sub("", inner))
    for name, colour in _COLOURS.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">{drawing}'


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if value is not None and math.isfinite(value) else None
