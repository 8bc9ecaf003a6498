"""Question sets in every form people hold them, read into one type."""

from ragr1_lite.data.questions.question import Hop, Question

__all__ = ["Hop", "Question"]
