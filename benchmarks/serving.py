"""Questions side by side against one after the other, at one server: the same answers, in how much less time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from benchmarks.hardware import machine
from benchmarks.interleave import interleave, process_clock
from ragr1_lite.core.events import Report, ignore


def serving(
    model: str | None = None, *, questions: int = 8, rounds: int = 3, report: Report = ignore
) -> dict[str, Any]:
    """As many clients as questions of the embedded world, and one client, by turns, over HTTP on this machine.

    Args:
        model: As in :class:`~ragr1_lite.assistant.Setup`.
        questions: How many are asked, and rows that the server answers side by side.
        rounds: How often each way is measured; the median counts.
        report: Receives notices and phases.

    Returns:
        ``{"machine", "model", "questions", "ratio", "questions_per_minute": {"side_by_side", "one_by_one"},
        "equal_answers"}``; minutes are wall time, on one thread of a CPU the processor's, server and clients together.

    Raises:
        RagR1Error: The model cannot be used, or the extra ``serve`` is not installed.
    """
    import httpx
    import torch

    from ragr1_lite.assistant import Assistant, Setup
    from ragr1_lite.models.sampler import TransformersSampler
    from ragr1_lite.retrieval.remote.hosting import in_background
    from ragr1_lite.serving.api import make_app
    from ragr1_lite.serving.engine import Engine
    from ragr1_lite.world import questions as world

    assistant = Assistant.open(Setup(model=model, batch_size=questions), report=report)
    policy = cast("TransformersSampler", assistant.sampler).policy
    asked = [one.example.question for one in world("test", limit=questions)]
    answers: dict[str, list[str]] = {}
    threads = torch.get_num_threads()
    clock = process_clock() if policy.device == "cpu" and threads == 1 else time.perf_counter
    engine = Engine(assistant, rows=questions, most=questions, report=report)
    with (
        in_background(make_app(engine, report=report), "The benchmark") as url,
        httpx.Client(base_url=url, timeout=None) as client,
        ThreadPoolExecutor(questions) as pool,
    ):

        def ask(question: str) -> str:
            body = {"model": "ragr1-lite", "messages": [{"role": "user", "content": question}]}
            reply = client.post("/v1/chat/completions", json=body).raise_for_status().json()
            return str(reply["choices"][0]["message"]["content"])

        ways = {
            "side_by_side": lambda: answers.update(side_by_side=list(pool.map(ask, asked))),
            "one_by_one": lambda: answers.update(one_by_one=list(map(ask, asked))),
        }
        seconds = interleave(ways, rounds, report, clock=clock, name="Measuring both ways")
    return {
        "machine": machine("torch", "transformers", threads=threads),
        "model": f"{policy.spec.name} in {policy.dtype} on {policy.device}",
        "questions": questions,
        "ratio": round(seconds["one_by_one"] / seconds["side_by_side"], 2),
        "questions_per_minute": {name: round(60 * questions / value, 1) for name, value in seconds.items()},
        "equal_answers": answers["side_by_side"] == answers["one_by_one"],
    }
