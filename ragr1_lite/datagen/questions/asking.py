"""A teacher asked in free text: to write a question, to answer one unread, to answer one from what was found."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragr1_lite.core.events import ignore
from ragr1_lite.core.protocol import disarm, render_documents
from ragr1_lite.core.types import Passage, Sampler, SampleRequest

_FORM = "Write nothing but: <question>…</question><answer>…</answer>"
WRITE = {
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

UNREAD = "Answer in a few words, as <answer>…</answer>. If you do not know, guess.\nQuestion: {question}"
READ = "Answer in a few words from these documents, as <answer>…</answer>.\n{documents}\nQuestion: {question}"

_STOP = ("</answer>",)
_WRITTEN = re.compile(r"\s*<question>([^<>]+)</question>\s*<answer>([^<>]+)</answer>\s*")
_ANSWERED = re.compile(r"<answer>([^<>]*)(?:</answer>)?")
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_MOST_WRITTEN, _MOST_ANSWERED = 512, 256


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks a teacher; what it says follows from the seed and the place that it is asked at.

    Attributes:
        samplers: Makes a sampler of a seed and a temperature, as a teacher does.
        seed: Of everything.
        place: What is being worked on.
    """

    samplers: Callable[[int, float], Sampler]
    seed: int
    place: str = ""

    def write(self, prompts: Sequence[str], temperature: float) -> list[tuple[str, str] | None]:
        """A question and its answer per prompt; ``None`` where the reply is of another form."""
        replies = self._ask("write", prompts, temperature, _MOST_WRITTEN)
        found = [_WRITTEN.fullmatch(reply) for reply in replies]
        return [(" ".join(one[1].split()), " ".join(one[2].split())) if one else None for one in found]

    def answer_unread(self, questions: Sequence[str]) -> list[str]:
        """What it answers without documents, the whole reply: an answer in passing is known too."""
        prompts = [UNREAD.format(question=disarm(question)) for question in questions]
        return self._ask("unread", prompts, 0.0, _MOST_ANSWERED)

    def answer_read(self, questions: Sequence[str], found: Sequence[Sequence[Passage]]) -> list[str]:
        """What it answers from documents."""
        prompts = [
            READ.format(documents=render_documents(passages), question=disarm(question))
            for question, passages in zip(questions, found, strict=True)
        ]
        replies = self._ask("read", prompts, 0.0, _MOST_ANSWERED)
        return [answered[-1] if (answered := _ANSWERED.findall(reply)) else reply for reply in replies]

    def _ask(self, purpose: str, prompts: Sequence[str], temperature: float, most: int) -> list[str]:
        if not prompts:
            return []
        seed = random.Random(f"{self.seed}:{self.place}:{purpose}").getrandbits(31)
        sampler = self.samplers(seed, temperature)
        requests = [SampleRequest(row, sampler.tokenizer.render_chat(prompt)) for row, prompt in enumerate(prompts)]
        said = sampler.sample(requests, stop=_STOP, max_new_tokens=most, report=ignore)
        return [_THOUGHT.sub("", one.text) for one in said]


def prompt(kind: str, passages: Sequence[Passage], names: Sequence[str]) -> str:
    """The request for a question of a kind about one passage or two."""
    fields = {"passages": render_documents(passages), "first": disarm(names[0]), "second": disarm(names[-1])}
    return re.sub(r"\{(passages|first|second)\}", lambda field: fields[field[1]], WRITE[kind])
