"""Ask from Python, watching the searches: ``python examples/ask_from_python.py "Which is larger, Chad or Mali?"``."""

import sys

from ragr1_lite.assistant import Assistant
from ragr1_lite.core.events import Searched


def watch(event: object) -> None:
    """Prints each turn's queries with the titles they found."""
    if isinstance(event, Searched):
        for query, passages in zip(event.queries, event.passages, strict=True):
            print(f"  {query}  ->  {', '.join(passage.title for passage in passages)}")


question = " ".join(sys.argv[1:]) or "Which has the higher highest point, Chad or Niger?"
answer = Assistant.open().ask(question, report=watch)
print(answer.trajectory.answer)
