"""What a quickstart says of its time, by a guess and by what it measures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ragr1_lite.cli import time_left
from ragr1_lite.cli.time_left import TimeLeft
from ragr1_lite.core.events import Notice, StepFinished
from ragr1_lite.core.timing import Stages

WORK = {
    "eval base": {"sampled": 1_000.0},
    "sft": {"trained": 60_000.0},
    "eval SFT": {"sampled": 6_000.0},
    "grpo": {"sampled": 6_000.0, "trained": 12_000.0},
}


def answered(tokens: int, seconds: float) -> Any:
    return SimpleNamespace(
        trajectories=[SimpleNamespace(sampled_tokens=tokens)], resources=SimpleNamespace(seconds=seconds)
    )


def quickstart(report: Any) -> None:
    """The base model writes 50 tokens a second, and SFT trains 200."""
    left, seconds = TimeLeft(WORK, report), dict[str, float]()
    with left.stage("eval base", seconds):
        pass
    left.learn_from(answered(1_000, 20.0))
    with left.stage("sft", seconds):
        for step, rest in ((1, None), (2, 298.0), (3, 296.0)):
            left(StepFinished(step, 150, {"tokens_per_second": 200.0, "seconds": 2.0}, rest))
    with left.stage("eval SFT", seconds):
        pass
    with left.stage("grpo", seconds):
        left(StepFinished(1, 3, {"tokens_per_second": 10.0, "reward": 0.5, "seconds": 60.0}, 130.0))
    assert list(seconds) == list(WORK)


def test_the_guess_gives_way_to_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_left, "token_seconds", lambda: {"sampled": 0.01, "trained": 0.01})
    events: list[object] = []
    quickstart(events.append)
    of = "to go on this machine"
    assert [event.text for event in events if isinstance(event, Notice)] == [
        f"About 14 minutes {of}: eval base 10 seconds, sft 10 minutes, eval SFT 1 minute, grpo 3 minutes.",
        f"About 16 minutes {of}: sft 10 minutes, eval SFT 2 minutes, grpo 4 minutes.",
        f"About 10 minutes {of}: sft 5 minutes, eval SFT 2 minutes, grpo 3 minutes.",
        f"About 5 minutes {of}: eval SFT 2 minutes, grpo 3 minutes.",
        f"About 3 minutes {of}: grpo 3 minutes.",
        f"About 2 minutes {of}: grpo 2 minutes.",
    ]
    assert sum(isinstance(event, StepFinished) for event in events) == 4, "a training's events are passed on"


def test_where_nothing_can_be_guessed_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a card, until all that is to come was measured."""
    monkeypatch.setattr(time_left, "token_seconds", lambda: None)
    events: list[object] = []
    quickstart(events.append)
    first = next(event.text for event in events if isinstance(event, Notice))
    assert first.startswith("About 10 minutes to go on this machine: sft 5 minutes")


def test_before_a_quick_stage_and_twice_the_same_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_left, "token_seconds", lambda: {"sampled": 0.01, "trained": 0.01})
    events: list[object] = []
    work = {"index": {"read": 4.0}, "sft": {"trained": 6_000.0}}
    left = TimeLeft(work, events.append, size=2.0, guess={"read": 15.0})
    left.say()
    with left.stage("index", {}, quick=True):
        left.say()
    with left.stage("sft", {}):
        left.say()
    of = "to go on this machine"
    assert [event.text for event in events if isinstance(event, Notice)] == [
        f"About 3 minutes {of}: index 1 minute, sft 2 minutes.",
        f"About 2 minutes {of}: sft 2 minutes.",
    ]


def test_a_model_of_unknown_size_is_not_guessed_at() -> None:
    events: list[object] = []
    assert not TimeLeft({"sft": {"trained": 1.0}}, events.append, size=None).say()
    assert events == []


def test_stages_without_work_left() -> None:
    stages = Stages({"only": {"sampled": 1.0}}, {"sampled": 60.0})
    assert stages.left() == "about 1 minute to go on this machine: only 1 minute"
    stages.end("only")
    assert stages.left() == ""
