"""Memory as planned and as measured on an NVIDIA card: ``python -m pytest tests/gpu/test_plan.py -m gpu -s``.

The shapes of Qwen2.5 with random weights in 4 bits, by the shipped recipes; what does not fit the card is skipped, and
``-k "0.5b and grpo"`` chooses. Two steps of each are trained in a process of their own, as ``ragr1-lite plan --probe``
does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")]


@pytest.mark.parametrize("task", ["sft", "grpo"])
@pytest.mark.parametrize("size", ["0.5b", "1.5b", "3b", "7b"])
def test_planned_within_a_tenth(
    shaped: Callable[[str], Path], tell: Callable[..., None], engine: str, size: str, task: str, tmp_path: Path
) -> None:
    from ragr1_lite.config import load_recipe
    from ragr1_lite.training import planning

    changes = ["model.adapter=null", "model.dtype=nf4", f"model.engine={engine}", "rollout.engine=transformers"]
    recipe = load_recipe(f"{task}-qwen2.5-{size}", [*changes, f"model.name={shaped(size)}", f"output={tmp_path}"])
    planned = planning.plan(recipe)
    if planned.fits is False:
        pytest.skip(f"{planned.peak_gb:.1f} GB are planned, and the card has {planned.gpu_gb:.1f}")
    found = planning.corrected(recipe, planning.probe(recipe))
    assert found.probe is not None
    figures = {name: round(value, 3) for name, value in found.probe.items()}
    tell(model=f"qwen2.5-{size}", task=task, engine=engine, length=found.length, **figures)
    assert found.probe["ratio"] == pytest.approx(1, abs=0.1)
