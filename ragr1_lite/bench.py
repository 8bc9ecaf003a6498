"""Benchmarks: both ways in one process, interleaved, medians; ratios rather than times."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from ragr1_lite.config import WORLD
from ragr1_lite.core import SampleRequest
from ragr1_lite.events import PhaseAdvanced, PhaseFinished, PhaseStarted, Report, ignore


def machine() -> dict[str, str]:
    """What the figures depend on."""
    import numpy
    import torch

    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "torch": torch.__version__,
    }


def retrieval(index: str = WORLD, *, queries: int = 24, k: int = 3, rounds: int = 15, report: Report = ignore) -> Any:
    """One search call for a turn's queries against one call per query, and against a turn that repeats queries.

    Returns:
        ``{"machine", "rows": [{"engine", "us_per_query"}], "ratios": {"loop": loop over batch, "repeats": …}}``.
    """
    from ragr1_lite.retrieval import open_searcher
    from ragr1_lite.world import questions

    searcher = open_searcher(index, report)
    distinct = list(
        dict.fromkeys(query for q in questions("train") for step in q.plan("multi").steps for query in step.queries)
    )
    asked = distinct[:queries]
    repeated = (asked[: max(1, queries // 4)] * 4)[:queries]
    ways: dict[str, Callable[[], object]] = {
        "one call": lambda: searcher.search(asked, k),
        "a call per query": lambda: [searcher.search([query], k) for query in asked],
        "one call, each query four times": lambda: searcher.search(repeated, k),
    }
    medians = interleave(ways, rounds, report)
    rows = [{"engine": name, "us_per_query": round(seconds / len(asked) * 1e6, 1)} for name, seconds in medians.items()]
    batch, loop, repeats = medians.values()
    return {
        "machine": machine(),
        "rows": rows,
        "ratios": {"loop": round(loop / batch, 2), "repeats": round(batch / repeats, 2)},
    }


def sampling(
    model: str | None = None, *, rows: int = 16, max_new_tokens: int = 48, rounds: int = 3, report: Report = ignore
) -> Any:
    """Our sampler against transformers' ``generate`` on the same prompts: greedy, the same tokens.

    Returns:
        ``{"machine", "rows": [{"engine", "tokens_per_second"}], "ratio": ours over generate, "equal_outputs": share of
        rows with equal ids}``.
    """
    import torch

    from ragr1_lite.answer import default_model
    from ragr1_lite.models import ModelSpec, load_policy
    from ragr1_lite.protocol import Protocol
    from ragr1_lite.sampling import TransformersSampler
    from ragr1_lite.world import questions

    policy = load_policy(ModelSpec(model or default_model(report)), report=report)
    asked = questions("train", seed=0, limit=rows)
    prompts = [policy.tokenizer.render_chat(Protocol().render_prompt(one.example.question)) for one in asked]
    sampler = TransformersSampler(policy, batch_size=rows)
    made: dict[str, list[list[int]]] = {}

    def ours() -> None:
        requests = [SampleRequest(row, ids) for row, ids in enumerate(prompts)]
        completions = sampler.sample(requests, stop=(), max_new_tokens=max_new_tokens, report=ignore)
        made["ours"] = [list(completion.token_ids) for completion in completions]

    def generate() -> None:
        longest, pad = max(map(len, prompts)), policy.tokenizer.pad_id
        device = policy.device
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        with torch.inference_mode():
            out = policy.model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=max_new_tokens,
                eos_token_id=list(policy.tokenizer.eos_ids),
                pad_token_id=pad,
            )
        made["generate"] = [_until_end(row, policy.tokenizer.eos_ids) for row in out[:, longest:].tolist()]

    medians = interleave({"ours": ours, "generate": generate}, rounds, report)
    tokens = {name: sum(map(len, made[name])) for name in made}
    speed = {name: tokens[name] / seconds for name, seconds in medians.items()}
    equal = [a == b for a, b in zip(made["ours"], made["generate"], strict=True)]
    return {
        "machine": machine(),
        "rows": [{"engine": name, "tokens_per_second": round(value, 1)} for name, value in speed.items()],
        "ratio": round(speed["ours"] / speed["generate"], 2),
        "equal_outputs": statistics.fmean(equal),
    }


def interleave(ways: Mapping[str, Callable[[], object]], rounds: int, report: Report = ignore) -> dict[str, float]:
    """Median seconds of each way; all are run once unmeasured, then in turn, ``rounds`` times."""
    name, began = "Measuring", time.perf_counter()
    report(PhaseStarted(name, rounds + 1, "rounds"))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for done in range(rounds + 1):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            if done:
                seconds[way].append(time.perf_counter() - start)
        report(PhaseAdvanced(name, done + 1))
    report(PhaseFinished(name, time.perf_counter() - began))
    return {way: statistics.median(times) for way, times in seconds.items()}


def _until_end(ids: list[int], ends: tuple[int, ...]) -> list[int]:
    """The ids up to the first end token, that one included."""
    cut = next((at for at, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: cut + 1]
