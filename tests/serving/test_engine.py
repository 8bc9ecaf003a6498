"""Questions side by side: who joins when, what one call does for all, and what becomes of those that nobody wants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.assistant import Answer
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice, Searched, TextSampled
from ragr1_lite.core.types import Completion, SampleRequest
from ragr1_lite.files.answer_log import AnswerLog
from ragr1_lite.serving.engine import Engine, Full, TooLate
from tests.support.looking_up import LookingUp, Rooms, answer, assistant, question, until_dropped


class Held:
    """Holds a sampler in its first turn until it may go on."""

    def __init__(self) -> None:
        self.begun, self.on = threading.Event(), threading.Event()

    def __call__(self, requests: Sequence[SampleRequest]) -> None:
        self.begun.set()
        assert self.on.wait(60)


def engine(sampler: Any = None, searcher: Any = None, *, rows: int = 4, most: int = 40, **options: Any) -> Engine:
    return Engine(assistant(sampler, searcher), rows=rows, most=most, **options)


async def answered(engine: Engine, number: int, **options: Any) -> Answer:
    with engine.ask(question(number), **options) as asked:
        events = [event async for event in asked]
    assert isinstance(events[-1], Answer)
    return events[-1]


async def begun(engine: Engine, held: Held, number: int) -> asyncio.Task[Answer]:
    """A question that is in its first turn, where it is held."""
    task = asyncio.create_task(answered(engine, number))
    await asyncio.to_thread(held.begun.wait, 60)
    return task


def test_answers_are_kept_in_the_log(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "log.jsonl")
    kept = replace(assistant(), log=log, model="tiny")

    async def two() -> None:
        await asyncio.gather(*(answered(Engine(kept, rows=4, most=4), number) for number in (1, 2)))

    asyncio.run(two())
    assert {(row["question"], row["answer"], row["model"]) for row in log.read()} == {
        (question(number), answer(number), "tiny") for number in (1, 2)
    }


def test_a_question_has_its_events_in_order() -> None:
    async def events() -> list[object]:
        with engine().ask(question(3)) as asked:
            return [event async for event in asked]

    found = asyncio.run(events())
    kinds = "".join(type(event).__name__[0] for event in found)
    assert kinds.strip("T") == f"S{'T' * (len(kinds.split('S')[1]) - 1)}A"
    (searched,) = (event for event in found if isinstance(event, Searched))
    text = "".join(event.text for event in found[: found.index(searched)] if isinstance(event, TextSampled))
    assert text == "<think>I look up room 3.</think><search>code of room 3</search>"
    assert isinstance(found[-1], Answer) and found[-1].trajectory.answer == answer(3)
    assert found[-1].sources == searched.passages[0] and found[-1].seconds >= found[-1].searching > 0


def test_questions_join_at_the_next_turn_and_are_searched_together() -> None:
    held, searcher = Held(), Rooms()
    sampler = LookingUp(held)

    async def scene() -> list[Answer]:
        shared = engine(sampler, searcher, rows=3)
        first = await begun(shared, held, 0)
        others = [asyncio.create_task(answered(shared, number)) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        held.on.set()
        return await asyncio.gather(first, *others)

    assert [one.trajectory.answer for one in asyncio.run(scene())] == [answer(number) for number in range(4)]
    # Two fit beside the first; its number is free for the last when it has left.
    assert sampler.batches == [[0], [0, 1, 2], [1, 2, 0], [0]]
    assert searcher.calls == [
        ("code of room 0",),
        ("code of room 1", "code of room 2"),
        ("code of room 3",),
    ]


def test_other_modes_wait_for_the_last_of_this_one() -> None:
    held = Held()
    sampler = LookingUp(held)

    async def scene() -> None:
        shared = engine(sampler)
        first = await begun(shared, held, 0)
        single = asyncio.create_task(answered(shared, 2, mode="single"))
        await asyncio.sleep(0)
        multi = asyncio.create_task(answered(shared, 4))
        await asyncio.sleep(0)
        held.on.set()
        assert [one.trajectory.answer for one in await asyncio.gather(first, single, multi)] == list(
            map(answer, (0, 2, 4))
        )

    asyncio.run(scene())
    assert sampler.batches == [[0]] * 6


def test_a_row_that_nobody_wants_is_free_at_once_and_the_others_go_on() -> None:
    sampler = LookingUp(lambda requests: until_dropped(requests) if len(requests) == 2 else None)
    held = Held()

    async def scene() -> Answer:
        shared = engine(sampler)
        sampler.before, then = held, sampler.before
        first = await begun(shared, held, 0)
        gone = asyncio.create_task(answered(shared, 1))
        await asyncio.sleep(0)
        sampler.before = then
        held.on.set()
        while len(sampler.batches) < 2:
            await asyncio.sleep(0.01)
        gone.cancel()
        return await first

    assert asyncio.run(scene()).trajectory.answer == answer(0)
    assert sampler.batches == [[0], [0, 1]]


def test_whoever_leaves_while_waiting_is_never_begun() -> None:
    held = Held()
    sampler = LookingUp(held)

    async def scene() -> None:
        shared = engine(sampler, rows=1, most=2)
        first = await begun(shared, held, 0)
        with shared.ask(question(1)) as second:
            assert second.waits and shared.full
            with pytest.raises(Full):
                shared.ask(question(2))
        assert not shared.full
        held.on.set()
        await first

    asyncio.run(scene())
    assert sampler.batches == [[0], [0]]


def test_too_late() -> None:
    async def scene() -> None:
        shared = engine(LookingUp(until_dropped), timeout=0.05)
        with pytest.raises(TooLate):
            await answered(shared, 0)
        assert shared.asked == 0

    asyncio.run(scene())


def test_what_goes_wrong_is_each_ones_and_the_next_are_answered() -> None:
    class Once(LookingUp):
        def sample(self, requests: Sequence[SampleRequest], **options: Any) -> list[Completion]:
            if not self.batches:
                self.batches.append([])
                raise ModelError("It broke", "Fix it.")
            return super().sample(requests, **options)

    async def scene() -> list[Any]:
        shared = engine(Once(), rows=1)
        return await asyncio.gather(answered(shared, 0), answered(shared, 1), return_exceptions=True)

    first, second = asyncio.run(scene())
    assert isinstance(first, ModelError) and second.trajectory.answer == answer(1)


def test_a_question_without_room_ends_before_it_begins() -> None:
    async def scene() -> Answer:
        shared = engine()
        with shared.ask("What is the code of room 5?" + " " * 10_000) as asked:
            return [event async for event in asked][-1]  # type: ignore[return-value]

    assert asyncio.run(scene()).trajectory.stop_reason == "context"


def test_closing_drops_all_and_ends_the_thread() -> None:
    sampler = LookingUp(until_dropped)

    async def scene() -> None:
        shared = engine(sampler, rows=1)
        shared.ask(question(0)), shared.ask(question(1))
        await asyncio.to_thread(shared.close)
        assert shared.asked == 0

    asyncio.run(scene())
    assert sampler.batches in ([], [[0]])
    assert "engine" not in [thread.name for thread in threading.enumerate()]


def test_what_concerns_no_question_is_reported() -> None:
    class Noticing(LookingUp):
        def sample(self, requests: Sequence[SampleRequest], *, report: Any, **options: Any) -> list[Completion]:
            report(Notice("Smaller batches"))
            return super().sample(requests, report=report, **options)

    notices: list[object] = []
    asyncio.run(answered(engine(Noticing(), report=notices.append), 0))
    assert notices == [Notice("Smaller batches")] * 2
