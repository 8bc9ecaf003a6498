"""A recipe trains by unsloth as it trains by plain TRL: the same gradients, the same configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.unsloth import work

ROUNDING = 1e-5
"""Of a step's gradient in fp32, relative to its norm; 2e-6 at most was found."""
DIFFERENT = {
    "output_dir",
    "run_name",
    "loss_type",  # of SFT alone: unsloth cuts the logits in its own way
    "max_length",  # of SFT alone: longer trajectories are left out before
    "dataset_num_proc",  # of SFT alone: its data comes ready
    "eval_accumulation_steps",  # nothing is evaluated by the trainer
    "per_device_eval_batch_size",
    "generation_kwargs",  # the trainer generates nothing
    "router_aux_loss_coef",  # of mixtures of experts
}
"""What may differ between the configurations."""


def assert_near(gradients: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Each step's, as a whole."""
    assert gradients.keys() == expected.keys()
    for step in range(work.STEPS):
        names = [key for key in expected if key.startswith(f"{step}:")]
        ours, theirs = (torch.cat([one[key].flatten() for key in names]) for one in (gradients, expected))
        assert (ours - theirs).norm() < ROUNDING * theirs.norm()


@pytest.mark.parametrize("name", [*work.LOSSES, "sft"])
def test_gradients_and_configuration(name: str, plain: Path, byte_model: Path, tmp_path: Path) -> None:
    """Two updates by the same rollouts: the KL and the importance weights of the second are not trivial."""
    gradients, config = work.run(name, "unsloth", byte_model, tmp_path)
    expected = load_file(plain / f"{name}.safetensors")
    assert len(gradients) == work.STEPS * 28, "seven targets in two layers, two matrices each"
    assert_near(gradients, expected)
    their_config = json.loads((plain / f"{name}.json").read_text(encoding="utf-8"))
    differ = {key for key, value in their_config.items() if config.get(key) != value}
    assert differ <= DIFFERENT - (set() if name == "sft" else {"loss_type", "max_length", "dataset_num_proc"})


@pytest.mark.parametrize("kind", work.KINDS)
@pytest.mark.parametrize("name", ["dapo", "sft"])
def test_adapters_that_others_wrote(name: str, kind: str, plain: Path, byte_model: Path, tmp_path: Path) -> None:
    found, _ = work.run(name, "unsloth", byte_model, tmp_path, plain / kind)
    assert_near(found, load_file(plain / f"{name}-{kind}.safetensors"))


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["dapo", "sft"])
def test_fused_kernels_have_the_gradient_of_the_plain_adapter(
    name: str, dtype: str, card: Any, byte_model: Path, tmp_path: Path, plain: Path
) -> None:
    """Unsloth fuses the adapter's products where the base is in 16 bits, which round: only the direction counts."""
    recipe = work.recipe_of(name, "unsloth", byte_model, tmp_path / "run", model={"dtype": "bf16"})
    with card(bf16=dtype == "bf16"):
        policy = work.load(recipe)
        assert policy.dtype == dtype
        gradients = work.gradients(policy, work.make_trainer(policy, recipe))
    expected = load_file(plain / f"{name}.safetensors")
    names = [key for key in gradients if key.startswith("0:")]
    ours, theirs = (torch.cat([one[key].float().flatten() for key in names]) for one in (gradients, expected))
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.99
