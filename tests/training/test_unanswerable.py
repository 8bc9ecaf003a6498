"""Trainings with hidden gold passages: the questions that are met, and the same ones after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.events import RolloutsFinished
from ragr1_lite.core.protocol import NOT_FOUND
from ragr1_lite.core.types import Trajectory
from ragr1_lite.training.grpo import trainer as grpo_trainer
from tests.support import tiny
from tests.training.test_resume import Crash, Job, assert_whole, at_step, crash, untrained

STEPS = {"steps": 4, "batch_size": 4, "learning_rate": 0.01, "save_every": 2}


@pytest.fixture(params=["sft", "grpo"])
def job(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """SFT on the world, GRPO on a file that names gold passages; half of the questions have theirs hidden."""
    tiny.save_byte_model(tmp_path / "tiny-byte")
    untrained(monkeypatch)
    data: dict[str, Any] = {"train": "world", "limit": 4, "mix": {"one-hop": 1}}
    if request.param == "grpo":
        rows = [{"question": f"Where is {name}?", "answers": [name], "gold_titles": [name]} for name in tiny.COUNTRIES]
        (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        data = {"train": str(tmp_path / "q.jsonl")}
    room = {"max_length": 8192, "max_rounds": 2}
    return Job(request.param, tmp_path, data=data | {"unanswerable": 0.5}, train=STEPS, rollout=room)


def test_a_stopped_training_goes_on_with_the_same_questions(job: Job) -> None:
    met: dict[str, list[tuple[str, ...]]] = {"whole": [], "stopped": [], "resumed": []}

    def keep(name: str, stop: int = 0) -> Callable[[object], None]:
        """Notes the questions of each step; it is stopped after one."""
        stopping = at_step(stop, crash)

        def report(event: object) -> None:
            stopping(event)
            if isinstance(event, RolloutsFinished):
                met[name].append(tuple(one.example.id for one in event.trajectories))

        return report

    job.train(f"{job.task}-whole", report=keep("whole"))
    with pytest.raises(Crash):
        job.train("stopped", report=keep("stopped", 3))
    job.train("stopped", resume=True, report=keep("resumed"))
    assert_whole(job, "stopped")
    assert [*met["stopped"][:2], *met["resumed"]] == met["whole"], "it goes on after the checkpoint of step 2"
    if job.task == "sft":
        answerable = job.train("answerable", data={"unanswerable": 0.0})
        assert not tiny.same_adapter(answerable.adapter, job.folder / "sft-whole" / "adapter")
    else:
        hidden = [id.endswith("#hidden") for step in met["whole"] for id in step]
        assert 0 < sum(hidden) < len(hidden) == 16


@pytest.mark.parametrize("job", ["grpo"], indirect=True)
def test_grpo_meets_both_kinds_and_rewards_what_fits(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Trajectory] = []
    made = grpo_trainer.make_trainer

    def scripted(policy: Any, examples: Any, searcher: Any, *rest: Any) -> Any:
        *rest, _ = rest
        answers = [f"<answer>{NOT_FOUND}</answer>", "<answer>Chad</answer>"]
        lines = tiny.Script(policy.tokenizer, lambda row, turn: f"<think>So.</think>{answers[row % 2]}")
        return made(policy, examples, searcher, *rest, lines)

    def keep(event: object) -> None:
        if isinstance(event, RolloutsFinished):
            met.extend(event.trajectories)
            assert [one.parts["em"] for one in event.rewards] == [
                float(one.answer in one.example.answers) for one in event.trajectories
            ]

    monkeypatch.undo()
    monkeypatch.setattr(grpo_trainer, "open_searcher", lambda index, report: tiny.OnePassage())
    monkeypatch.setattr(grpo_trainer, "make_trainer", scripted)
    monkeypatch.setattr("ragr1_lite.training.grpo.trainer.prove_first", lambda *_: None)
    job.train("scripted", report=keep, train={"steps": 4}, rollout={"max_new_tokens": 60})
    hidden = [bool(one.example.hidden) for one in met]
    assert 0 < sum(hidden) < len(hidden)
    assert {one.example.answers for one in met if one.example.hidden} == {(NOT_FOUND,)}
