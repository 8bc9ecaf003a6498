"""SFT through TRL's trainer: what is trained, what is not, and what is reported about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import DataError, ModelError, RetrievalIndexError, RunError
from ragr1_lite.core.events import Notice, StepFinished, ignore
from ragr1_lite.core.types import Example, Trajectory, Turn
from ragr1_lite.data.trajectories import write_records
from ragr1_lite.models.loading import Policy
from ragr1_lite.training import sft
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import TrainResult, fit
from tests.support import tiny
from tests.support.adapters import save_adapter_files
from tests.support.rounding import GRADIENT, LOSS


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte")


def train(policy: Policy, recipe: Recipe, trajectories: Sequence[Trajectory], report: Any = ignore) -> TrainResult:
    run = Run.start(recipe)
    trainer = sft.make_trainer(policy, trajectories, recipe, run)
    return fit(trainer, policy, recipe, run, report, resume=False)


def batch_loss(policy: Policy, trajectories: Sequence[Trajectory]) -> torch.Tensor:
    """The plain definition: the mean over all of a batch's model tokens, however it is cut into micro-batches."""
    return -torch.cat([tiny.log_prob(policy, one) for one in trajectories]).mean()


# --- what is trained -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pad", ["own", "eos"])
@pytest.mark.parametrize("model", ["tiny_qwen2_folder", "tiny_qwen3_folder"])
def test_only_what_the_model_says_has_a_gradient(
    model: str, pad: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    recipe = tiny.make_recipe("sft", request.getfixturevalue(model), tmp_path / "run", train={"steps": 1})
    policy = tiny.load(recipe)
    if pad == "eos":
        policy.tokenizer.hf.pad_token = "<|im_end|>"
    trajectories = tiny.gold(policy, recipe)
    with tiny.final_gradients() as found:
        train(policy, recipe, trajectories)
    gradients = [gradient for micro_batch in found for _, gradient in micro_batch]
    order = sft.arrange(trajectories, recipe)
    assert len(gradients) == len(order) == 4
    assert any(segment.source == "env" for one in order for segment in one.segments)
    for one, gradient in zip(order, gradients, strict=True):
        model_tokens = [i for i, trained in enumerate(one.loss_mask) if trained]
        assert tiny.trained_positions(gradient) == model_tokens
        assert one.token_ids[model_tokens[-1]] == policy.tokenizer.eos_ids[0], "the end token is trained"


def test_loss_and_gradient_are_the_mean_over_model_tokens(byte_model: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe("sft", byte_model, tmp_path / "run", train={"steps": 1, "max_grad_norm": 1e6})
    policy = tiny.load(recipe)
    trajectories = tiny.gold(policy, recipe)
    loss = batch_loss(policy, trajectories)
    weights = [weight for weight in policy.model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(loss, weights)
    train(policy, recipe, trajectories)
    (line,) = tiny.metrics_of(recipe.output)
    assert line["loss"] == pytest.approx(loss.item(), rel=LOSS)
    assert line["grad_norm"] == pytest.approx(
        float(torch.cat([one.flatten() for one in gradients]).norm()), rel=GRADIENT
    )


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "nf4"])
def test_loss_falls_and_only_the_adapter_moves(byte_model: Path, tmp_path: Path, dtype: str) -> None:
    recipe = tiny.make_recipe(
        "sft", byte_model, tmp_path / "run", model={"dtype": dtype}, train={"steps": 12, "learning_rate": 0.02}
    )
    policy = tiny.load(recipe)
    frozen = tiny.frozen_hash(policy)
    before = {name: weight.clone() for name, weight in policy.model.named_parameters() if weight.requires_grad}
    train(policy, recipe, tiny.gold(policy, recipe))
    losses = [line["loss"] for line in tiny.metrics_of(recipe.output)]
    assert losses[-1] < 0.7 * losses[0]
    assert tiny.frozen_hash(policy) == frozen
    after = {name: weight for name, weight in policy.model.named_parameters() if weight.requires_grad}
    assert after.keys() == before.keys()
    assert all("lora_" in name and not torch.equal(after[name], before[name]) for name in after)
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    assert {weight.dtype for weight in tiny.adapter_of(recipe.output / "adapter").values()} == {torch.float32}


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant_with_warmup"])
def test_no_step_has_a_learning_rate_of_0(byte_model: Path, tmp_path: Path, schedule: str) -> None:
    """The warm-up rises evenly to the full rate; from there on transformers' schedule is kept."""
    rates = {"steps": 6, "warmup_steps": 2, "learning_rate": 0.03, "schedule": schedule}
    recipe = tiny.make_recipe("sft", byte_model, tmp_path / "run", train=rates)
    policy = tiny.load(recipe)
    train(policy, recipe, tiny.gold(policy, recipe))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.03)
    theirs: Any = get_scheduler(schedule, optimizer, num_warmup_steps=2, num_training_steps=6)
    expected = [0.01, 0.02, *(0.03 * theirs.lr_lambdas[0](done) for done in range(2, 6))]
    assert [line["lr"] for line in tiny.metrics_of(recipe.output)] == pytest.approx(expected)


