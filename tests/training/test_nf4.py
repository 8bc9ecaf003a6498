"""Training in four bits on a CPU: tiny random Qwen2 and Qwen3 with their real tokenizers learn by SFT and by GRPO."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit

from ragr1_lite.config import Recipe
from ragr1_lite.core.events import Notice, ignore
from ragr1_lite.core.types import Segment, Source, Trajectory
from ragr1_lite.models.loading import Policy, load_policy, model_spec
from ragr1_lite.training import grpo, sft
from ragr1_lite.training.grpo import rollouts, trainer
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import as_callback, fit
from tests.support import tiny
from tests.support.rounding import assert_near

SEARCH = "<think>Search.</think><search>Chad, Oman</search>"
RIGHT = "<think>It is.</think><answer>Chad</answer>"
WRONG = "<think>No.</think><answer>Oman</answer>"


@pytest.fixture(params=["tiny_qwen2_folder", "tiny_qwen3_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def four_bits(task: str, folder: Path, output: Path, **sections: dict[str, Any]) -> tuple[Recipe, Policy]:
    recipe = tiny.make_recipe(task, folder, output, model={"dtype": "nf4"}, **sections)
    policy = tiny.load(recipe)
    assert sum(isinstance(module, Linear4bit) for module in policy.model.modules()) == 2 * 7
    return recipe, policy


class OnlyTheAdapter:
    """While the block runs, every weight of the adapter moves and no other does."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def _adapter(self) -> dict[str, torch.Tensor]:
        weights = self._policy.model.named_parameters()
        return {name: weight.detach().clone() for name, weight in weights if "lora_" in name}

    def __enter__(self) -> None:
        self._frozen, self._before = tiny.frozen_hash(self._policy), self._adapter()

    def __exit__(self, *_: object) -> None:
        after = self._adapter()
        assert tiny.frozen_hash(self._policy) == self._frozen
        assert all(not torch.equal(after[name], weight) for name, weight in self._before.items())


def assert_only_model_tokens_are_trained(found: Sequence[Any], trajectories: Sequence[Trajectory]) -> None:
    """Every row is one of the trajectories, and the gradient is exactly zero but where the model wrote.

    What all rows wrote alike is computed once, and their advantages sum to zero there.
    """
    masks = {one.token_ids: [i for i, trained in enumerate(one.loss_mask) if trained] for one in trajectories}
    for micro_batch in found:
        alike = len(os.path.commonprefix([ids for ids, _ in micro_batch])) if len(micro_batch) > 1 else 0
        for ids, gradient in micro_batch:
            assert tiny.trained_positions(gradient) == [i for i in masks[ids] if i >= alike]


def test_sft(folder: Path, tmp_path: Path) -> None:
    train = {"steps": 5, "batch_size": 2, "learning_rate": 0.03}
    recipe, policy = four_bits("sft", folder, tmp_path / "run", train=train)
    trajectories = tiny.gold(policy, recipe, count=2)
    assert any(segment.source == "env" for one in trajectories for segment in one.segments)
    run = Run.start(recipe)
    with OnlyTheAdapter(policy), tiny.final_gradients() as found:
        fit(sft.make_trainer(policy, trajectories, recipe, run), policy, recipe, run, ignore, resume=False)
    assert len(found) == 5
    assert_only_model_tokens_are_trained(found, trajectories)
    losses = [line["loss"] for line in tiny.metrics_of(recipe.output)]
    assert losses[-1] < 0.7 * losses[0]


def said(row: int, turn: int) -> str:
    if row % 4 == 0 and turn == 0:
        return SEARCH
    return RIGHT if row % 2 else WRONG


