"""Evaluation: questions through the same rollout, greedy, and the figures that come of it."""

from ragr1_lite.evaluate.causes import cause
from ragr1_lite.evaluate.compare import Comparison, compare
from ragr1_lite.evaluate.figures import Evaluation
from ragr1_lite.evaluate.results import Result, read_results, to_row
from ragr1_lite.evaluate.running import evaluate, held_out, run

__all__ = [
    "Comparison",
    "Evaluation",
    "Result",
    "cause",
    "compare",
    "evaluate",
    "held_out",
    "read_results",
    "run",
    "to_row",
]
