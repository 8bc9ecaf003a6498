"""Evaluation: questions through the same rollout as training, and what their answers show.

``running`` evaluates as asked for, ``variants`` by turns in several ways; ``results`` keeps each answer and names the
cause of a wrong one, ``figures`` sums them up with ``intervals``, ``compare`` pairs two runs, ``ceiling`` says what an
index allows. ``resources`` measures time, memory and energy. ``study`` varies one thing, ``report`` draws one page of
all.
"""

from ragr1_lite.evaluation.compare import Comparison, compare
from ragr1_lite.evaluation.figures import Evaluation
from ragr1_lite.evaluation.results import Result, cause, read_results, to_row
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
