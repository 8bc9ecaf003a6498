"""The ``gold`` teacher: plans composed from what a question set says about its questions, with no model at all."""

from ragr1_lite.datagen.gold.compose import Composed, compose_plans
from ragr1_lite.datagen.gold.facts import Rejected

__all__ = ["Composed", "Rejected", "compose_plans"]
