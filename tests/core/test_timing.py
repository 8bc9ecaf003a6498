from __future__ import annotations

import doctest

import pytest

from ragr1_lite.core import timing
from ragr1_lite.core.timing import Pace, Stages


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(timing)
    assert result.attempted and not result.failed


def test_the_first_part_counts_until_there_is_another() -> None:
    pace, unsure = Pace(), Pace(first_counts=False)
    assert pace.seconds(1) is None
    for one in (pace, unsure):
        one.add(2, 20)
    assert (pace.seconds(3), unsure.seconds(3)) == (30, None)
    for one in (pace, unsure):
        one.add(1, 4)
    assert (pace.seconds(3), unsure.seconds(3)) == (12, 12)


def test_a_machine_that_gets_slower_is_followed() -> None:
    pace = Pace()
    for part in range(1, 1001):
        pace.add(1, 1.0 if part <= 500 else 3.0)
    assert pace.seconds(10) == pytest.approx(30, rel=0.02)
    assert len(pace._later) < 300, "parts of a long work are joined"


def test_parts_count_by_their_work() -> None:
    pace = Pace()
    for work, seconds in ((1, 100), (1, 1), (98, 490), (1, 9)):
        pace.add(work, seconds)
    assert pace.seconds(200) == pytest.approx(1000, rel=0.01)


def test_one_slow_part_is_not_the_rule() -> None:
    pace = Pace()
    for seconds in (30, 2, 3, 2, 3, 80, 3, 2, 2):
        pace.add(1, seconds)
    assert pace.seconds(10) == pytest.approx(25)


def test_what_took_no_work_says_nothing() -> None:
    pace = Pace()
    pace.add(0, 5)
    assert pace.seconds(1) is None


def test_stages_change_and_fall_away() -> None:
    stages = Stages({"first": {"read": 1.0}, "second": {"read": 2.0}, "third": {"read": 3.0}}, {"read": 60.0})
    stages.expect("second", read=5.0)
    stages.expect("third")
    stages.expect("fourth", read=1.0)
    assert stages.left() == "about 6 minutes to go on this machine: first 1 minute, second 5 minutes"
