"""Rollouts keep what they compute from turn to turn: fewer tokens computed, the same tokens sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

import benchmarks.rollout
from benchmarks.rollout import rollout
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Completion, Passage
from ragr1_lite.models.loading import Policy
from tests.support.counting import count_instead
from tests.support.scripted import ScriptedSampler, ScriptedSearcher, example

SEARCH = "<think>I need facts.</think><search>chad, mali</search>"
ANSWER = "<think>Now I know.</think><answer>Chad</answer>"
LIMITS = Limits(max_rounds=3, k=1, max_new_tokens=100, max_length=4000)


class Keeping(ScriptedSampler):
    """Notes whether its session was open at each generation."""

    open = 0

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines)
        self.seen: list[int] = []

    @contextmanager
    def session(self) -> Iterator[None]:
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def sample(self, *arguments: Any, **options: Any) -> list[Completion]:
        self.seen.append(self.open)
        return super().sample(*arguments, **options)


def test_rollouts_are_one_session() -> None:
    sampler = Keeping([SEARCH, SEARCH, ANSWER])
    run_rollouts([example(), example()], sampler, ScriptedSearcher(), protocol=Protocol(), limits=LIMITS)
    assert sampler.seen == [1, 1, 1]
    assert sampler.open == 0


def test_a_session_ends_with_an_error() -> None:
    class Broken(ScriptedSearcher):
        def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
            raise OSError("gone")

    sampler = Keeping([SEARCH])
    with pytest.raises(OSError, match="gone"):
        run_rollouts([example()], sampler, Broken(), protocol=Protocol(), limits=LIMITS)
    assert (sampler.seen, sampler.open) == ([1], 0)


@pytest.mark.slow
def test_half_of_what_prefilling_anew_computes(smollm2: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    count_instead(monkeypatch, benchmarks.rollout, "tokens")
    result = rollout("smollm2-135m", rounds=1)
    assert result["turns"] == 3
    assert result["rows"] == 8
    for case in (result, result["distinct"]):
        assert case["equal_outputs"]
        assert case["ratio"] > 2
