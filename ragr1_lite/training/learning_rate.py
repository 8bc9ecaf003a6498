"""The learning rate of each step."""

from __future__ import annotations

import math
from typing import Any


def share_of_rate(args: Any, done: int) -> float:
    """The share of ``args.learning_rate`` after ``done`` steps, by ``args``' schedule, warm-up and steps.

    The warm-up's steps rise evenly to the full rate, which the first step after them has: step i has i/(warm-up + 1)
    of it. From there on it is that of transformers' schedules, whose own warm-up begins with a step of rate 0.
    """
    if done < args.warmup_steps:
        return float((done + 1) / (args.warmup_steps + 1))
    left: float = (args.max_steps - done) / max(1, args.max_steps - args.warmup_steps)
    if args.lr_scheduler_type == "cosine":
        return (1 - math.cos(math.pi * left)) / 2
    return 1.0 if args.lr_scheduler_type == "constant_with_warmup" else left