def test_quantized_models_learn_from_small_steps(byte_model: Path, tmp_path: Path) -> None:
    """In bf16, as TRL would have it, steps of 1e-5 vanish in weights of 0.1."""
    recipe = tiny.make_recipe(
        "sft", byte_model, tmp_path / "run", model={"dtype": "nf4"}, train={"steps": 2, "learning_rate": 1e-5}
    )
    policy = tiny.load(recipe)
    (name, weight), *_ = [(n, w) for n, w in policy.model.named_parameters() if "lora_A" in n and "layers.1" in n]
    before = weight.detach().clone()
    train(policy, recipe, tiny.gold(policy, recipe))
    moved = (weight != before).float().mean().item()
    assert moved > 0.9, f"{moved:.0%} of {name} moved"


@pytest.mark.parametrize("dtype", ["fp32", "nf4"])
def test_gradient_checkpointing_changes_no_gradient(
    byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """As on a GPU: layers run again in the backward pass, and LoRA gets gradients though its inputs are frozen."""
    arguments = sft.trainer_arguments
    lines, forwards = [], []
    for on in (False, True):
        monkeypatch.setattr(
            sft, "trainer_arguments", lambda *args, on=on: arguments(*args) | {"gradient_checkpointing": on}
        )
        recipe = tiny.make_recipe(
            "sft", byte_model, tmp_path / str(on), model={"dtype": dtype}, train={"learning_rate": 0.01}
        )
        policy = tiny.load(recipe)
        model: Any = policy.model
        calls: list[int] = []
        model.get_base_model().model.layers[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        before = {name: weight.detach().clone() for name, weight in model.named_parameters() if "lora_" in name}
        train(policy, recipe, tiny.gold(policy, recipe))
        assert all(not torch.equal(weight, before[name]) for name, weight in model.named_parameters() if name in before)
        lines.append([line[name] for line in tiny.metrics_of(recipe.output) for name in ("loss", "grad_norm")])
        forwards.append(len(calls))
    assert forwards == [4, 8]
    assert lines[0] == pytest.approx(lines[1], rel=GRADIENT if policy.compute == "fp32" else 2**-7)


# --- order ---------------------------------------------------------------------------------------------------------


def test_batches_are_sorted_by_length_and_cover_the_epoch(byte_model: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe("sft", byte_model, tmp_path / "run", train={"steps": 4, "batch_size": 4})
    trajectories = tiny.gold(tiny.load(recipe), recipe, count=8)
    order = sft.arrange(trajectories, recipe)
    assert len(order) == 16
    for start in range(0, 16, 4):
        lengths = [len(one.token_ids) for one in order[start : start + 4]]
        assert lengths == sorted(lengths)
    assert sorted(one.example.id for one in order[:8]) == sorted(one.example.id for one in trajectories)


def test_features_are_as_long_as_the_trajectory(byte_model: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe("sft", byte_model, tmp_path / "run")
    for one in tiny.gold(tiny.load(recipe), recipe):
        features = sft.to_features(one)
        assert features["input_ids"] == list(one.token_ids)
        kept = [label for label in features["labels"] if label != sft.IGNORED]
        assert kept == [t for segment in one.segments if segment.source == "model" for t in segment.token_ids]


# --- what is reported -----------------------------------------------------------------------------------------------


def test_one_line_a_step_and_nothing_printed(
    byte_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = file_recipe(byte_model, tmp_path, train={"steps": 3, "save_every": 2})
    events: list[object] = []
    result = sft.train(recipe, report=events.append)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    lines = tiny.metrics_of(recipe.output)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(
        {"loss", "grad_norm", "lr", "tokens_per_second", "memory_gb", "seconds"} <= line.keys() for line in lines
    )
    assert 0.1 < lines[0]["memory_gb"] < 64
    steps = [event for event in events if isinstance(event, StepFinished)]
    assert [(event.step, event.total) for event in steps] == [(1, 3), (2, 3), (3, 3)]
    assert [event.metrics | {"step": event.step} for event in steps] == lines
    reported = " ".join(event.text for event in events if isinstance(event, Notice))
    assert "4 trajectories" in reported
    (tokens,) = re.findall(r"(\d+) tokens", reported)  # all of them are in every batch
    for line in lines:
        assert line["tokens_per_second"] * line["seconds"] == pytest.approx(int(tokens), rel=0.05)
    assert "(1) 2, (2) 2, (3) 2, (4) 0" in reported
    assert (result.steps, result.adapter) == (3, recipe.output / "adapter")


def test_no_telemetry(byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import _telemetry

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    while not _telemetry._TELEMETRY_QUEUE.empty():
        _telemetry._TELEMETRY_QUEUE.get()
    monkeypatch.setattr(_telemetry, "_start_telemetry_thread", lambda: None)
    recipe = tiny.make_recipe("sft", byte_model, tmp_path / "run")
    policy = tiny.load(recipe)
    sft.make_trainer(policy, tiny.gold(policy, recipe), recipe, Run.start(recipe))
    assert _telemetry._TELEMETRY_QUEUE.empty()


# --- what can be wrong ---------------------------------------------------------------------------------------------


def file_recipe(model: Path, folder: Path, /, **sections: dict[str, Any]) -> Recipe:
    """A recipe whose trajectories come from a file, as a user's do."""
    recipe = tiny.make_recipe("sft", model, folder / "run")
    file = folder / "trajectories.jsonl"
    write_records(file, tiny.gold(tiny.load(recipe), recipe))
    return tiny.make_recipe("sft", model, folder / "run", data={"train": str(file)}, **sections)


def test_no_trajectory_fits(byte_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to train on.*max_length"):
        sft.train(file_recipe(byte_model, tmp_path, rollout={"max_length": 64}))


def test_folder_holds_another_run(byte_model: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe("sft", byte_model, tmp_path / "run")
    Run.start(recipe).log(1, {"loss": 1.0})
    with pytest.raises(RunError, match="already.*--resume.*--overwrite"):
        sft.train(recipe)


def test_resume_with_another_recipe(byte_model: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe("sft", byte_model, tmp_path / "run")
    Run.start(recipe)
    other = tiny.make_recipe("sft", byte_model, tmp_path / "run", train={"learning_rate": 0.5})
    with pytest.raises(RunError, match="another recipe"):
        sft.train(other, resume=True)


def test_adapter_of_another_base(byte_model: Path, tmp_path: Path) -> None:
    adapter = save_adapter_files(tmp_path / "adapter", base_model_name_or_path="Qwen/Qwen2.5-7B")
    recipe = tiny.make_recipe("sft", byte_model, tmp_path / "run", model={"adapter": str(adapter)})
    with pytest.raises(ModelError, match="made for Qwen/Qwen2.5-7B"):
        sft.train(recipe)


def test_checkpoint_serves_as_an_adapter(byte_model: Path, tmp_path: Path) -> None:
    from ragr1_lite.models.loading import ModelSpec, load_policy

    recipe = file_recipe(byte_model, tmp_path, train={"steps": 2, "save_every": 1})
    sft.train(recipe)
    checkpoint = recipe.output / "checkpoints" / "checkpoint-2"
    policy = load_policy(ModelSpec(str(byte_model), "fp32", adapter=str(checkpoint)))
    ids = torch.tensor([policy.tokenizer.encode("Chad")])
    model: Any = policy.model
    assert model(input_ids=ids).logits.shape[1] == 4
    assert tiny.same_adapter(checkpoint, recipe.output / "adapter")


@pytest.mark.parametrize("needed_by", ["data", "held-out questions"])
def test_an_index_that_is_needed_and_missing_is_said_before_the_model_is_loaded(
    needed_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sft, "load_trainable", lambda *_: pytest.fail("a model was loaded"))
    fields: dict[str, Any] = {"retrieval": {"index": str(tmp_path / "none")}, "output": tmp_path / "run"}
    if needed_by != "data":
        record = Trajectory(Example("1", "Which?", ("Chad",)), (), (Turn("answer", "So.", answer="Chad"),), "answer")
        write_records(tmp_path / "gold.jsonl", [record])
        fields |= {"data": {"train": str(tmp_path / "gold.jsonl")}, "eval": {"questions": 2, "every": 1}}
    with pytest.raises(RetrievalIndexError, match="There is no index"):
        sft.train(Recipe.model_validate({"task": "sft", **fields}))
    assert not (tmp_path / "run").exists()
