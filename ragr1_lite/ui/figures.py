"""The figures of a training step: their groups, how each is written, and their course over the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import fmean

from ragr1_lite.ui.text import one_line, share

CHARTED = ("reward", "em", "loss", "eval_em")  # figures whose course is drawn
_GROUPS: dict[str, tuple[str, ...]] = {
    "rollouts": ("rounds", "queries", "tokens", "invalid"),
    "groups": ("dead", "signal", "resampled", "expert", "expert_reward", "continued", "continued_reward"),
    "update": ("lr", "kl", "entropy", "grad_norm"),
    "pace": ("seconds", "rollout_seconds", "tokens_per_second", "memory_gb"),
}
"""Figures that share a row, in their order; unknown figures are parts of the reward."""
_FORMATS = {
    "loss": "loss {:.3f}",
    "rounds": "rounds {:.2f}",
    "queries": "queries {:.2f}",
    "tokens": "tokens {:,.0f}",
    "resampled": "resampled {:.3g}",
    "expert": "expert's {:.3g}",
    "expert_reward": "that earned {:.3g}",
    "continued": "continued {:.3g}",
    "continued_reward": "that earned {:.3g}",
    "lr": "lr {:.2g}",
    "kl": "kl {:.2g}",
    "entropy": "entropy {:.2g}",
    "grad_norm": "gradient {:.2g}",
    "seconds": "{:.1f} s/step",
    "rollout_seconds": "{:.1f} s of rollouts",
    "tokens_per_second": "{:,.0f} tokens/s",
    "memory_gb": "{:.1f} GB",
}
"""How a figure is written where it is not a share."""
_NOT_IN_LINES = {*_GROUPS["update"], "tokens", "rollout_seconds"}  # figures for which a line has no room
_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(points: Sequence[float], width: int) -> str:
    """Points as blocks between the lowest and the highest; means of neighbours where they are more than ``width``.

    >>> sparkline([0.0, 0.5, 1.0], 10), sparkline([3.0, 1.0, 2.0, 0.0], 2), sparkline([2.0, 2.0], 2)
    ('▁▅█', '█▁', '▁▁')
    """
    if not points or width < 1:
        return ""
    count = min(width, len(points))
    edges = [len(points) * number // count for number in range(count + 1)]
    means = [fmean(points[start:end]) for start, end in zip(edges, edges[1:], strict=False)]
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[math.floor((mean - low) * scale + 0.5)] for mean in means)


def number(name: str, value: float) -> str:
    """A charted figure without its name."""
    return f"{value:.3f}" if name == "loss" else share(value)


def rows(metrics: Mapping[str, float]) -> dict[str, list[str]]:
    """The figures that are not drawn, by group.

    >>> rows({"loss": 0.1, "reward": 0.5, "em": 0.5, "politeness": 1.0, "dead": 0.25, "signal": 0.75, "eval_f1": 0.5})
    {'parts': ['politeness 1.00'], 'groups': ['dead .25'], 'eval': ['eval_f1 .50']}
    """
    named = {"parts" if "reward" in metrics else "figures": _reward_parts(metrics)}
    named |= {label: list(names) for label, names in _GROUPS.items()}
    named["eval"] = [name for name in metrics if name.startswith("eval_")]
    shown = _shown(metrics).difference(CHARTED)
    lines = {label: [_named(name, metrics[name]) for name in names if name in shown] for label, names in named.items()}
    return {label: parts for label, parts in lines.items() if parts}


def step_line(metrics: Mapping[str, float]) -> str:
    """A step's figures in a line: seconds, loss, reward and its parts, then the groups.

    >>> step_line({"loss": 0.4131, "reward": 0.5, "em": 0.5, "lr": 1e-4, "seconds": 3.21})
    '3.2 s/step · loss 0.413 · reward .50 · em .50'
    """
    measured = [name for name in metrics if name.startswith("eval_")]
    order = ["seconds", "loss", "reward", *_reward_parts(metrics), *chain(*_GROUPS.values()), *measured]
    shown = _shown(metrics) - _NOT_IN_LINES
    return " · ".join(_named(name, metrics[name]) for name in dict.fromkeys(order) if name in shown)


def trend(curves: Mapping[str, Sequence[float]]) -> str:
    """Loss and reward, as means of the first and of the last tenth of the steps.

    >>> trend({"loss": [2.0, 0.5], "reward": [0.1, 0.7]})
    'loss 2.000 → 0.500, reward .10 → .70'
    """
    parts = []
    for name in ("loss", "reward"):
        if points := curves.get(name):
            tenth = max(1, len(points) // 10)
            first, last = fmean(points[:tenth]), fmean(points[-tenth:])
            parts.append(f"{name} {number(name, first)} → {number(name, last)}")
    return ", ".join(parts)


def _named(name: str, value: float) -> str:
    return _FORMATS[name].format(value) if name in _FORMATS else f"{one_line(name, 32)} {share(value)}"


def _reward_parts(metrics: Mapping[str, float]) -> list[str]:
    """Exact match first, then every figure of no other group."""
    placed = {"loss", "reward"}.union(*_GROUPS.values())
    free = [name for name in metrics if name not in placed and not name.startswith("eval_")]
    return sorted(free, key=lambda name: name != "em")


def _shown(metrics: Mapping[str, float]) -> set[str]:
    """All but the share of groups with a signal where the share without one is there."""
    return set(metrics) - ({"signal"} if "dead" in metrics else set())
