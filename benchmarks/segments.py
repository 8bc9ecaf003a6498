"""Whole masked trajectories against one sample per turn: the same loss and gradient, fewer tokens, less time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.hardware import machine
from benchmarks.interleave import interleave, process_clock
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.types import Trajectory
from ragr1_lite.data.targets import Sample, count, replayed, samples


def segments(
    path: Path, model: str | None = None, *, limit: int = 4, rounds: int = 1, report: Report = ignore
) -> dict[str, Any]:
    """Computes loss and gradient of a trajectory file both ways, in fp32, with the model's adapter where one ships.

    Returns:
        ``{"machine", "trajectories", "samples", "tokens_whole", "tokens_separate", "ratio", "seconds_whole",
        "seconds_separate", "seconds_ratio", "loss_difference", "gradient_difference"}``: ratios are whole over
        separate, differences are relative, that of the gradient by the norm over all adapter weights; seconds on
        a CPU are the processor's, of all threads together.

    Raises:
        RagR1Error: The file or the model cannot be used.
    """
    import torch

    from ragr1_lite.assistant import default_model
    from ragr1_lite.config import LoraConfig
    from ragr1_lite.data.trajectories import read_records
    from ragr1_lite.models.adapter_folder import shipped_adapter
    from ragr1_lite.models.loading import ModelSpec, load_policy

    name = model or default_model(report=report)
    adapter = shipped_adapter(name)
    records = read_records(path, limit=limit, report=report)
    spec = ModelSpec(name, "fp32", "transformers", str(adapter) if adapter else None, 8192)
    policy = load_policy(spec, lora=LoraConfig(), report=report)
    whole = replayed(records, policy.tokenizer, Protocol(), report)
    separate = [sample for trajectory in whole for sample in samples(trajectory)]
    found: dict[str, tuple[float, Any]] = {}

    def compute(way: str, sequences: Sequence[Trajectory | Sample]) -> None:
        found[way] = loss_and_gradient(policy.model, sequences)

    ways = {"whole": lambda: compute("whole", whole), "separate": lambda: compute("separate", separate)}
    clock = process_clock() if policy.device == "cpu" else time.perf_counter
    seconds = interleave(ways, rounds, report, clock=clock)
    (loss, gradient), (theirs, reference) = found["whole"], found["separate"]
    counted = count(separate)
    return {
        "machine": machine("torch", "transformers", "peft", threads=torch.get_num_threads()),
        "trajectories": len(whole),
        "samples": len(separate),
        **{key: counted[key] for key in ("tokens_whole", "tokens_separate", "ratio")},
        **{f"seconds_{way}": round(seconds[way], 2) for way in ways},
        "seconds_ratio": round(seconds["whole"] / seconds["separate"], 4),
        "loss_difference": abs(loss / theirs - 1),
        "gradient_difference": float((gradient - reference).norm() / reference.norm()),
    }


def loss_and_gradient(model: Any, sequences: Sequence[Trajectory | Sample]) -> tuple[float, Any]:
    """The summed loss of all targets, and its gradient at all trainable weights, as one tensor of one dimension."""
    import torch

    model.zero_grad()
    total = 0.0
    for one in sequences:
        ids = torch.tensor([one.token_ids], device=model.device)
        targets = torch.tensor(one.loss_mask, device=model.device).nonzero()[:, 0]
        scores = model(input_ids=ids, logits_to_keep=targets - 1).logits[0]
        loss: Any = torch.nn.functional.cross_entropy(scores.float(), ids[0, targets], reduction="sum")
        loss.backward()
        total += loss.item()
    weights = (weight for weight in model.parameters() if weight.requires_grad)
    return total, torch.cat([weight.grad.flatten() for weight in weights])
