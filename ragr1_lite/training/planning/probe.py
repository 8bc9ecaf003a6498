"""Two real steps in a process of their own, and a plan corrected by what they took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import PhaseFinished, PhaseStarted, Report, ignore
from ragr1_lite.training.planning import memory, timing
from ragr1_lite.training.planning.forecast import RUNTIME, Correction, Plan, plan, to_setting
from ragr1_lite.training.planning.machine import GIB
from ragr1_lite.training.planning.steps import Steps

PHASE = "probe"


def probe(recipe: Recipe, length: int | None = None, report: Report = ignore) -> Steps:
    """Trains two steps on sequences of the planned length, in a process of their own.

    Args:
        recipe: Its model is loaded, and fetched where needed.
        length: Tokens of the longest sequence. None: ``rollout.max_length``.
        report: Receives a phase.

    Raises:
        ModelError: The steps failed.
    """
    began = time.perf_counter()
    report(PhaseStarted(PHASE))
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "ragr1_lite.training.planning.steps",
            str(length or recipe.rollout.max_length),
        ],
        input=recipe.model_dump_json(),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    report(PhaseFinished(PHASE, time.perf_counter() - began))
    if done.returncode:
        raise _failure(done)
    return Steps(**json.loads(done.stdout))


def _failure(done: subprocess.CompletedProcess[str]) -> ModelError:
    """What the process said at its end; one that was killed, as for its memory, says nothing."""
    if done.stdout:
        return ModelError(**json.loads(done.stdout))
    words = done.stderr.strip().splitlines()
    why = words[-1][:300].rstrip(".") if words and done.returncode > 0 else "its process was killed"
    mend = "If memory ran out, lower train.micro_batch, rollout.batch_size or --length."
    return ModelError(f"The probe failed: {why}", mend)


def corrected(recipe: Recipe, steps: Steps, *, gpu_gb: float | None = None, length: int | None = None) -> Plan:
    """The plan after a probe: its peak is the measured one, its parts and its suggestion follow.

    The difference is laid to the parts that come and go, by at most half or double; what they cannot bear is the
    runtime's. Weights, adapter and optimizer are known to the byte.
    """
    device: memory.Device = "cuda" if steps.device == "cuda" else "cpu"
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"dtype": steps.dtype})})
    predicted = plan(recipe, gpu_gb=gpu_gb, length=length, device=device)
    measured = (steps.peak + (RUNTIME[device] if device == "cuda" else 0)) / GIB
    working = sum(predicted.parts.get(part, 0.0) for part in memory.WORKING)
    factor = min(max(1 + (measured - predicted.peak_gb) / working, 0.5), 2.0)
    rest = (measured - predicted.peak_gb - (factor - 1) * working) * GIB
    found = plan(recipe, gpu_gb=gpu_gb, length=length, device=device, correction=Correction(rest, factor))
    return replace(
        found,
        seconds_per_step=timing.by_probe(recipe, to_setting(recipe, device, length), steps),
        notes=(*found.notes[:1], "Corrected by a probe of two steps."),
        probe={
            "peak_gb": measured,
            "predicted_gb": predicted.peak_gb,
            "ratio": predicted.peak_gb / measured,
            "sampling_gb": steps.sampling / GIB,
            "train_seconds": steps.train_seconds,
            "sample_seconds": steps.sample_seconds,
        },
    )
