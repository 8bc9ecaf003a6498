"""Questions with exact answers from one's own documents: one-hop, bridge and comparison."""

from __future__ import annotations

from ragr1_lite.datagen.questions.make import KINDS, make_questions

__all__ = ["KINDS", "make_questions"]
