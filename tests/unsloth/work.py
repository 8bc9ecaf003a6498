"""One training by each loss, whatever the engine: its gradients and TRL's configuration, written into a folder.

``python -m tests.unsloth.work transformers MODEL FOLDER`` is what unsloth is compared with, in a process of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import save_file

from ragr1_lite.config import GrpoConfig
from ragr1_lite.models.loading import Policy
from tests.support import tiny

LOSSES: tuple[str, ...] = get_args(GrpoConfig.model_fields["loss_type"].annotation)
KINDS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "output-layer": {"modules_to_save": ["lm_head"]},
    "embeddings": {"modules_to_save": ["embed_tokens"]},
}
"""Adapters that others wrote."""
STEPS = 2
"""The second is an update by the first one's rollouts: importance weights and the KL are no longer trivial."""


def recipe_of(name: str, engine: str, folder: Path, output: Path, /, **sections: dict[str, Any]) -> Any:
    """``name`` is a loss of GRPO, or ``sft``."""
    train = {"steps": STEPS, "learning_rate": 1e-3, "max_grad_norm": 1e6} | sections.pop("train", {})
    grpo = {"loss_type": name, "group_size": 4, "beta": 0.05, "iterations": STEPS} if name != "sft" else {}
    task = "sft" if name == "sft" else "grpo"
    chosen = {"engine": engine} | sections.pop("model", {})
    return tiny.make_recipe(task, folder, output, model=chosen, train=train, grpo=grpo, **sections)


def load(recipe: Any) -> Policy:
    """The policy, with the same adapter whatever the engine; no weight of a fresh one is zero."""
    policy = tiny.load(recipe)
    if recipe.model.adapter:
        return policy
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, weight in sorted(policy.model.named_parameters()):
            if weight.requires_grad:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return policy


def said(row: int, turn: int) -> str:
    """Rows of different lengths and rewards: with a search, right at once, wrong at once, cut off."""
    if row % 4 == 0 and turn == 0:
        return "<think>Search.</think><search>Chad, Oman</search>"
    right = "<think>It is.</think><answer>Chad</answer>"
    return [right, right.replace("It", "so " * row), right.replace("Chad", "Oman"), "<think>hm"][row % 4]


def make_trainer(policy: Policy, recipe: Any) -> Any:
    """The trainer of a recipe, its rollouts scripted and unproved."""
    from ragr1_lite.training import grpo, sft
    from ragr1_lite.training.grpo import trainer
    from ragr1_lite.training.run_folder import Run

    run = Run.start(recipe)
    if recipe.task == "sft":
        return sft.make_trainer(policy, tiny.gold(policy, recipe), recipe, run)
    kept = trainer.make_sampler, trainer.prove_first
    trainer.make_sampler = lambda policy, *_: tiny.Script(policy.tokenizer, said)  # type: ignore[assignment]
    trainer.prove_first = lambda *_: None  # its passes have gradients of their own
    try:
        return grpo.make_trainer(policy, tiny.EXAMPLES[:1], tiny.OnePassage(), recipe, run)
    finally:
        trainer.make_sampler, trainer.prove_first = kept


def gradients(policy: Policy, trainer: Any) -> dict[str, torch.Tensor]:
    """Of each step, before the optimizer uses them, by the names of step and weight."""
    from transformers import TrainerCallback

    found: dict[str, torch.Tensor] = {}

    class Keep(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            for name, weight in policy.model.named_parameters():
                if weight.requires_grad and weight.grad is not None:
                    found[f"{state.global_step}:{name}"] = weight.grad.clone()

    trainer.add_callback(Keep())
    trainer.train()
    return found


def run(
    name: str, engine: str, model: Path, folder: Path, adapter: Path | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Gradients and configuration of one training, from an adapter where one is given."""
    output = folder / f"run-{engine}-{name}-{adapter.name if adapter else 'fresh'}"
    recipe = recipe_of(name, engine, model, output, model={"adapter": adapter and str(adapter)})
    policy = load(recipe)
    trainer = make_trainer(policy, recipe)
    return gradients(policy, trainer), json.loads(json.dumps(trainer.args.to_dict(), default=str))


def main(engine: str, model: Path, folder: Path) -> None:
    """Runs all and writes what was found, and the adapters that it began with."""
    for name in (*LOSSES, "sft"):
        weights, config = run(name, engine, model, folder)
        save_file(weights, folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
    for kind, options in KINDS.items():
        adapter = tiny.save_foreign_adapter(model, folder / kind, **options)
        for name in ("dapo", "sft"):
            save_file(run(name, engine, model, folder, adapter)[0], folder / f"{name}-{kind}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