def test_grpo(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong answers, one of them after a search, become unlikelier, right ones likelier."""
    monkeypatch.setattr(trainer, "make_sampler", lambda policy, *_: tiny.Script(policy.tokenizer, said))
    train = {"steps": 2, "batch_size": 4, "micro_batch": 4, "learning_rate": 0.02}
    recipe, policy = four_bits("grpo", folder, tmp_path / "run", train=train, grpo={"group_size": 4})
    run = Run.start(recipe)
    training = grpo.make_trainer(policy, tiny.EXAMPLES[:1], tiny.OnePassage(), recipe, run)
    with OnlyTheAdapter(policy), tiny.final_gradients() as found:
        fit(training, policy, recipe, run, ignore, resume=False)
    trajectories = training.rollout_func.trajectories
    assert any(segment.source == "env" for one in trajectories for segment in one.segments)
    assert_only_model_tokens_are_trained(found[-2:], trajectories)  # before them, those of the proof
    start = tiny.load(recipe)
    searched, right, wrong, _ = trajectories
    with torch.no_grad():
        gains = [
            float(tiny.log_prob(policy, one).sum() - tiny.log_prob(start, one).sum())
            for one in (searched, right, wrong)
        ]
    assert gains[1] > 0.5
    assert gains[2] < -0.5
    assert gains[0] < 0.5 * gains[1]


def test_grpo_samples_what_it_trains(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real sampler: after forwards in evaluation mode there is a gradient still, and both see the same model."""
    plain = rollouts.score

    def by_parity(trajectory: Trajectory, weights: Any) -> Any:
        reward = plain(trajectory, weights)
        return type(reward)(float(sum(trajectory.token_ids) % 101), reward.parts)

    monkeypatch.setattr(rollouts, "score", by_parity)
    recipe, policy = four_bits("grpo", folder, tmp_path / "run", train={"steps": 2, "learning_rate": 0.01})
    reported: list[object] = []
    run = Run.start(recipe)
    training = grpo.make_trainer(policy, tiny.EXAMPLES[:2], tiny.OnePassage(), recipe, run, reported.append)
    fit(training, policy, recipe, run, ignore, resume=False)
    (proved,) = [event.text for event in reported if isinstance(event, Notice) and event.text.startswith("Proved")]
    assert "sampler and trainer differ by 0.0" in proved
    assert all(line["grad_norm"] > 0 for line in tiny.metrics_of(recipe.output))


# --- real weights --------------------------------------------------------------------------------------------------

QWEN = "qwen2.5-coder-0.5b"


def short(policy: Policy) -> Trajectory:
    """A search and an answer, in as few tokens as that takes."""
    encode = policy.tokenizer.encode
    parts: list[tuple[Source, str]] = [
        ("model", SEARCH),
        ("env", "<documents>Chad is larger.</documents>"),
        ("model", RIGHT),
    ]
    written = [Segment(source, tuple(encode(text))) for source, text in parts]
    prompt = Segment("prompt", tuple(policy.tokenizer.render_chat("Which is larger, Chad or Oman?")))
    return Trajectory(tiny.EXAMPLES[0], (prompt, *written), (), "answer")


def qwen(task: str, output: Path, dtype: str = "nf4", **sections: dict[str, Any]) -> tuple[Recipe, Policy]:
    """Real weights, computed in fp32, under an adapter that is not zero."""
    recipe = tiny.make_recipe(task, Path(QWEN), output, model={"dtype": dtype}, **sections)
    policy = load_policy(replace(model_spec(recipe), compute="fp32"), lora=recipe.lora)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.02, generator=generator)
    return recipe, policy


def adapter_gradients(policy: Policy) -> dict[str, torch.Tensor]:
    weights = policy.model.named_parameters()
    return {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}


@pytest.mark.slow
def test_real_weights_have_the_gradients_of_their_dequantized_selves(tmp_path: Path) -> None:
    """One step of SFT against plain torch on a model in fp32 with the same numbers in its layers."""
    train = {"steps": 1, "batch_size": 1, "micro_batch": 1, "max_grad_norm": 1e9}
    recipe, policy = qwen("sft", tmp_path / "run", train=train)
    (trajectory, run) = short(policy), Run.start(recipe)
    found: list[dict[str, torch.Tensor]] = []

    class Keep:
        def on_pre_optimizer_step(self, *_: object, **__: object) -> None:
            found.append(adapter_gradients(policy))

    training = sft.make_trainer(policy, [trajectory], recipe, run)
    with tiny.final_gradients() as last:
        fit(training, policy, recipe, run, ignore, resume=False, callbacks=[as_callback(Keep)])
    assert_only_model_tokens_are_trained(last, [trajectory])

    _, whole = qwen("sft", tmp_path / "whole", "fp32")
    quantized = {name: module for name, module in policy.model.named_modules() if isinstance(module, Linear4bit)}
    with torch.no_grad():
        for name, module in quantized.items():
            weight: Any = module.weight
            whole.model.get_submodule(name).weight.copy_(dequantize_4bit(weight.data, weight.quant_state))
    ids = torch.tensor([trajectory.token_ids])
    labels = ids.masked_fill(~torch.tensor([trajectory.loss_mask]).bool(), sft.IGNORED)
    model: Any = whole.model
    model(input_ids=ids, labels=labels).loss.backward()
    expected = adapter_gradients(whole)
    assert found[0].keys() == expected.keys()
    assert len(quantized) == 24 * 7
    for name, gradient in expected.items():
        assert_near(found[0][name], gradient, 1e-3)


@pytest.mark.slow
def test_real_weights_sample_what_they_train(tmp_path: Path) -> None:
    """One step of GRPO with the real sampler: the proof, within fp32's bounds."""
    recipe, policy = qwen("grpo", tmp_path / "run", train={"steps": 1}, rollout={"max_rounds": 1, "max_new_tokens": 16})
    reported: list[object] = []
    run = Run.start(recipe)
    training = grpo.make_trainer(policy, tiny.EXAMPLES[:2], tiny.OnePassage(), recipe, run, reported.append)
    fit(training, policy, recipe, run, ignore, resume=False)
    (proved,) = [event.text for event in reported if isinstance(event, Notice) and event.text.startswith("Proved")]
    assert "sampler and trainer differ by 0.00" in proved
    assert f"{2 * 24 * 7} weights move" in proved
