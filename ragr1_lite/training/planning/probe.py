"""Two real steps in a process of their own, and a plan corrected by what they took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Report, ignore, phase
from ragr1_lite.training.planning.forecast import RUNTIME, Correction, Plan, allocator_share, plan
from ragr1_lite.training.planning.machine import GIB, Device
from ragr1_lite.training.planning.memory import WORKING
from ragr1_lite.training.planning.steps import Steps


def probe(recipe: Recipe, length: int | None = None, report: Report = ignore) -> Steps:
    """Trains two steps on sequences of the planned length, in a process of their own.

    Raises:
        ModelError: The steps failed.
    """
    module = "ragr1_lite.training.planning.steps"
    with phase(report, "probe"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", module, str(length or recipe.rollout.max_length)],
            input=recipe.model_dump_json(),
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
        )
    if done.returncode:
        raise _failure(done)
    return Steps(**json.loads(done.stdout))


def _failure(done: subprocess.CompletedProcess[str]) -> ModelError:
    """What the process said at its end; one that was killed, as for its memory, says nothing."""
    if done.stdout:
        return ModelError(**json.loads(done.stdout))
    words = done.stderr.strip().splitlines()
    why = words[-1][:300].rstrip(".") if words and done.returncode > 0 else "its process was killed"
    fix = "If memory ran out, lower train.micro_batch, rollout.batch_size or --length."
    return ModelError(f"The probe failed: {why}", fix)


def corrected(recipe: Recipe, steps: Steps, *, gpu_gb: float | None = None, length: int | None = None) -> Plan:
    """The plan after a probe: its seconds and its peak are the measured ones, its parts and its suggestion follow.

    The difference is attributed to the parts that come and go, by at most half or double, and the rest to the runtime:
    weights, adapter and optimizer are known to the byte. Where the system reports no peak, only the time is measured.
    """
    device: Device = "cuda" if steps.device == "cuda" else "cpu"
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"dtype": steps.dtype})})
    found = predicted = plan(recipe, gpu_gb=gpu_gb, length=length, device=device)
    measured, note = None, "This system reports no peak of memory, so the probe corrects none."
    if steps.peak:
        measured, note = (steps.peak + (RUNTIME[device] if device == "cuda" else 0)) / GIB, "Corrected by a probe."
        working = sum(predicted.parts.get(part, 0.0) for part in WORKING)
        working *= 1 + allocator_share(device, predicted.moment)
        factor = min(max(1 + (measured - predicted.peak_gb) / working, 0.5), 2.0)
        rest = (measured - predicted.peak_gb - (factor - 1) * working) * GIB
        found = plan(recipe, gpu_gb=gpu_gb, length=length, device=device, correction=Correction(rest, factor))
    return replace(
        found,
        seconds_per_step=_seconds_per_step(recipe, steps, found.length),
        notes=(*found.notes[:1], note),
        probe={
            "peak_gb": measured,
            "predicted_gb": predicted.peak_gb,
            "ratio": predicted.peak_gb / measured if measured else None,
            "sampling_gb": steps.sampling / GIB,
            "train_seconds": steps.train_seconds,
            "sample_seconds": steps.sample_seconds,
        },
    )


def _seconds_per_step(recipe: Recipe, steps: Steps, length: int) -> float:
    """Seconds of a step whose trajectories cost what the probe's did, token by token."""
    train, rollout = recipe.train, recipe.rollout
    seconds = steps.train_seconds * train.batch_size / steps.trained
    if recipe.task == "grpo":
        written = train.batch_size * min((rollout.max_rounds + 1) * rollout.max_new_tokens, length)
        seconds += written * steps.sample_seconds / steps.sampled / recipe.grpo.iterations
    return seconds
