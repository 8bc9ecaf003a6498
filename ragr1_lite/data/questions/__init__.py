"""Question sets in every known form, read into one type."""

from ragr1_lite.data.questions.question import Hop, Question, QuestionSet, Summary, described, digest, to_row
from ragr1_lite.data.questions.reading import read_questions, read_set

__all__ = ["Hop", "Question", "QuestionSet", "Summary", "described", "digest", "read_questions", "read_set", "to_row"]
