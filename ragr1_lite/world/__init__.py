"""The embedded world: passages on countries and chemical elements, and questions with gold plans."""

from __future__ import annotations

from ragr1_lite.world.questions import KINDS, SPLITS, Search, WorldQuestion, gold_passages, passages, questions

__all__ = ["KINDS", "SPLITS", "Search", "WorldQuestion", "gold_passages", "passages", "questions"]
