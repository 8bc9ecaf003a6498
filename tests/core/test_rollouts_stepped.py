"""Rollouts taken turn by turn, with rows that join and leave between two."""

from __future__ import annotations

from ragr1_lite.core.events import RolloutFinished
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits, Rollouts, Row, run_rollouts
from tests.support.scripted import ScriptedSampler, ScriptedSearcher, example

SEARCH = "<think>I need facts.</think><search>chad, mali</search>"
ANSWER = "<think>Now I know.</think><answer>Chad</answer>"
LIMITS = Limits(max_rounds=3, k=2, max_new_tokens=100, max_length=4000)


def test_rows_that_join_later_and_leave_early_change_nothing_for_the_others() -> None:
    lines = {0: [SEARCH, SEARCH, ANSWER], 1: [SEARCH], 2: [SEARCH, ANSWER]}
    sampler, searcher, events = ScriptedSampler(lines), ScriptedSearcher(), list[object]()
    rollouts = Rollouts(sampler, searcher, Protocol(), LIMITS, events.append)
    first, second, third = (Row(i, example(), LIMITS.total_document_tokens) for i in range(3))
    assert rollouts.turn(rollouts.open([first, second])) == [first, second]
    live = rollouts.turn([first, *rollouts.open([third])])
    assert live == [first, third] and rollouts.turn(live) == []
    for row in (first, third):
        alone = ScriptedSampler(lines[row.index])
        assert [row.finish()] == run_rollouts([example()], alone, searcher, protocol=Protocol(), limits=LIMITS)
    assert [set(call) for call in sampler.calls] == [{0, 1}, {0, 2}, {0, 2}]
    assert [event.row for event in events if isinstance(event, RolloutFinished)] == [0, 2]


def test_a_row_without_room_does_not_begin() -> None:
    events: list[object] = []
    short = Limits(max_new_tokens=100, max_length=150)
    rollouts = Rollouts(ScriptedSampler([ANSWER]), ScriptedSearcher(), Protocol(), short, events.append)
    row = Row(7, example(), 0)
    assert rollouts.open([row]) == [] and events == [RolloutFinished(7, row.finish())]
