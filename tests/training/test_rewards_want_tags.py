"""Evaluations read free text; a reward still wants the tag, so that a model is trained to write it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragr1_lite.core.types import Mode
from ragr1_lite.training.grpo.rollouts import Rollouts
from tests.support import tiny


@pytest.mark.parametrize("mode", ["direct", "rag", "cot-rag"])
def test_an_answer_without_its_tag_earns_nothing(mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.save_byte_model(tmp_path / "tiny-byte")
    recipe = tiny.make_recipe(
        "grpo", model, tmp_path / "run", rollout={"mode": mode, "template": None}, grpo={"beta": 0.0}
    )
    policy = tiny.load(recipe)
    right = tiny.EXAMPLES[0].answers[0]
    lines = [f"The answer is {right}.", f"<answer>{right}</answer>"]
    sampler = tiny.Script(policy.tokenizer, lambda row, turn: lines[row % 2])
    monkeypatch.setattr("trl.trainer.grpo_trainer.unwrap_model_for_generation", lambda *_: nullcontext())
    accelerator = SimpleNamespace(process_index=0, num_processes=1)
    trainer: Any = SimpleNamespace(
        model_wrapped=policy.model, accelerator=accelerator, state=SimpleNamespace(global_step=0)
    )
    rollouts = Rollouts(policy, sampler, tiny.OnePassage(), tiny.EXAMPLES, recipe)
    assert rollouts(["0", "0"], trainer)["total_reward"] == [0.0, 1.0]
    assert [one.answer for one in rollouts.trajectories] == [None, right]
