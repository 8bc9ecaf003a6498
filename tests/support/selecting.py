"""A teacher that is right when it is told to be, without a model: what tests of the selection measure."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from ragr1_lite.core.protocol import Protocol, render_turn
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, Example, SampleRequest
from ragr1_lite.data.questions import Question
from tests.support.scripted import ByteTokenizer, ScriptedSearcher

_NAME = re.compile(r"item-\d+")


def questions(count: int) -> list[Question]:
    return [
        Question(Example(f"q{number}", f"What is item-{number}?", (f"item-{number}",), "kind", hops=1 + number % 3))
        for number in range(count)
    ]


def by_seed(name: str, seed: int, temperature: float) -> bool:
    """Some questions often, some seldom, some never; the same whenever the seed is."""
    return random.Random(f"{name}:{seed}:{temperature}").random() * 10 < int(name[5:]) % 7 - 1


class ScriptedTeacher:
    """Answers each question rightly or wrongly, after one search.

    Args:
        right: Told the name of what is asked, and the seed and temperature it is sampled with.

    Attributes:
        asked: For each sampler that was made, its seed, its temperature and the names it was asked about.
    """

    name, usage = "scripted", None

    def __init__(self, right: Callable[[str, int, float], bool] = by_seed) -> None:
        self.searcher, self.protocol, self.limits = ScriptedSearcher(), Protocol(), Limits()
        self.tokenizer = ByteTokenizer()
        self.asked: list[tuple[int, float, list[str]]] = []
        self.right = right

    def close(self) -> None:
        """Nothing was opened."""

    def sampler(self, seed: int, temperature: float) -> _Sampler:
        self.asked.append((seed, temperature, []))
        return _Sampler(self, seed, temperature)


class _Sampler:
    def __init__(self, teacher: ScriptedTeacher, seed: int, temperature: float) -> None:
        self.tokenizer, self._teacher = teacher.tokenizer, teacher
        self._seed, self._temperature, self._asked = seed, temperature, teacher.asked[-1][2]

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        report: Callable[[object], None],
    ) -> list[Completion]:
        return [self._say(self.tokenizer.decode(request.token_ids)) for request in requests]

    def _say(self, text: str) -> Completion:
        found = _NAME.search(text)
        assert found
        name = found[0]
        if "<information>{" not in text:
            self._asked.append(name)
            said = render_turn("I look.", queries=(name,))
        else:
            right = self._teacher.right(name, self._seed, self._temperature)
            said = render_turn("I know.", answer=name if right else "nothing")
        return Completion(tuple(self.tokenizer.encode(said)), said, "stop")
