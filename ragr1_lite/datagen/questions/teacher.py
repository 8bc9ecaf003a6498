"""A teacher asked in free text: to write questions with given answers, to answer one unread, or from documents."""

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
from ragr1_lite.datagen.gold.values import DATE, MONTH, forms
from ragr1_lite.datagen.questions.facts import holds
from ragr1_lite.datagen.questions.rules import Made, Sought, question_id
from ragr1_lite.datagen.questions.structured import NAME

_TEMPERATURE = 0.7
"""Of writing; answers are checked greedily."""
_AROUND = 8

_FORM = "Write nothing but: <question>…</question>"
_WRITE = {
    "one-hop": (
        "Write a question about {first} whose answer is given. Name {first} in it: its reader does not see the passage."
        f" {_FORM}\n\n"
        "Passage: Doc 1: Gull House. The house above the harbour was built in 1703 for a merchant. It has 14 rooms.\n"
        "About: Gull House\nAnswer: 1703\n<question>When was Gull House built?</question>\n\n"
        "Passage: {passages}\nAbout: {first}\nAnswer: {answer}\n"
    ),
    "bridge": (
        "Write a question that needs both passages and whose answer is {answer}, which only the second one says. Begin "
        f"from {{first}}, and describe {{second}} without naming it.\n{{passages}}\n{_FORM}"
    ),
}
"""One prompt per kind of question that a teacher writes: the answer is drawn from the passage, and so stands there."""
WRITTEN = tuple(_WRITE)
"""The kinds that a teacher writes; comparisons are sure only by rule."""

_UNREAD = "Answer in a few words, as <answer>…</answer>. If you do not know, guess.\nQuestion: {question}"
_READ = "Answer in a few words from these documents, as <answer>…</answer>.\n{documents}\nQuestion: {question}"

_STOP = ("</answer>", "</question>")
_WRITTEN = re.compile(r"<question>([^<>]+)(?:</question>|$)|^(?:Question: *)?([^<>\n]+\?)$", re.MULTILINE)
_POSSIBLE = re.compile(rf"(?<=[a-z,(] )(?:{DATE}|(?:(?:{MONTH}) )?\d{{4}}\b|\d[\d,.]*\d?(?: [a-z]+)?|{NAME})")
_SHOWN = frozenset("document passage sentence text".split())
_ANSWERED = re.compile(r"<answer>([^<>]*)(?:</answer>)?")
_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks the model of which ``samplers`` makes a sampler from a seed and a temperature.

    Its replies follow from the seed and the ``place`` in the work.
    """

    samplers: Callable[[int, float], Sampler]
    seed: int
    place: str = ""

    def write(self, prompts: Sequence[str], temperature: float) -> list[str]:
        """A question per prompt; empty where the reply has none."""
        found = map(_WRITTEN.search, self._ask("write", prompts, temperature))
        return [" ".join((one[1] or one[2]).split()) if one else "" for one in found]

    def answer_unread(self, questions: Sequence[str]) -> list[str]:
        """Its whole reply to each question without documents: an answer in passing is known too."""
        prompts = [_UNREAD.format(question=disarm(question)) for question in questions]
        return self._ask("unread", prompts, 0.0)

    def answer_read(self, questions: Sequence[str], found: Sequence[Sequence[Passage]]) -> list[str]:
        """Its answer to each question from documents."""
        prompts = [
            _READ.format(documents=render_documents(passages), question=disarm(question))
            for question, passages in zip(questions, found, strict=True)
        ]
        replies = self._ask("read", prompts, 0.0)
        return [answered[-1] if (answered := _ANSWERED.findall(reply)) else reply for reply in replies]

    def _ask(self, purpose: str, prompts: Sequence[str], temperature: float) -> list[str]:
        if not prompts:
            return []
        seed = random.Random(f"{self.seed}:{self.place}:{purpose}").getrandbits(31)
        sampler = self.samplers(seed, temperature)
        requests = [SampleRequest(row, sampler.tokenizer.render_chat(prompt)) for row, prompt in enumerate(prompts)]
        said = sampler.sample(requests, stop=_STOP, max_new_tokens=_TOKENS, report=ignore)
        return [split_thought(one.text)[1] for one in said]


@dataclass(frozen=True, slots=True)
class _Task:
    """A question to write about a passage and, for bridges, another; its answer stands in the last one."""

    kind: str
    passages: tuple[Passage, ...]
    answer: str

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
    """One question per passage, or why there is none; the kinds take turns, where a second passage fits."""
    around = searcher.search([f"{passage.title} {passage.text}" for passage in passages], _AROUND)
    tasks = [
        _task(kinds[turn % len(kinds)], passage, found, random.Random(f"{asker.seed}:{passage.id}"))
        for turn, (passage, found) in enumerate(zip(passages, around, strict=True))
    ]
    written = iter(asker.write([_prompt(task) for task in tasks if isinstance(task, _Task)], _TEMPERATURE))
    return [task if isinstance(task, str) else _made(task, next(written)) for task in tasks]


def _task(kind: str, passage: Passage, found: Sequence[Passage], draw: random.Random) -> _Task | str:
    """A bridge leads to a passage whose title this one names."""
    name = words(plain(passage.title))
    others = [other for other in found if words(plain(other.title)) not in ("", name) and name]
    linked = [other for other in others if stands_in(plain(other.title), passage.text)]
    if kind == "bridge" and not linked:
        return "no second passage fits"
    both = (passage, linked[0]) if kind == "bridge" else (passage,)
    seen = f"{passage.text if len(both) > 1 else ''} {' '.join(one.title for one in both)}"
    possible = [one for one in _POSSIBLE.findall(both[-1].text) if both[-1].text.count(one) == 1 and one not in seen]
    return _Task(kind, both, draw.choice(possible)) if possible else "no answer stands in the passage"


def _made(task: _Task, question: str) -> Made | str:
    """The question, if it passes the checks that need no search."""
    answers, (first, *second) = forms(task.answer), task.names
    if not question.endswith("?"):
        return "reply in another form"
    if holds(question, answers):
        return "question holds its answer"
    if (words(first) and not stands_in(first, question)) or _SHOWN & {*words(question).split()}:
        return "question does not name what it asks about"
    if second and stands_in(second[0], question):
        return "question names its bridge"
    titles = tuple(dict.fromkeys(passage.title for passage in task.passages))
    example = Example(question_id(task.kind, question), question, answers, task.kind, len(task.passages), titles=titles)
    queries = task.names if second else [question]  # by their names, where one leads to the other
    held = ((), answers) if second else (answers,)
    return Made(Question(example), tuple(map(Sought, queries, [one.title for one in task.passages], held)))


def _prompt(task: _Task) -> str:
    first, second = disarm(task.names[0]), disarm(task.names[-1])
    return _WRITE[task.kind].format(
        passages=render_documents(task.passages), first=first, second=second, answer=task.answer
    )
