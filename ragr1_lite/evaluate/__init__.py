"""Evaluation: questions through the same rollout, in one way or several, and the figures that come of it."""

from ragr1_lite.evaluate.arms import GREEDY, Arm, Draws, evaluate_arms
from ragr1_lite.evaluate.causes import cause
from ragr1_lite.evaluate.compare import Comparison, compare
from ragr1_lite.evaluate.figures import Evaluation
from ragr1_lite.evaluate.results import Result, read_results, to_row
from ragr1_lite.evaluate.running import evaluate, held_out, run

__all__ = [
    "GREEDY",
    "Arm",
    "Comparison",
    "Draws",
    "Evaluation",
    "Result",
    "cause",
    "compare",
    "evaluate",
    "evaluate_arms",
    "held_out",
    "read_results",
    "run",
    "to_row",
]
