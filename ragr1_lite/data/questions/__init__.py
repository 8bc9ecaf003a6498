"""Question sets in every form people hold them, read into one type."""

from ragr1_lite.data.questions.question import Hop, Question
from ragr1_lite.data.questions.reading import QuestionSet, read_questions, read_set
from ragr1_lite.data.questions.summary import Summary, described
from ragr1_lite.data.questions.writing import digest, to_row

__all__ = ["Hop", "Question", "QuestionSet", "Summary", "described", "digest", "read_questions", "read_set", "to_row"]
