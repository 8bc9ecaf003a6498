"""The figures of a training step: what belongs together, how each is written, and their course in a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragr1_lite.ui.curves import ends
from ragr1_lite.ui.text import one_line, share

CHARTED = ("reward", "em", "loss", "eval_em")
"""Figures whose course is drawn."""
_ROWS: dict[str, tuple[str, ...]] = {
    "rollouts": ("rounds", "queries", "tokens", "invalid"),
    "groups": ("dead", "signal", "resampled"),
    "update": ("lr", "kl", "entropy", "grad_norm"),
    "pace": ("seconds", "rollout_seconds", "tokens_per_second", "memory_gb"),
}
"""Figures that stand together, in their order; those that nobody knows are parts of the reward."""
_WRITTEN = {
    "loss": "loss {:.3f}",
    "rounds": "rounds {:.2f}",
    "queries": "queries {:.2f}",
    "tokens": "tokens {:,.0f}",
    "resampled": "resampled {:.3g}",
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
_UNTOLD = {*_ROWS["update"], "tokens", "rollout_seconds"}
"""Figures that a line has no room for."""
_LONGEST_NAME = 32


def told(name: str, value: float) -> str:
    """A figure and its name.

    >>> told("em", 0.5), told("seconds", 3.21), told("lr", 1e-5)
    ('em .50', '3.2 s/step', 'lr 1e-05')
    """
    return _WRITTEN[name].format(value) if name in _WRITTEN else f"{one_line(name, _LONGEST_NAME)} {share(value)}"


def number(name: str, value: float) -> str:
    """A figure alone.

    >>> number("loss", 0.25), number("em", 0.25)
    ('0.250', '.25')
    """
    return f"{value:.3f}" if name == "loss" else share(value)


def rows(metrics: Mapping[str, float]) -> dict[str, list[str]]:
    """The figures that are not drawn, by what they are about.

    >>> rows({"loss": 0.1, "reward": 0.5, "em": 0.5, "politeness": 1.0, "dead": 0.25, "signal": 0.75, "eval_f1": 0.5})
    {'parts': ['politeness 1.00'], 'groups': ['dead .25'], 'eval': ['eval_f1 .50']}
    """
    named = {"parts": _parts(metrics)} if "reward" in metrics else {"figures": _parts(metrics)}
    named |= {label: list(names) for label, names in _ROWS.items()}
    named["eval"] = [name for name in metrics if name.startswith("eval_")]
    shown = _shown(metrics).difference(CHARTED)
    lines = {label: [told(name, metrics[name]) for name in names if name in shown] for label, names in named.items()}
    return {label: parts for label, parts in lines.items() if parts}


def step_line(metrics: Mapping[str, float]) -> str:
    """A step's figures in a line: seconds, loss, reward and its parts, then what it took.

    >>> step_line({"loss": 0.4131, "reward": 0.5, "em": 0.5, "lr": 1e-4, "seconds": 3.21})
    '3.2 s/step · loss 0.413 · reward .50 · em .50'
    """
    order = ["seconds", "loss", "reward", *_parts(metrics), *(name for names in _ROWS.values() for name in names)]
    order += [name for name in metrics if name.startswith("eval_")]
    shown = _shown(metrics)
    return " · ".join(told(name, metrics[name]) for name in dict.fromkeys(order) if name in shown - _UNTOLD)


def trend(curves: Mapping[str, Sequence[float]]) -> str:
    """What loss and reward were over the first and the last tenth of the steps.

    >>> trend({"loss": [2.0, 0.5], "reward": [0.1, 0.7]})
    'loss 2.000 → 0.500, reward .10 → .70'
    """
    parts = []
    for name in ("loss", "reward"):
        if points := curves.get(name):
            first, last = (number(name, value) for value in ends(points))
            parts.append(f"{name} {first} → {last}")
    return ", ".join(parts)


def _parts(metrics: Mapping[str, float]) -> list[str]:
    """What the reward is made of: exact match first, then all that has no other place."""
    placed = {name for names in _ROWS.values() for name in names}
    free = [name for name in metrics if name not in placed and not name.startswith("eval_")]
    return sorted((name for name in free if name not in ("loss", "reward")), key=lambda name: name != "em")


def _shown(metrics: Mapping[str, float]) -> set[str]:
    """The figures that are worth telling: the share of groups with a signal is what the dead ones leave."""
    return set(metrics) - ({"signal"} if "dead" in metrics else set())
