"""A teacher asked in free text: to write questions about passages, to answer one unread, or from documents."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ragr1_lite.core.events import ignore
from ragr1_lite.core.protocol import disarm, render_documents, split_thought
from ragr1_lite.core.types import Example, Passage, Sampler, SampleRequest, Searcher
from ragr1_lite.data.questions import Question
from ragr1_lite.datagen.gold.text import plain, stands_in, words
from ragr1_lite.datagen.gold.values import forms
from ragr1_lite.datagen.questions.facts import holds
from ragr1_lite.datagen.questions.rules import Made, Sought, question_id

_TEMPERATURE = 0.7
"""Of writing; answers are checked greedily."""
_AROUND = 8
_LONGEST_ANSWER = 12

_FORM = "Write nothing but: <question>…</question><answer>…</answer>"
_WRITE = {
    "one-hop": (
        "Write a question whose answer is a name, a date or a number in this passage. Name what the question is about: "
        f"its reader does not see the passage. Copy the answer from the passage.\n{{passages}}\n{_FORM}"
    ),
    "bridge": (
        "Write a question that needs both passages. Begin from {first}, describe {second} without naming it, and ask "
        "for a name, a date or a number that only the second passage has. Copy the answer from there.\n"
        f"{{passages}}\n{_FORM}"
    ),
    "comparison": (
        "Write a question that compares {first} with {second} by something that both passages say, such as a date or "
        f"a size. Name both. The answer is {{first}} or {{second}}.\n{{passages}}\n{_FORM}"
    ),
}
"""One prompt per kind of question."""

_UNREAD = "Answer in a few words, as <answer>…</answer>. If you do not know, guess.\nQuestion: {question}"
_READ = "Answer in a few words from these documents, as <answer>…</answer>.\n{documents}\nQuestion: {question}"

_STOP = ("</answer>",)
_WRITTEN = re.compile(r"\s*<question>([^<>]+)</question>\s*<answer>([^<>]+)</answer>\s*")
_ANSWERED = re.compile(r"<answer>([^<>]*)(?:</answer>)?")
_WRITTEN_TOKENS, _ANSWER_TOKENS = 512, 256


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks the model of which ``samplers`` makes a sampler from a seed and a temperature.

    Its replies follow from the seed and the ``place`` in the work.
    """

    samplers: Callable[[int, float], Sampler]
    seed: int
    place: str = ""

    def write(self, prompts: Sequence[str], temperature: float) -> list[tuple[str, str] | None]:
        """A question and its answer per prompt; ``None`` where the reply is of another form."""
        replies = self._ask("write", prompts, temperature, _WRITTEN_TOKENS)
        found = [_WRITTEN.fullmatch(reply) for reply in replies]
        return [(" ".join(one[1].split()), " ".join(one[2].split())) if one else None for one in found]

    def answer_unread(self, questions: Sequence[str]) -> list[str]:
        """Its whole reply to each question without documents: an answer in passing is known too."""
        prompts = [_UNREAD.format(question=disarm(question)) for question in questions]
        return self._ask("unread", prompts, 0.0, _ANSWER_TOKENS)

    def answer_read(self, questions: Sequence[str], found: Sequence[Sequence[Passage]]) -> list[str]:
        """Its answer to each question from documents."""
        prompts = [
            _READ.format(documents=render_documents(passages), question=disarm(question))
            for question, passages in zip(questions, found, strict=True)
        ]
        replies = self._ask("read", prompts, 0.0, _ANSWER_TOKENS)
        return [answered[-1] if (answered := _ANSWERED.findall(reply)) else reply for reply in replies]

    def _ask(self, purpose: str, prompts: Sequence[str], temperature: float, max_new_tokens: int) -> list[str]:
        if not prompts:
            return []
        seed = random.Random(f"{self.seed}:{self.place}:{purpose}").getrandbits(31)
        sampler = self.samplers(seed, temperature)
        requests = [SampleRequest(row, sampler.tokenizer.render_chat(prompt)) for row, prompt in enumerate(prompts)]
        said = sampler.sample(requests, stop=_STOP, max_new_tokens=max_new_tokens, report=ignore)
        return [split_thought(one.text)[1] for one in said]


@dataclass(frozen=True, slots=True)
class _Task:
    """A question to write: about a passage and, for bridges and comparisons, another."""

    kind: str
    passages: tuple[Passage, ...]

    @property
    def names(self) -> list[str]:
        return [plain(passage.title) for passage in self.passages]


def draw_positions(count: int, seed: int) -> Iterator[int]:
    """Every number below ``count`` once, in an order by ``seed``, without a list of them."""
    draw = random.Random(seed)
    start, step = draw.randrange(count), draw.randrange(count) + 1
    while math.gcd(step, count) != 1:
        step += 1
    return ((start + step * turn) % count for turn in range(count))


def write_questions(
    passages: Sequence[Passage], kinds: Sequence[str], searcher: Searcher, asker: Asker
) -> list[Made | str]:
    """One question per passage, or why there is none; the kinds take turns."""
    around = searcher.search([f"{passage.title} {passage.text}" for passage in passages], _AROUND)
    tasks = [
        _task(kinds[turn % len(kinds)], passage, found)
        for turn, (passage, found) in enumerate(zip(passages, around, strict=True))
    ]
    ready = [task for task in tasks if task is not None]
    written = iter(asker.write([_prompt(task) for task in ready], _TEMPERATURE))
    return ["no second passage fits" if task is None else _made(task, next(written)) for task in tasks]


def _task(kind: str, passage: Passage, found: Sequence[Passage]) -> _Task | None:
    """A bridge leads to a passage whose title this one names, a comparison to one about something alike."""
    if kind == "one-hop":
        return _Task(kind, (passage,))
    name = plain(passage.title)
    others = [other for other in found if words(plain(other.title)) not in ("", words(name)) and words(name)]
    linked = [other for other in others if stands_in(plain(other.title), passage.text)]
    fitting = linked if kind == "bridge" else [other for other in others if other not in linked]
    return _Task(kind, (passage, fitting[0])) if fitting else None


def _made(task: _Task, written: tuple[str, str] | None) -> Made | str:
    """The question, if it passes the checks that need no search."""
    if written is None:
        return "reply in another form"
    question, answer = written
    if reason := _fault(task, question, answer):
        return reason
    answers = (answer,) if task.kind == "comparison" else forms(answer)
    titles = tuple(dict.fromkeys(passage.title for passage in task.passages))
    example = Example(question_id(task.kind, question), question, answers, task.kind, len(task.passages), titles=titles)
    return Made(Question(example), _sought(task, question, answers))


def _fault(task: _Task, question: str, answer: str) -> str:
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


def _sought(task: _Task, question: str, answers: tuple[str, ...]) -> tuple[Sought, ...]:
    """One search per passage, by the question or by their names."""
    if task.kind == "one-hop":
        return (Sought(question, task.passages[0].title, answers),)
    held = ((), answers if task.kind == "bridge" else ())
    return tuple(map(Sought, task.names, [passage.title for passage in task.passages], held))


def _prompt(task: _Task) -> str:
    first, second = disarm(task.names[0]), disarm(task.names[-1])
    return _WRITE[task.kind].format(passages=render_documents(task.passages), first=first, second=second)
