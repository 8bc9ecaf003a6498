"""Stage 2's selection: the questions that a model can learn from by reward, found by its own rollouts."""

from ragr1_lite.datagen.selection.rule import By, Outcome, Rule, Selection, choose, histogram
from ragr1_lite.datagen.selection.selecting import measure, run, select

__all__ = ["By", "Outcome", "Rule", "Selection", "choose", "histogram", "measure", "run", "select"]
