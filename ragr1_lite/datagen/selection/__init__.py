"""Stage 2's selection: the questions that a model can learn from by reward, told by its own rollouts."""

from ragr1_lite.datagen.selection.measuring import measure
from ragr1_lite.datagen.selection.rule import By, Outcome, Rule, Selection, choose, histogram
from ragr1_lite.datagen.selection.selecting import run, select

__all__ = [
    "By",
    "Outcome",
    "Rule",
    "Selection",
    "choose",
    "histogram",
    "measure",
    "run",
    "select",
]
