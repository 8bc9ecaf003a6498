"""The probe's two steps really run, and what they take is what was predicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragr1_lite.config import load_recipe
from ragr1_lite.models.loading import Policy
from ragr1_lite.training.planning import corrected, probe
from tests.support import tiny


def test_a_small_case_takes_what_was_predicted(smollm2: Policy) -> None:
    recipe = load_recipe("sft-smollm2-135m", ["model.dtype=fp32", "train.micro_batch=1", "train.batch_size=2"])
    steps = probe(recipe, 384)
    found = corrected(recipe, steps, length=384)
    assert found.probe is not None
    assert 0.9 < found.probe["ratio"] < 1.1
    assert found.peak_gb == pytest.approx(found.probe["peak_gb"])
    activations = found.parts["activations"]
    assert activations > 0.2 * found.peak_gb  # or the test would be one of the runtime alone


def test_grpo_samples_and_trains(tmp_path: Path) -> None:
    folder = tiny.save_byte_model(tmp_path / "tiny-byte")
    recipe = tiny.make_recipe("grpo", folder, tmp_path / "run", rollout={"batch_size": 3})
    steps = probe(recipe, 256)
    assert (steps.device, steps.dtype, steps.trained) == ("cpu", "fp32", 4)
    assert 3 <= steps.sampled <= 3 * 8
    assert 0 < steps.sampling <= steps.peak
    assert steps.train_seconds > 0
    found = corrected(recipe, steps, length=256).probe or {}
    # The runtime is nearly all of it, so that a ratio would say little; constants meant for real models weigh most.
    assert abs(found["predicted_gb"] - found["peak_gb"]) < 0.2
