"""Our rollouts against TRL's way: everything prefilled anew in each turn, padded, all rows until the last is done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from benchmarks.hardware import machine
from benchmarks.interleave import Clock, interleave, process_clock
from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.protocol import Protocol as Rules
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Example, Passage, Sampler, Searcher, Trajectory

TURNS = 3
KIND = "bridge"
"""Questions of the embedded world that take two searches, one after the other."""


class TimedSampler(Sampler, Protocol):
    """A sampler that keeps the time of its parts."""

    seconds: dict[str, float]


def rollout(model: str | None = None, *, rows: int = 8, rounds: int = 3, report: Report = ignore) -> dict[str, Any]:
    """Greedy rollouts of three turns both ways, in one process, the adapter merged for both.

    TRL's way is the one of its GRPOTrainer's tool loop: in each turn ``generate`` gets the whole sequences, padded on
    the left, each member of a group for itself, and goes on until the last row is done. Two things are better here than
    there: it stops at closing tags, and no text is encoded twice.

    Args:
        model: As in :class:`~ragr1_lite.assistant.Setup`.
        rows: Rollouts side by side.
        rounds: How often each way is measured.
        report: Receives notices and phases.

    Returns:
        ``{"machine", "model", "turns", "rows", "ratio", "tokens_per_second": {"ours", "reprefill"}, "shares",
        "equal_outputs", "distinct": {"ratio", "tokens_per_second", "shares", "equal_outputs"}}``: a group of ``rows``
        rollouts of one question, and under ``distinct`` as many questions. Tokens are sampled ones; seconds are wall
        time, on one thread of a CPU the processor's: what it would be on an idle machine. ``shares`` are those of our
        way's wall time. Greedy groups share more than drawn ones, which part after the prompt: a drawn group is
        between the two.

    Raises:
        RagR1Error: The model cannot be used, or answers too few questions in three turns.
    """
    import torch

    from ragr1_lite.assistant import Assistant, Setup
    from ragr1_lite.models.sampler import TransformersSampler
    from ragr1_lite.world import questions

    assistant = Assistant.open(Setup(model=model, batch_size=rows), report=report)
    ours = cast("TransformersSampler", assistant.sampler)
    peer = TransformersSampler(ours.policy, batch_size=rows, ragged=False)
    threads = torch.get_num_threads()
    clock = process_clock() if ours.policy.device == "cpu" and threads == 1 else time.perf_counter
    bench = Comparison(ours, peer, assistant.searcher, assistant.protocol, assistant.limits, rounds, clock, report)
    pool = [one.example for one in questions("test", limit=2 * rows, kinds=[KIND])]
    asked = bench.taking(TURNS, pool, rows)
    return {
        "machine": machine("torch", "transformers", threads=threads),
        "model": f"{ours.policy.spec.name} in {ours.policy.dtype} on {ours.policy.device}",
        "turns": TURNS,
        "rows": rows,
        **bench.measure("a group", asked[:1] * rows),
        "distinct": bench.measure("distinct questions", asked),
    }


@dataclass
class Comparison:
    """Two samplers on the same rollouts."""

    ours: TimedSampler
    reprefill: Sampler
    searcher: Searcher
    protocol: Rules
    limits: Limits
    rounds: int
    clock: Clock = time.perf_counter
    report: Report = ignore

    def taking(self, turns: int, pool: Sequence[Example], count: int) -> list[Example]:
        """The first questions of a pool that the model answers in so many turns.

        Raises:
            DataError: There are fewer than ``count``.
        """
        found = [one.example for one in self._run(self.ours, self.searcher, pool) if len(one.turns) == turns]
        if len(found) < count:
            raise DataError(
                f"The model takes {turns} turns for {len(found)} of {len(pool)} questions, and {count} are needed",
                "Measure fewer rows, or a model with an adapter that has learned to search.",
            )
        return found[:count]

    def measure(self, name: str, examples: Sequence[Example]) -> dict[str, Any]:
        """Both ways by turns; ratio, speeds, where our time goes, and whether the sampled ids are equal."""
        made: dict[str, list[Trajectory]] = {}
        spent: list[dict[str, float]] = []

        def ours() -> None:
            before, searcher, began = dict(self.ours.seconds), _Timed(self.searcher), time.perf_counter()
            made["ours"] = self._run(self.ours, searcher, examples)
            parts = {part: self.ours.seconds[part] - before[part] for part in before}
            spent.append(parts | {"retrieval": searcher.seconds, "all": time.perf_counter() - began})

        def reprefill() -> None:
            made["reprefill"] = self._run(self.reprefill, self.searcher, examples)

        ways = {"ours": ours, "reprefill": reprefill}
        medians = interleave(ways, self.rounds, self.report, clock=self.clock, name=f"Measuring {name}")
        speeds = {way: sum(one.sampled_tokens for one in made[way]) / medians[way] for way in ways}
        return {
            "ratio": round(speeds["ours"] / speeds["reprefill"], 2),
            "tokens_per_second": {way: round(speed, 1) for way, speed in speeds.items()},
            "shares": shares(spent[1:]),  # the first run was not measured
            "equal_outputs": [one.token_ids for one in made["ours"]] == [one.token_ids for one in made["reprefill"]],
        }

    def _run(self, sampler: Sampler, searcher: Searcher, examples: Sequence[Example]) -> list[Trajectory]:
        return run_rollouts(examples, sampler, searcher, protocol=self.protocol, limits=self.limits)


@dataclass
class _Timed:
    """A searcher that keeps the time."""

    searcher: Searcher
    seconds: float = field(default=0.0)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        """What the searcher inside finds."""
        began = time.perf_counter()
        found = self.searcher.search(queries, k)
        self.seconds += time.perf_counter() - began
        return found


def shares(spent: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each part's share of ``all`` seconds over several runs; what no part names is ``other``.

    >>> shares([{"prefill": 1.0, "decode": 2.0, "all": 3.0}, {"prefill": 1.0, "decode": 3.0, "all": 5.0}])
    {'prefill': 0.25, 'decode': 0.625, 'other': 0.125}
    """
    whole = sum(run["all"] for run in spent)
    parts = {part: round(sum(run[part] for run in spent) / whole, 4) for part in spent[0] if part != "all"}
    return parts | {"other": round(1 - sum(parts.values()), 4)}
