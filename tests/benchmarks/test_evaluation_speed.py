"""Batched evaluation takes fewer forward passes, and its answers are those of one question after the other."""

from __future__ import annotations

import pytest

import benchmarks.evaluation
from benchmarks.evaluation import evaluation
from ragr1_lite.models.loading import Policy
from tests.support.counting import count_instead


@pytest.mark.slow
def test_sixteen_side_by_side_take_a_third_of_the_passes(smollm2: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    count_instead(monkeypatch, benchmarks.evaluation, "passes")
    found = evaluation(questions=16, batch_size=16, rounds=1)
    assert found["equal_answers"] is True and found["em"] > 0.5
    assert found["ratio"] >= 3
