"""What a training run takes over all the times it is resumed, and its summary."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ragr1_lite.evaluation.resources import Meter, Resources, hardware
from ragr1_lite.files.writing import write_json
from ragr1_lite.models.processes import is_main, processes
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import TrainResult
from ragr1_lite.versions import versions

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

SPENT = "resources.json"  # in a checkpoint: what the run took up to it


class Account:
    """A callback that meters a run while it is open, on from what its newest checkpoint says.

    As of the metrics, what came after that checkpoint is forgotten: the steps are repeated.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._meter = run, Meter()
        last = run.last_checkpoint()
        kept = last / SPENT if last else None
        self._earlier = None
        self._unseen = {"other processes": "the main process alone was metered"} if processes() > 1 else {}
        if kept and kept.exists():
            self._earlier = Resources.from_json(json.loads(kept.read_text(encoding="utf-8")))
        elif last:
            self._unseen["earlier steps"] = f"what came before {last.name} was not metered"

    def __enter__(self) -> Account:
        self._meter.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._meter.__exit__(*error)

    @property
    def spent(self) -> Resources:
        """What the run took so far."""
        part = self._meter.resources
        part = replace(part, not_measurable={**part.not_measurable, **self._unseen})
        return part.after(self._earlier) if self._earlier else part

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Keeps the account in a checkpoint, before that is declared complete."""
        if is_main():
            checkpoint = self._run.checkpoints / f"checkpoint-{state.global_step}"
            write_json(checkpoint / SPENT, self.spent.to_json())

    def close(self, result: TrainResult) -> TrainResult:
        """Writes the summary of a run that came to its end; the result with what it took."""
        spent = self.spent
        if is_main():
            tokens = self._tokens()
            self._run.save_summary(
                {
                    "steps": result.steps,
                    "tokens_per_second": None if tokens is None else round(tokens / max(spent.seconds, 1e-3), 1),
                    "resources": spent.to_json(),
                    "hardware": hardware(),
                    "versions": versions(),
                }
            )
        return replace(result, resources=spent)

    def _tokens(self) -> float | None:
        """Tokens that GRPO sampled or SFT read in all steps; ``None`` where none were counted."""
        steps = map(json.loads, self._run.metrics.read_text(encoding="utf-8").splitlines())
        counted = [
            step["tokens_per_second"] * step.get("rollout_seconds", step["seconds"])
            for step in steps
            if step.get("tokens_per_second") is not None
        ]
        return sum(counted) if counted else None
