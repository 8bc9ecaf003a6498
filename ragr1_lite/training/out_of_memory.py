"""What happens when a training's memory runs out: the same batch in smaller passes, from the last finished step."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import replace
from typing import Any

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import RunError, out_of_memory
from ragr1_lite.core.events import Notice, Report
from ragr1_lite.core.types import Example, Searcher
from ragr1_lite.models.loading import Policy
from ragr1_lite.training.account import Account
from ragr1_lite.training.held_out import Validation
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trackers import logging_into
from ragr1_lite.training.trainer import TrainResult, as_callback, fit, memory_hint


def fit_within_memory(
    build: Callable[[Recipe], Any],
    policy: Policy,
    recipe: Recipe,
    run: Run,
    report: Report,
    *,
    resume: bool,
    questions: Sequence[Example] = (),
    searcher: Searcher | None = None,
) -> TrainResult:
    """:func:`~ragr1_lite.training.trainer.fit`, metered, with ever smaller micro-batches while the memory runs out.

    Batches, steps and learning rates stay what they were: only more passes make a step. The run keeps the micro-batch
    that fits. ``build`` makes the trainer for a recipe, again after each failure. The ``questions``, if there are any,
    are measured on the way.

    Raises:
        RunError: Not even one trajectory a pass fits; the last state was written.
    """
    began = time.perf_counter()
    measured = [as_callback(Validation, questions, policy, searcher, recipe, run, report)] if questions else []
    recipe = _with_micro_batch(recipe, run.recall().get("micro_batch", recipe.train.micro_batch))
    prints: AbstractContextManager[Any] = redirect_stdout(sys.stderr) if policy.engine == "unsloth" else nullcontext()
    with prints, logging_into(run, recipe), as_callback(Account, run) as account:
        while True:
            trainer = build(recipe)
            try:
                result = fit(trainer, policy, recipe, run, report, resume=resume, callbacks=(*measured, account))
                closed: TrainResult = account.close(replace(result, seconds=time.perf_counter() - began))
                return closed
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # outside of the except, whose traceback holds the failed pass's tensors
            step, resume = trainer.state.global_step + 1, False
            trainer.accelerator.free_memory()
            del trainer
            _free(policy)
            recipe = _smaller(recipe, step, report)
            run.remember(micro_batch=recipe.train.micro_batch)


def _with_micro_batch(recipe: Recipe, micro_batch: int) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"micro_batch": micro_batch})})


def _smaller(recipe: Recipe, step: int, report: Report) -> Recipe:
    micro, batch = recipe.train.micro_batch, recipe.train.batch_size
    if micro == 1:
        raise RunError(f"The memory ran out in step {step}, with one trajectory a pass", memory_hint(recipe))
    half = max(size for size in range(1, micro // 2 + 1) if batch % size == 0)
    report(
        Notice(
            f"The memory ran out in step {step}: going on from step {step - 1} with train.micro_batch={half} instead "
            f"of {micro}; a batch stays {batch}. To begin with it next time: --set train.micro_batch={half}",
            "warning",
        )
    )
    return _with_micro_batch(recipe, half)


def _free(policy: Policy) -> None:
    import torch

    policy.model.zero_grad(set_to_none=True)
    gc.collect()
    if policy.device == "cuda":
        torch.cuda.empty_cache()
