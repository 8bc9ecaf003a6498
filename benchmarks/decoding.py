"""Our sampler against transformers' own generation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.hardware import machine
from benchmarks.interleave import take_turns
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import SampleRequest


def sampling(
    model: str | None = None,
    *,
    temperature: float = 0.0,
    rows: int = 16,
    max_new_tokens: int = 48,
    rounds: int = 3,
    report: Report = ignore,
) -> Any:
    """Our sampler against transformers' ``generate`` on the same prompts: greedy, the same tokens; or drawn ones.

    Returns:
        ``{"machine", "rows": [{"engine", "tokens_per_second"}], "ratio": ours over generate, "equal_outputs": share of
        rows with equal ids}``; no ``equal_outputs`` where tokens are drawn.
    """
    import torch

    from ragr1_lite.assistant import default_model
    from ragr1_lite.core.protocol import Protocol
    from ragr1_lite.models.loading import ModelSpec, load_policy
    from ragr1_lite.models.sampler import TransformersSampler
    from ragr1_lite.world import questions

    policy = load_policy(ModelSpec(model or default_model(report=report)), report=report)
    asked = questions("train", seed=0, limit=rows)
    prompts = [policy.tokenizer.render_chat(Protocol().render_prompt(one.example.question)) for one in asked]
    sampler = TransformersSampler(policy, temperature=temperature, batch_size=rows)
    made: dict[str, list[list[int]]] = {}

    def ours() -> list[list[int]]:
        requests = [SampleRequest(row, ids) for row, ids in enumerate(prompts)]
        completions = sampler.sample(requests, stop=(), max_new_tokens=max_new_tokens, report=ignore)
        return [list(completion.token_ids) for completion in completions]

    def generate() -> list[list[int]]:
        longest, pad = max(map(len, prompts)), policy.tokenizer.pad_id
        device = policy.device
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        with torch.inference_mode():
            out = policy.model.generate(
                input_ids=ids,
                attention_mask=mask,
                **({"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}),
                do_sample=temperature > 0,
                max_new_tokens=max_new_tokens,
                eos_token_id=list(policy.tokenizer.eos_ids),
                pad_token_id=pad,
            )
        return [_until_end(row, policy.tokenizer.eos_ids) for row in out[:, longest:].tolist()]

    def per_token(name: str, run: Callable[[], list[list[int]]]) -> Callable[[], float]:
        def seconds() -> float:
            start = time.perf_counter()
            made[name] = run()
            return (time.perf_counter() - start) / sum(map(len, made[name]))

        return seconds

    ways = {"ours": ours, "generate": generate}
    medians = take_turns({name: per_token(name, run) for name, run in ways.items()}, rounds, report)
    speed = {name: 1 / seconds for name, seconds in medians.items()}
    equal = [a == b for a, b in zip(made["ours"], made["generate"], strict=True)]
    return {
        "machine": machine("torch", threads=torch.get_num_threads()),
        "rows": [{"engine": name, "tokens_per_second": round(value, 1)} for name, value in speed.items()],
        "ratio": round(speed["ours"] / speed["generate"], 2),
        **({} if temperature else {"equal_outputs": statistics.fmean(equal)}),
    }


def _until_end(ids: list[int], ends: tuple[int, ...]) -> list[int]:
    """The ids up to the first end token, that one included."""
    cut = next((at for at, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: cut + 1]
