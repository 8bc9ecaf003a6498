"""Batched evaluation is faster, and its answers are those of one question after the other."""

from __future__ import annotations

import pytest

from benchmarks.evaluation import evaluation
from ragr1_lite.models.loading import Policy


@pytest.mark.slow
def test_sixteen_side_by_side_take_a_third_of_the_time(smollm2: Policy) -> None:
    told = evaluation(questions=16, batch_size=16, rounds=1)
    assert told["equal_answers"] is True and told["em"] > 0.5
    assert told["ratio"] >= 3
