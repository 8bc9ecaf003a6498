"""Evaluation: questions through the same rollout, greedy, and the figures that come of it."""

from ragr1_lite.evaluate.figures import Evaluation
from ragr1_lite.evaluate.running import evaluate, held_out, run

__all__ = ["Evaluation", "evaluate", "held_out", "run"]
