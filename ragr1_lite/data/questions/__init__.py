"""Question sets in every known form, read into one type."""

from ragr1_lite.data.questions.question import Hop, Question, digest, to_row
from ragr1_lite.data.questions.reading import QuestionSet, read_questions, read_set
from ragr1_lite.data.questions.summary import Summary, described

__all__ = ["Hop", "Question", "QuestionSet", "Summary", "described", "digest", "read_questions", "read_set", "to_row"]
