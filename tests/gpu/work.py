"""What the tests of this folder run on the card, each in a process of its own, since unsloth changes TRL for all of it.

``python -m tests.gpu.work NAME`` reads the arguments as JSON and prints the figures as the last line.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from ragr1_lite.config import Recipe, load_recipe
from tests.support import tiny

STEPS, BATCH, GROUP, MICRO, TOKENS = 4, 32, 8, 4, 128
"""Of the comparison with plain TRL."""
QUESTION = "Which is larger, Chad or Oman?"
SEARCH = "<think>Search.</think><search>Chad, Oman</search>"
RIGHT = "<think>It is.</think><answer>Chad</answer>"
WRONG = "<think>No.</think><answer>Oman</answer>"


def sft(model: str, engine: str, output: str) -> dict[str, Any]:
    """Six steps by the shipped recipe on the embedded world."""
    from ragr1_lite.training import sft

    recipe = load_recipe("sft-qwen2.5-0.5b", _settings(model, engine, output, "train.steps=6"))
    sft.train(recipe)
    losses = [line["loss"] for line in tiny.metrics_of(recipe.output)]
    return {"losses": losses} | _means(recipe.output, "seconds", "memory_gb")


def grpo(model: str, engine: str, output: str, sampler: str) -> dict[str, Any]:
    """Three steps by the shipped recipe; a ``scripted`` sampler searches, so that there is text to mask."""
    from ragr1_lite.training.trainer import import_in_order

    few = ("train.steps=3", "train.batch_size=16", "train.micro_batch=4", "model.adapter=null")
    recipe = load_recipe("grpo-qwen2.5-0.5b", _settings(model, engine, output, *few))
    import_in_order(recipe)
    from ragr1_lite.core.events import Notice
    from ragr1_lite.training import grpo
    from ragr1_lite.training.grpo import trainer

    if sampler == "scripted":
        trainer.make_sampler = lambda policy, *_: tiny.Script(policy.tokenizer, _said)  # type: ignore[assignment]
    told: list[str] = []
    done = grpo.train(recipe, report=lambda event: told.append(event.text) if isinstance(event, Notice) else None)
    names = ("seconds", "rollout_seconds", "tokens_per_second", "memory_gb")
    proved = [text for text in told if text.startswith("Proved")]
    return {"steps": done.steps, "proved": proved} | _means(recipe.output, *names)


def plain_trl(model: str, output: str) -> dict[str, Any]:
    """TRL's own generation, by transformers' ``generate``, and its whole logits."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from ragr1_lite.models.loading import load_policy, model_spec
    from ragr1_lite.training.run_folder import Run
    from ragr1_lite.training.trainer import build_trainer, trainer_arguments

    recipe = _compared(model, "transformers", output)
    policy = load_policy(model_spec(recipe), lora=recipe.lora)
    run = Run.start(recipe)
    prompt = policy.tokenizer.hf.decode(policy.tokenizer.render_chat(recipe.rollout.protocol().render_prompt(QUESTION)))
    config = GRPOConfig(
        **trainer_arguments(recipe, run, policy),
        num_generations=GROUP,
        steps_per_generation=BATCH // MICRO,
        max_completion_length=TOKENS,
        generation_kwargs={"min_new_tokens": TOKENS},
        temperature=1.0,
        beta=0.0,
    )
    trainer = build_trainer(
        GRPOTrainer,
        policy,
        reward_funcs=_in_passing,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": prompt}] * (STEPS * BATCH // GROUP)),
    )
    return _timed(trainer) | {"sampled": TOKENS}


def ours(model: str, engine: str, output: str) -> dict[str, Any]:
    """This project's sampler and trainer on the same work; random weights end no row before its last token."""
    from ragr1_lite.training.trainer import import_in_order

    recipe = _compared(model, engine, output)
    import_in_order(recipe)
    from ragr1_lite.core.types import Example, Reward
    from ragr1_lite.models.loading import load_policy, model_spec
    from ragr1_lite.training import grpo
    from ragr1_lite.training.grpo import rollouts
    from ragr1_lite.training.run_folder import Run

    rollouts.score = lambda one, weights: Reward(_in_passing([one.token_ids])[0], {"em": 0.0})  # type: ignore[assignment]
    policy = load_policy(model_spec(recipe), lora=recipe.lora)
    examples = [Example(str(number), QUESTION, ("Chad",)) for number in range(recipe.groups_needed)]
    run = Run.start(recipe)
    trainer = grpo.make_trainer(policy, examples, tiny.OnePassage(), recipe, run)
    figures = _timed(trainer)
    return figures | {"sampled": statistics.fmean(one.sampled_tokens for one in trainer.rollout_func.trajectories)}


def _settings(model: str, engine: str, output: str, *more: str) -> list[str]:
    short = ("rollout.max_new_tokens=64", "rollout.max_length=1024", "rollout.engine=transformers")
    return [f"model.name={model}", f"model.engine={engine}", "model.dtype=nf4", *short, f"output={output}", *more]


def _compared(model: str, engine: str, output: str) -> Recipe:
    """One turn without a search, and as many tokens for every completion."""
    rollout = {"mode": "direct", "max_new_tokens": TOKENS, "max_length": 1024, "batch_size": BATCH}
    return Recipe.model_validate(
        {
            "task": "grpo",
            "output": output,
            "model": {"name": model, "dtype": "nf4", "engine": engine},
            "rollout": rollout | {"engine": "transformers"},
            "train": {"steps": STEPS, "batch_size": BATCH, "micro_batch": MICRO, "save_every": STEPS},
            "grpo": {"group_size": GROUP, "beta": 0.0},
            "guard": {"enabled": False},
        }
    )


def _said(row: int, turn: int) -> str:
    return SEARCH if row % 4 == 0 and turn == 0 else RIGHT if row % 2 else WRONG


def _in_passing(completion_ids: Any, **_: Any) -> list[float]:
    """A reward that costs nothing and differs within a group."""
    return [float(sum(ids) % 101) for ids in completion_ids]


def _timed(trainer: Any) -> dict[str, float]:
    """Trains; the first step, which warms up and is proved, does not count."""
    from transformers import TrainerCallback

    marks: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def mark(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            marks.append(time.perf_counter())

        on_step_begin = on_step_end = mark

    trainer.add_callback(Clock())
    torch.cuda.reset_peak_memory_stats()
    trainer.train()
    seconds = statistics.median(end - begin for begin, end in zip(marks[2::2], marks[3::2], strict=True))
    return {
        "seconds_per_step": seconds,
        "tokens_per_second": BATCH * TOKENS / seconds,
        "memory_gb": torch.cuda.max_memory_allocated() / 2**30,
    }


def _means(folder: Path, *names: str) -> dict[str, float]:
    """Means over a run's steps but the first, which warms up."""
    lines = tiny.metrics_of(folder)[1:]
    return {name: statistics.fmean(line[name] for line in lines) for name in names}


if __name__ == "__main__":
    work = {"sft": sft, "grpo": grpo, "plain_trl": plain_trl, "ours": ours}[sys.argv[1]]
    print("\n" + json.dumps(work(**json.load(sys.stdin))))
