"""Questions side by side at the server take fewer forward passes, and their answers are those of one at a time."""

from __future__ import annotations

import pytest

import benchmarks.serving
from benchmarks.serving import serving
from ragr1_lite.models.loading import Policy
from tests.support.counting import count_instead

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")


@pytest.mark.slow
def test_eight_side_by_side_take_a_third_of_the_passes(smollm2: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    count_instead(monkeypatch, benchmarks.serving, "passes")
    found = serving(questions=8, rounds=1)
    assert found["equal_answers"] is True
    assert found["ratio"] >= 3
