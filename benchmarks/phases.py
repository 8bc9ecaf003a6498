"""Prefill and decoding, as rollouts do them, against what this machine can do at most."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from benchmarks.hardware import machine
from benchmarks.interleave import Clock, process_clock, take_turns, timed
from benchmarks.limit import Costs, Tokens, distinct, limit, probes, require_cpu
from ragr1_lite.config import load_recipe
from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import SampleRequest, Tokenizer
from ragr1_lite.data.sets import training_trajectories

if TYPE_CHECKING:
    from ragr1_lite.models.loading import Policy
    from ragr1_lite.models.sampler import TransformersSampler

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
        Wall time, on one thread the processor's.

    Raises:
        RagR1Error: The model cannot be used or is on a card, or too few trajectories are as long as ``context``.
    """
    from ragr1_lite.assistant import Assistant, Setup

    assistant = Assistant.open(Setup(model=model), report=report)
    policy = cast("TransformersSampler", assistant.sampler).policy
    return measure(policy, contexts(policy.tokenizer, context), rows=rows, rounds=rounds, report=report)


def measure(
    policy: Policy,
    texts: Sequence[Sequence[int]],
    *,
    rows: Sequence[int] = ROWS,
    rounds: int = 3,
    report: Report = ignore,
) -> dict[str, Any]:
    """:func:`phases` of a model over the ids of :data:`PREFILLED` rows of one length."""
    import torch

    from ragr1_lite.models import precision
    from ragr1_lite.models.sampler import TransformersSampler
    from ragr1_lite.training.planning.shapes import find_shape

    require_cpu(policy.device)
    threads = torch.get_num_threads()
    clock = process_clock() if threads == 1 else time.perf_counter
    endless = replace(policy, tokenizer=cast("Any", _Endless(policy.tokenizer)))
    sampling = _Sampling(TransformersSampler(endless, batch_size=max(*rows, PREFILLED)), texts, clock)
    shape, dtype = find_shape(policy.spec.name), precision.to_torch(policy.compute)
    limits = {name: timed(probe, clock, 0.2) for name, probe in probes(shape, dtype).items()}
    ways = {"prefill": timed(sampling.prefill, clock)} | {f"decode {n}": partial(sampling.decode, n) for n in rows}
    seconds = take_turns(limits | ways, rounds, report, name="Measuring phases")
    reached, costs = limit({name: seconds[name] for name in limits}), Costs(shape, dtype.itemsize)
    needed = {"prefill": costs.forward(sampling.prefilled)} | {
        f"decode {count}": costs.step(sampling.decoded(count)) for count in rows
    }
    tokens = {"prefill": PREFILLED * len(texts[0])} | {f"decode {count}": count for count in rows}
    return {
        "machine": machine("torch", "transformers", threads=threads),
        "model": f"{policy.spec.name} in {policy.dtype} on {policy.device}",
        "limit": reached.to_json(),
        "phases": {name: reached.share(seconds[name], [needed[name]], tokens[name]) for name in ways},
    }


@dataclass
class _Sampling:
    """What is measured, and the tokens of it that are needed."""

    sampler: TransformersSampler
    texts: Sequence[Sequence[int]]
    clock: Clock

    def prefill(self) -> None:
        """All rows, in a session, which packs the weights first."""
        with self.sampler.session():
            self._sample(PREFILLED, PREFILLED, 1)

    @property
    def prefilled(self) -> Tokens:
        return Tokens(0, 0, PREFILLED) + distinct((ids, [0] * len(ids)) for ids in self.texts)

    def decode(self, count: int) -> float:
        """Seconds of a step in which each of so many rows goes on by a token."""
        with self.sampler.session():
            self._sample(count, QUESTIONS, 1)
            began = self.clock()
            self._sample(count, QUESTIONS, STEPS)  # all but each row's last token is held
            return (self.clock() - began) / STEPS

    def decoded(self, count: int) -> Tokens:
        """Those of a step, in the mean."""
        seen = statistics.fmean(len(self.texts[0]) + done for done in range(STEPS))
        return Tokens(count, round(count * seen), count)

    def _sample(self, count: int, different: int, tokens: int) -> None:
        requests = [SampleRequest(row, self.texts[row % different]) for row in range(count)]
        self.sampler.sample(requests, stop=(), max_new_tokens=tokens)


def contexts(tokenizer: Tokenizer, length: int) -> list[tuple[int, ...]]:
    """The first tokens of different trajectories of the quickstart that are so long."""
    recipe = load_recipe("quickstart-full-sft", [f"data.limit={8 * PREFILLED}"])
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
