"""Training goes on from adapters that peft wrote elsewhere: SFT, GRPO with its proof, and both resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice, StepFinished
from ragr1_lite.core.types import Reward, Trajectory
from ragr1_lite.data.trajectories import write_records
from ragr1_lite.training import grpo, sft
from ragr1_lite.training.grpo import rollouts, trainer
from tests.support import tiny

KINDS: dict[str, dict[str, Any]] = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "output-layer": {"modules_to_save": ["lm_head"]},
    "lora-of-output-layer": {"target_modules": ["q_proj", "lm_head"]},
    "lora-of-embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "tokens": {"trainable_token_indices": {"embed_tokens": [65, 66, 67]}},
}
pytestmark = pytest.mark.filterwarnings("ignore:Model (with|has) `tie_word_embeddings:UserWarning")


class Crash(Exception):
    """What stops a run in these tests."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, trajectories, and an adapter of each kind."""
    folder = tmp_path_factory.mktemp("foreign")
    tiny.save_byte_model(folder / "model")
    recipe = tiny.make_recipe("sft", folder / "model", folder / "none")
    write_records(folder / "trajectories.jsonl", tiny.gold(tiny.load(recipe), recipe, count=8))
    for kind, options in KINDS.items():
        tiny.save_foreign_adapter(folder / "model", folder / kind, **options)
    return folder


def recipe_of(task: str, kind: str, folder: Path, output: Path, dtype: str) -> Recipe:
    return tiny.make_recipe(
        task,
        folder / "model",
        output,
        model={"adapter": str(folder / kind), "dtype": dtype},
        data={"train": str(folder / "trajectories.jsonl"), "limit": 3},
        train={"steps": 3, "batch_size": 4, "learning_rate": 0.01, "save_every": 1},
        grpo={"group_size": 2, "beta": 0.05},
    )


def by_parity(trajectory: Trajectory, weights: object) -> Reward:
    """A reward that random models earn, too."""
    total = float(sum(trajectory.token_ids) % 5)
    return Reward(total, {"em": total})


@pytest.mark.parametrize(
    ("task", "kind", "dtype"),
    [
        ("sft", "dora", "fp32"),
        ("sft", "output-layer", "bf16"),
        ("grpo", "dora", "fp32"),
        pytest.param("grpo", "rslora", "nf4", marks=pytest.mark.slow),
        ("grpo", "output-layer", "bf16"),
    ],
)
def test_it_goes_on_and_is_resumed(
    task: str, kind: str, dtype: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts, "score", by_parity)
    monkeypatch.setattr(trainer, "open_searcher", lambda index, report: tiny.OnePassage())
    train: Any = sft.train if task == "sft" else grpo.train
    said: list[Any] = []
    whole = train(recipe_of(task, kind, folder, tmp_path / "whole", dtype), report=said.append)
    texts = [event.text for event in said if isinstance(event, Notice)]
    assert sum("goes on with its own lora.targets q_proj, v_proj, not down_proj" in text for text in texts) == 1
    assert task == "sft" or any("Proved before the first step" in text for text in texts)
    start, end = tiny.adapter_of(folder / kind), tiny.adapter_of(whole.adapter)
    assert start.keys() == end.keys() and not any(torch.equal(start[name], end[name]) for name in start)

    def crash(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == 2:
            raise Crash

    recipe = recipe_of(task, kind, folder, tmp_path / "stopped", dtype)
    with pytest.raises(Crash):
        train(recipe, report=crash)
    torch.seed()
    resumed = train(recipe, resume=True)
    assert tiny.same_adapter(resumed.adapter, whole.adapter)


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("tokens", "model.embed_tokens, lm_head"),
        ("lora-of-output-layer", "lm_head"),
        ("lora-of-embeddings", "model.embed_tokens"),
    ],
)
def test_what_the_losses_would_leave_out_is_refused(kind: str, layer: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"An adapter of {layer} cannot be trained.*can only be asked"):
        sft.train(recipe_of("sft", kind, folder, tmp_path / "run", "fp32"))
    fresh = tiny.make_recipe("sft", folder / "model", tmp_path / "fresh", lora={"targets": "q_proj, lm_head"})
    with pytest.raises(ModelError, match="An adapter of lm_head cannot be trained.*Leave it out of lora.targets"):
        tiny.load(fresh)
