"""SFT and GRPO on an NVIDIA card: they run, they prove themselves, and how fast they are.

From the top of a checkout, with the requirements of the tests installed, and unsloth where its engine shall be tested::

    pip install -e '.[gpu,test]'
    python -m pytest tests/gpu -m gpu -s                              # everything
    python -m pytest tests/gpu/test_training.py -m gpu -s             # steps of SFT and GRPO, and plain TRL beside them
    python -m pytest tests/gpu/test_plan.py -m gpu -s -k 0.5b         # memory, planned and measured
    RAGR1_LITE_GPU_MODEL=Qwen/Qwen2.5-0.5B-Instruct python -m pytest tests/gpu/test_training.py -m gpu -s

Each test prints its figures as a line of JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")]

Apart = Callable[..., dict[str, Any]]
Tell = Callable[..., None]


def test_sft(apart: Apart, tell: Tell, model: str, engine: str, tmp_path: Path) -> None:
    found = apart("sft", model=model, engine=engine, output=str(tmp_path / "run"))
    tell(model=Path(model).name, engine=engine, **found)
    assert found["losses"][-1] < found["losses"][0]


@pytest.mark.parametrize("sampler", ["real", "scripted"])
def test_grpo(apart: Apart, tell: Tell, model: str, engine: str, sampler: str, tmp_path: Path) -> None:
    """The real sampler's log-probabilities are compared, and a scripted one searches: there is text to mask."""
    found = apart("grpo", model=model, engine=engine, output=str(tmp_path / "run"), sampler=sampler)
    tell(model=Path(model).name, engine=engine, sampler=sampler, **found)
    assert found["steps"] == 3
    (proved,) = found["proved"]
    assert ("of the environment none" if sampler == "scripted" else "sampler and trainer differ by") in proved


def test_against_plain_trl(
    apart: Apart, tell: Tell, shaped: Callable[[str], Path], engine: str, tmp_path: Path
) -> None:
    """A step of GRPO on the same work: 4 bits, LoRA of rank 16, 4 prompts of 8 completions, 128 tokens each, one turn.

    TRL generates by transformers' ``generate`` and computes whole logits. The weights are random, so that no completion
    ends early. Nothing is asserted of the speed: it is to be read.
    """
    model = str(shaped("0.5b"))
    plain = apart("plain_trl", model=model, output=str(tmp_path / "plain"))
    ours = apart("ours", model=model, engine=engine, output=str(tmp_path / "ours"))
    ratio = round(plain["seconds_per_step"] / ours["seconds_per_step"], 2)
    tell(model="qwen2.5-0.5b", engine=engine, ratio=ratio, ours=ours, plain_trl=plain)
    assert ours["sampled"] > 0.98 * plain["sampled"], "the same work"
