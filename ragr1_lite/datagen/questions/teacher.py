"""Questions that a teacher writes about a passage, or about one and another that goes with it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragr1_lite.core.types import Example, Passage, Searcher
from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.text import plain, stands_in, words
from ragr1_lite.datagen.gold.values import forms
from ragr1_lite.datagen.questions.asking import Asker, prompt
from ragr1_lite.datagen.questions.facts import holds
from ragr1_lite.datagen.questions.rules import Made, Sought, question_id, turned_down

TEMPERATURE = 0.7
"""Of writing; answers are checked greedily."""

_AROUND = 8
_LONGEST_ANSWER = 12


@dataclass(frozen=True, slots=True)
class Task:
    """What a question is to be written about: a passage, and for two of the kinds another."""

    kind: str
    passages: tuple[Passage, ...]

    @property
    def names(self) -> list[str]:
        """What the passages are about."""
        return [plain(passage.title) for passage in self.passages]


def draw_positions(count: int, seed: int) -> Iterator[int]:
    """Every number below ``count`` once, in an order by ``seed``, without a list of them.

    >>> sorted(draw_positions(5, seed=1))
    [0, 1, 2, 3, 4]
    """
    draw = random.Random(seed)
    start, step = draw.randrange(count), draw.randrange(count) + 1
    while math.gcd(step, count) != 1:
        step += 1
    return ((start + step * turn) % count for turn in range(count))


def write_questions(passages: Sequence[Passage], kinds: Sequence[str], searcher: Searcher, asker: Asker) -> list[Made]:
    """One question per passage, or why there is none; the kinds take turns."""
    around = searcher.search([f"{passage.title} {passage.text}" for passage in passages], _AROUND)
    tasks = [
        _task(kinds[turn % len(kinds)], passage, found)
        for turn, (passage, found) in enumerate(zip(passages, around, strict=True))
    ]
    ready = [task for task in tasks if task is not None]
    written = iter(asker.write([prompt(task.kind, task.passages, task.names) for task in ready], TEMPERATURE))
    return [turned_down("no second passage fits") if task is None else _made(task, next(written)) for task in tasks]


def _task(kind: str, passage: Passage, found: Sequence[Passage]) -> Task | None:
    """A bridge leads to a passage whose title this one names, a comparison to one about something alike."""
    if kind == "one-hop":
        return Task(kind, (passage,))
    name = plain(passage.title)
    others = [other for other in found if words(plain(other.title)) not in ("", words(name)) and words(name)]
    linked = [other for other in others if stands_in(plain(other.title), passage.text)]
    fitting = linked if kind == "bridge" else [other for other in others if other not in linked]
    return Task(kind, (passage, fitting[0])) if fitting else None


def _made(task: Task, written: tuple[str, str] | None) -> Made:
    """The question, if what can be seen without asking anyone is in order."""
    if written is None:
        return turned_down("reply in another form")
    question, answer = written
    if reason := _fault(task, question, answer):
        return turned_down(reason)
    answers = (answer,) if task.kind == "comparison" else forms(answer)
    titles = tuple(dict.fromkeys(passage.title for passage in task.passages))
    example = Example(question_id(task.kind, question), question, answers, task.kind, len(task.passages), titles=titles)
    return Made(Question(example), tuple(_sought(task, question, answers)))


def _fault(task: Task, question: str, answer: str) -> str:
    answers, names, last = forms(answer), task.names, task.passages[-1]
    if not question.endswith("?") or len(answer.split()) > _LONGEST_ANSWER:
        return "not a question with a short answer"
    if task.kind == "comparison":
        if words(answer) not in map(words, names):
            return "answer is neither of the two"
        return "" if all(stands_in(name, question) for name in names) else "question does not name what it asks about"
    if not holds(last.text, answers):
        return "answer not in the passage"
    if holds(question, answers):
        return "question holds its answer"
    if not words(names[0]):
        return ""
    if not stands_in(names[0], question):
        return "question does not name what it asks about"
    return "question names its bridge" if task.kind == "bridge" and stands_in(names[1], question) else ""


def _sought(task: Task, question: str, answers: tuple[str, ...]) -> Iterator[Sought]:
    """One search per passage, by the question or by their names."""
    if task.kind == "one-hop":
        yield Sought(question, task.passages[0].title, answers)
        return
    for passage, name in zip(task.passages, task.names, strict=True):
        last = task.kind == "bridge" and passage is task.passages[-1]
        yield Sought(name, passage.title, answers if last else ())
