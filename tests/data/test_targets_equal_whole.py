"""A masked whole trajectory against one sample per turn: equal loss, equal gradients. And what TRL makes of samples."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.segments import segments
from ragr1_lite.cli.main import app
from ragr1_lite.config import LoraConfig
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import GoldPlan, Segment, Step, Trajectory
from ragr1_lite.data.gold import gold_trajectories
from ragr1_lite.data.sets import replay
from ragr1_lite.data.targets import Form, Sample, count, samples, segment
from ragr1_lite.data.trajectories import read_records, write_records
from ragr1_lite.models.adapter_folder import shipped_adapter
from ragr1_lite.models.loading import ModelSpec, Policy, load_policy
from tests.support import tiny
from tests.support.rounding import GRADIENT, LOSS

SHARED = Path(os.environ.get("RAGR1_LITE_SHARED", Path(__file__).parents[3] / "shared")) / "data"

Found = tuple[float, dict[str, torch.Tensor]]


def trained(policy: Policy, sequences: Sequence[Trajectory | Sample]) -> Found:
    """The sum of the token losses, and its gradient at every weight of the adapter."""
    policy.model.zero_grad()
    total = 0.0
    for one in sequences:
        loss = -tiny.log_prob(policy, one).sum()  # type: ignore[arg-type]
        loss.backward()
        total += loss.item()
    weights = {name: weight for name, weight in policy.model.named_parameters() if weight.requires_grad}
    return total, {name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None}


def differences(ours: Found, theirs: Found) -> tuple[float, float]:
    """How far the losses are apart, and the worst gradient, relative to their sizes."""
    assert ours[1].keys() == theirs[1].keys() and ours[1]
    gradients = [float((ours[1][name] - theirs[1][name]).norm() / theirs[1][name].norm()) for name in ours[1]]
    return abs(ours[0] / theirs[0] - 1), max(gradients)


def with_one_more_target(trajectory: Trajectory) -> Trajectory:
    """The trajectory with the first retrieved token trained."""
    at = next(i for i, one in enumerate(trajectory.segments) if one.source == "env")
    first, *rest = trajectory.segments[at].token_ids
    cut = (Segment("model", (first,)), Segment("env", tuple(rest)))
    return replace(trajectory, segments=trajectory.segments[:at] + cut + trajectory.segments[at + 1 :])


@pytest.fixture(scope="module")
def tiny_policy(tiny_qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """The tiny Qwen2 with an adapter that is not at its beginning, where half of the gradients are 0."""
    torch.manual_seed(0)
    policy = load_policy(ModelSpec(str(tiny_qwen2_folder), "fp32"), lora=LoraConfig(r=4, alpha=8))
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    return policy


@pytest.fixture(scope="module")
def smollm2_policy(smollm2: Policy) -> Policy:
    """SmolLM2 with the shipped adapter, to be trained on."""
    return load_policy(
        ModelSpec("smollm2-135m", "fp32", adapter=str(shipped_adapter("smollm2-135m"))), lora=LoraConfig()
    )


def two_rounds(policy: Policy) -> list[Trajectory]:
    plan = GoldPlan((Step("First.", ("Chad", "Oman")), Step("Then.", ("Emi Koussi",))), "So.", "3,415 m")
    return gold_trajectories(
        tiny.EXAMPLES[:1],
        [plan],
        policy.tokenizer,
        tiny.OnePassage(),
        protocol=Protocol("multi"),
        limits=Limits(max_new_tokens=32),
    )


def of_the_world(policy: Policy) -> list[Trajectory]:
    """A question that takes two searches, with what the index finds."""
    from ragr1_lite.retrieval import open_searcher
    from ragr1_lite.world import questions

    drawn = questions("train", seed=1, limit=1, kinds=["bridge"])
    return gold_trajectories(
        [one.example for one in drawn],
        [one.plan("multi") for one in drawn],
        policy.tokenizer,
        open_searcher("world"),
        protocol=Protocol("multi"),
        limits=Limits(k=1, max_new_tokens=200),
    )


# --- loss and gradients --------------------------------------------------------------------------------------------


def test_tiny_model_learns_the_same_from_whole_and_separate(tiny_policy: Policy) -> None:
    whole = two_rounds(tiny_policy)
    separate = [sample for one in whole for sample in samples(one)]
    assert [sample.category for sample in separate] == [2, 4, 3]
    ours, theirs = trained(tiny_policy, whole), trained(tiny_policy, separate)
    loss, gradient = differences(ours, theirs)
    assert loss < LOSS and gradient < GRADIENT
    loss, gradient = differences(trained(tiny_policy, [with_one_more_target(whole[0])]), theirs)
    assert loss > 1e-3 and gradient > 1e-2, "one token more would show"


def test_smollm2_learns_the_same_from_whole_and_separate(smollm2_policy: Policy) -> None:
    whole = of_the_world(smollm2_policy)
    separate = [sample for one in whole for sample in samples(one)]
    assert [sample.category for sample in separate] == [2, 4, 3]
    loss, gradient = differences(trained(smollm2_policy, whole), trained(smollm2_policy, separate))
    assert loss < LOSS and gradient < GRADIENT
    assert count(separate)["ratio"] < 0.8


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "2wiki_train.jsonl.gz").is_file(), reason="needs shared data")
@pytest.mark.parametrize("name", ["2wiki_train", "musique_train"])
def test_smollm2_learns_the_same_from_real_trajectories(smollm2_policy: Policy, name: str, tmp_path: Path) -> None:
    index, out = tmp_path / "index", tmp_path / "gold.jsonl"
    for command in (
        ["index", "build", SHARED / f"corpus_{name}.jsonl.gz", "--out", index],
        ["data", "generate", SHARED / f"{name}.jsonl.gz", "--index", index, "--limit", "100", "--out", out],
    ):
        done = CliRunner().invoke(app, [str(argument) for argument in command])
        assert done.exit_code == 0, done.output
    replayed = [
        one
        for record in read_records(out)
        for one in replay(record, smollm2_policy.tokenizer, Protocol("multi"), Limits(k=1, max_rounds=9))
    ]
    shortest = min((one for one in replayed if one.rounds > 1), key=lambda one: len(one.token_ids))
    loss, gradient = differences(trained(smollm2_policy, [shortest]), trained(smollm2_policy, samples(shortest)))
    assert loss < LOSS and gradient < GRADIENT


# --- TRL -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte")


def prepared_by_trl(byte_model: Path, rows: list[dict[str, Any]], output: Path) -> list[dict[str, list[int]]]:
    """What TRL would train on."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    policy = load_policy(ModelSpec(str(byte_model), "fp32"), lora=LoraConfig(r=2))
    arguments = SFTConfig(output_dir=str(output), report_to="none", use_cpu=True, bf16=False, max_length=None)
    trainer = SFTTrainer(
        model=policy.model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=policy.tokenizer.hf
    )
    return list(trainer.train_dataset)


