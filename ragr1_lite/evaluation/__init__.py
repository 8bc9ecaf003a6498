"""Evaluation: questions through the same rollout, in one way or several, and the figures that come of it."""

from ragr1_lite.evaluation.compare import Comparison, compare
from ragr1_lite.evaluation.failures import cause
from ragr1_lite.evaluation.figures import Evaluation
from ragr1_lite.evaluation.results import Result, read_results, to_row
from ragr1_lite.evaluation.running import held_out, run
from ragr1_lite.evaluation.variants import GREEDY, Draws, Variant, evaluate_variants

__all__ = [
    "GREEDY",
    "Variant",
    "Comparison",
    "Draws",
    "Evaluation",
    "Result",
    "cause",
    "compare",
    "evaluate_variants",
    "held_out",
    "read_results",
    "run",
    "to_row",
]
