"""Training computes in what was loaded: autocast, loss scaling, the adapter in fp32."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ragr1_lite.core.events import Notice, ignore
from ragr1_lite.models import cpu_speed, loading
from ragr1_lite.models.loading import ModelSpec, Policy, load_policy, model_spec
from ragr1_lite.training import grpo, sft
from ragr1_lite.training.grpo import proof
from ragr1_lite.training.grpo import trainer as grpo_trainer
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import fit, trainer_arguments
from tests.support import tiny


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte")


def flags(folder: Path, policy: Policy) -> tuple[bool, bool]:
    """Whether training casts to bf16, and to fp16."""
    recipe = tiny.make_recipe("sft", folder, folder / "run")
    arguments = trainer_arguments(recipe, Run(recipe.output), policy)
    return arguments["bf16"], arguments["fp16"]


@pytest.mark.parametrize(
    ("fast", "dtype", "compute"),
    [
        (False, "nf4", "fp32"),
        (True, "nf4", "bf16"),
        (False, "auto", "fp32"),
        (True, "auto", "bf16"),
        (True, "fp32", "fp32"),
    ],
)
def test_passes_compute_in_what_was_loaded(
    byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: str, compute: str
) -> None:
    """On CPUs that are fast or slow at bf16: 4 bits were once trained under autocast to bf16 on all of them."""
    monkeypatch.setattr(cpu_speed, "prefers_bf16", lambda: fast)
    recipe = tiny.make_recipe("sft", byte_model, tmp_path / "run", model={"dtype": dtype}, train={"steps": 1})
    said: list[object] = []
    policy = load_policy(model_spec(recipe), lora=recipe.lora, report=said.append)
    assert (policy.compute, flags(tmp_path, policy)) == (compute, (compute == "bf16", False))
    (notice,) = (event.text for event in said if isinstance(event, Notice))
    assert (f"in nf4, computed in {compute}, on cpu" if dtype == "nf4" else f"in {compute} on cpu") in notice
    casts: set[bool] = set()
    inner: Any = policy.model.get_base_model()
    inner.model.norm.register_forward_pre_hook(lambda *_: casts.add(torch.is_autocast_enabled("cpu")))
    training = sft.make_trainer(policy, tiny.gold(policy, recipe, count=2), recipe, Run.start(recipe))
    fit(training, policy, recipe, Run(recipe.output), ignore, resume=False)
    assert casts == {compute == "bf16"}


def test_what_unsloth_loads_instead_is_followed(
    byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loads fp16 where it finds no bf16, and 16 bits where it cannot quantize."""
    asked: list[torch.dtype] = []

    def from_pretrained(model_name: str, dtype: torch.dtype, **_: Any) -> tuple[Any, None]:
        from transformers import AutoModelForCausalLM

        asked.append(dtype)
        return AutoModelForCausalLM.from_pretrained(model_name, dtype=torch.float16), None

    fast = SimpleNamespace(from_pretrained=from_pretrained)
    monkeypatch.setitem(sys.modules, "unsloth", SimpleNamespace(FastLanguageModel=fast, __spec__=None))
    monkeypatch.setattr(loading, "has_unsloth", lambda: True)
    monkeypatch.setattr(loading, "_has_cuda", lambda: True)
    policy = load_policy(ModelSpec(str(byte_model), engine="unsloth"))
    assert asked == [torch.bfloat16]
    assert (policy.dtype, policy.compute, policy.spec.dtype) == ("fp16", "fp16", "fp16")
    assert flags(tmp_path, policy) == (False, True)


def scale_losses(training: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What accelerate does for fp16 on a card, on this CPU; returns a list to which backward passes add themselves."""
    scaler, passes = torch.amp.GradScaler("cpu", init_scale=256.0), list[str]()
    training.accelerator.native_amp, training.accelerator.scaler = True, scaler
    scale, backward = scaler.scale, torch.Tensor.backward
    monkeypatch.setattr(scaler, "scale", lambda loss: passes.append("scaled") or scale(loss))
    monkeypatch.setattr(
        torch.Tensor, "backward", lambda *given, **named: passes.append("pass") or backward(*given, **named)
    )
    return passes


@pytest.mark.parametrize("task", ["sft", "grpo"])
def test_fp16_is_trained_with_scaled_losses(
    byte_model: Path, tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof passes, the adapter stays in fp32, and what it learns is what fp32 learns, within rounding."""
    script = lambda policy, *_: tiny.Script(policy.tokenizer, lambda row, turn: answer(row))  # noqa: E731
    monkeypatch.setattr(grpo_trainer, "make_sampler", script)
    learnt = {}
    for compute in ("fp32", "fp16"):
        recipe = tiny.make_recipe(
            task,
            byte_model,
            tmp_path / compute,
            model={"dtype": "nf4"},
            train={"steps": 2, "batch_size": 4, "micro_batch": 4, "learning_rate": 1e-3},
        )
        torch.manual_seed(0)
        spec = replace(model_spec(recipe), compute=compute)
        policy = load_policy(spec, lora=recipe.lora)
        run, said = Run.start(recipe), list[object]()
        training: Any = (
            sft.make_trainer(policy, tiny.gold(policy, recipe), recipe, run)
            if task == "sft"
            else grpo.make_trainer(policy, tiny.EXAMPLES[:2], tiny.OnePassage(), recipe, run, said.append)
        )
        assert (training.args.fp16, training.args.bf16) == (compute == "fp16", False)
        passes = scale_losses(training, monkeypatch) if compute == "fp16" else []
        fit(training, policy, recipe, run, ignore, resume=False)
        assert task == "sft" or any("Proved" in str(event) for event in said)
        assert passes.count("scaled") == passes.count("pass") == len(passes) / 2, "the proof's too"
        weights = {name: weight.detach() for name, weight in policy.model.named_parameters() if "lora_" in name}
        assert {weight.dtype for weight in weights.values()} == {torch.float32}
        learnt[compute] = torch.cat([weight.flatten() for name, weight in weights.items() if "lora_B" in name])
    assert learnt["fp32"].any()
    assert torch.cosine_similarity(learnt["fp32"], learnt["fp16"], dim=0) > 0.95


def answer(row: int) -> str:
    return f"<think>It is.</think><answer>{'Chad' if row % 2 else 'Oman'}</answer>"


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_four_bits_are_held_to_the_bounds_of_what_they_are_computed_in(
    byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compute: Any
) -> None:
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", model={"dtype": "nf4"}, train={"steps": 1})
    policy = load_policy(replace(model_spec(recipe), compute=compute), lora=recipe.lora)
    assert proof.bound_of(policy) == proof.BOUNDS["fp32" if compute == "fp32" else "nf4"]
    said: list[object] = []
    run = Run.start(recipe)
    training = grpo.make_trainer(policy, tiny.EXAMPLES[:2], tiny.OnePassage(), recipe, run, said.append)
    fit(training, policy, recipe, run, ignore, resume=False)
    assert any("Proved" in str(event) for event in said)
