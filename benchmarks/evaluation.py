"""Evaluating in batches against one question after the other: the same answers, in how much less time."""

from __future__ import annotations

import time
from typing import Any, cast

from benchmarks.hardware import machine
from benchmarks.interleave import interleave, process_clock
from ragr1_lite.core.events import Report, ignore


def evaluation(
    model: str | None = None, *, questions: int = 16, batch_size: int = 16, rounds: int = 3, report: Report = ignore
) -> dict[str, Any]:
    """Greedy answers to questions of the embedded world, both ways by turns in one process.

    Args:
        model: As in :class:`~ragr1_lite.assistant.Setup`.
        questions: How many are asked.
        batch_size: Questions side by side.
        rounds: How often each way is measured; the median counts.
        report: Receives notices and phases.

    Returns:
        ``{"machine", "model", "questions", "batch_size", "ratio", "seconds": {"batched", "one_by_one"},
        "equal_answers", "em"}``; seconds are wall time, on one thread of a CPU the processor's.

    Raises:
        RagR1Error: The model cannot be used.
    """
    import torch

    from ragr1_lite.assistant import Assistant, Setup
    from ragr1_lite.evaluation import Evaluation, Variant, evaluate_variants
    from ragr1_lite.models.sampler import TransformersSampler
    from ragr1_lite.world import questions as world

    assistant = Assistant.open(Setup(model=model, batch_size=batch_size), report=report)
    policy = cast("TransformersSampler", assistant.sampler).policy
    variant = Variant.of("batched", assistant)
    examples = [one.example for one in world("test", limit=questions)]
    made: dict[str, Evaluation] = {}

    def way(name: str, size: int) -> None:
        (made[name],) = evaluate_variants(examples, [variant], batch_size=size)

    threads = torch.get_num_threads()
    clock = process_clock() if policy.device == "cpu" and threads == 1 else time.perf_counter
    ways = {"batched": lambda: way("batched", batch_size), "one_by_one": lambda: way("one_by_one", 1)}
    seconds = interleave(ways, rounds, report, clock=clock, name="Measuring both ways")
    answers = {name: [one.answer for one in found.trajectories] for name, found in made.items()}
    return {
        "machine": machine("torch", "transformers", threads=threads),
        "model": f"{policy.spec.name} in {policy.dtype} on {policy.device}",
        "questions": len(examples),
        "batch_size": batch_size,
        "ratio": round(seconds["one_by_one"] / seconds["batched"], 2),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "equal_answers": answers["batched"] == answers["one_by_one"],
        "em": made["batched"].figures()["em"],
    }