def test_the_benchmark_measures_both_ways(byte_model: Path, tmp_path: Path) -> None:
    policy = load_policy(ModelSpec(str(byte_model), "fp32"))
    write_records(tmp_path / "in.jsonl", two_rounds(policy))
    result = segments(tmp_path / "in.jsonl", str(byte_model))
    assert (result["trajectories"], result["samples"]) == (1, 3)
    assert result["loss_difference"] < LOSS and result["gradient_difference"] < GRADIENT
    assert result["ratio"] == round(result["tokens_whole"] / result["tokens_separate"], 4) < 1
    json.dumps(result)


@pytest.mark.parametrize("form", ["messages", "text"])
def test_trl_trains_the_targets_of_our_samples(
    byte_model: Path, tmp_path: Path, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    policy = load_policy(ModelSpec(str(byte_model), "fp32"))
    whole = two_rounds(policy)
    write_records(tmp_path / "in.jsonl", whole)
    segment(tmp_path / "in.jsonl", model=str(byte_model), out=tmp_path / "out.jsonl", form=form)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    prepared = prepared_by_trl(byte_model, rows, tmp_path / "run")
    ours = samples(whole[0])
    end = policy.tokenizer.eos_ids[0]
    for row, sample in zip(prepared, ours, strict=True):
        labels = [label for label in row["labels"] if label != -100]
        target = [token for token in sample.segments[-1].token_ids if token != end]
        assert list(takewhile(lambda token: token != end, labels)) == target
        if form == "text":
            before = sample.token_ids[: len(sample.token_ids) - len(sample.segments[-1].token_ids)]
            assert row["input_ids"] == [*before, *target, end]
