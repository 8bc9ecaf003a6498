"""Prefill and decoding, as rollouts do them, against what this machine can do at most."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from benchmarks.hardware import machine
from benchmarks.interleave import process_clock, take_turns, timed
from benchmarks.limit import Costs, Tokens, distinct, limit, probes
from ragr1_lite.config import load_recipe
from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import SampleRequest, Tokenizer
from ragr1_lite.data.sets import training_trajectories

ROWS = (1, 8, 32)
PREFILLED = 8
"""Rows of the prefill, of different questions."""
QUESTIONS = 4
"""Of the rows that are decoded: more differ in nothing that costs time."""
STEPS = 24


def phases(
    model: str | None = None,
    *,
    rows: Sequence[int] = ROWS,
    context: int = 300,
    rounds: int = 3,
    report: Report = ignore,
) -> dict[str, Any]:
    """Prefill of some rows, and decoding of few and many, through our sampler: greedy, in a session, adapter merged.

    Args:
        model: As in :class:`~ragr1_lite.assistant.Setup`.
        rows: How many are decoded side by side, one measurement each.
        context: Tokens of a row before it is continued: the beginnings of the quickstart's trajectories.
        rounds: How often each phase is measured; medians count.
        report: Receives notices and phases.

    Returns:
        ``{"machine", "model", "limit": {"gflops", "gigabytes"}, "phases": {NAME: {"seconds", "tokens_per_second",
        "floor", "share"}}}`` with names ``prefill`` and ``decode N``; see :mod:`benchmarks.limit`. Seconds are of the
        whole prefill, and of one step of decoding; tokens are those of the rows, shared beginnings counted in each.
        Wall time, on one thread of a CPU the processor's.

    Raises:
        RagR1Error: The model cannot be used, or no trajectory is as long as ``context``.
    """
    import torch

    from ragr1_lite.assistant import Assistant, Setup
    from ragr1_lite.models import precision
    from ragr1_lite.models.sampler import TransformersSampler
    from ragr1_lite.training.planning.shapes import find_shape

    assistant = Assistant.open(Setup(model=model, batch_size=max(*rows, PREFILLED)), report=report)
    policy = cast("TransformersSampler", assistant.sampler).policy
    endless = replace(policy, tokenizer=cast("Any", _Endless(policy.tokenizer)))
    sampler = TransformersSampler(endless, batch_size=max(*rows, PREFILLED))
    contexts = _contexts(policy.tokenizer, context)
    threads = torch.get_num_threads()
    clock = process_clock() if policy.device == "cpu" and threads == 1 else time.perf_counter

    def sample(count: int, different: int, tokens: int) -> None:
        requests = [SampleRequest(row, contexts[row % different]) for row in range(count)]
        sampler.sample(requests, stop=(), max_new_tokens=tokens)

    def prefill() -> None:
        with sampler.session():  # which packs the weights first
            sample(PREFILLED, PREFILLED, 1)

    def decode(count: int) -> float:
        with sampler.session():
            sample(count, QUESTIONS, 1)
            began = clock()
            sample(count, QUESTIONS, STEPS)  # all but each row's last token is held
            return (clock() - began) / STEPS

    shape, dtype = find_shape(policy.spec.name), precision.to_torch(policy.compute)
    limits = {name: timed(probe, clock, 0.2) for name, probe in probes(shape, dtype).items()}
    seconds = take_turns(
        limits | {"prefill": timed(prefill, clock)} | {f"decode {count}": partial(decode, count) for count in rows},
        rounds,
        report,
        name="Measuring phases",
    )
    reached, costs = limit({name: seconds[name] for name in limits}), Costs(shape, dtype.itemsize)
    prompts = Tokens(0, 0, PREFILLED) + distinct((ids, [0] * len(ids)) for ids in contexts)
    found = {"prefill": reached.share(seconds["prefill"], [costs.forward(prompts)], PREFILLED * context)}
    for count in rows:
        places = [count * (context + done) for done in range(STEPS)]
        step = costs.step(Tokens(count, round(statistics.fmean(places)), count))
        found[f"decode {count}"] = reached.share(seconds[f"decode {count}"], [step], count)
    return {
        "machine": machine("torch", "transformers", threads=threads),
        "model": f"{policy.spec.name} in {policy.dtype} on {policy.device}",
        "limit": reached.to_json(),
        "phases": found,
    }


def _contexts(tokenizer: Tokenizer, length: int) -> list[tuple[int, ...]]:
    """The first tokens of different trajectories of the quickstart that are so long."""
    recipe = load_recipe("quickstart-sft", [f"data.limit={8 * PREFILLED}"])
    long = [one.token_ids for one in training_trajectories(recipe, tokenizer) if len(one.token_ids) >= length]
    if len(long) < PREFILLED:
        raise DataError(f"Only {len(long)} trajectories have {length} tokens", "Measure a shorter context.")
    return [ids[:length] for ids in long[:PREFILLED]]


class _Endless:
    """A tokenizer without end tokens, so that rows stay as many as they are."""

    eos_ids = ()

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)
