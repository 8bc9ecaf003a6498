"""Questions with exact answers from one's own documents: one-hop, bridge and comparison."""

from __future__ import annotations

from ragr1_lite.datagen.questions.hold_out import hold_out
from ragr1_lite.datagen.questions.make import KINDS, NothingKept, make_questions

__all__ = ["KINDS", "NothingKept", "hold_out", "make_questions"]
