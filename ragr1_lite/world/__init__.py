"""The embedded world: facts of countries and chemical elements, passages written from them, and questions by rule."""

from __future__ import annotations

from ragr1_lite.world.build import Search, WorldQuestion
from ragr1_lite.world.passages import passages
from ragr1_lite.world.questions import KINDS, questions

__all__ = ["KINDS", "Search", "WorldQuestion", "passages", "questions"]
