"""Threads while a model trains: looked at again between steps, and kept by step, so that a resumed run has the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ragr1_lite.core.events import Report
from ragr1_lite.models.cpu_speed import look_at_threads_again
from ragr1_lite.training.run_folder import Run, step_of

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

KEPT = "threads"  # in a run's state: ``[[step, threads], …]``, each for the steps after that one


def resolved(run: Run) -> dict[str, Any]:
    """What a run resolved at its start, with the threads that its newest checkpoint was computed with."""
    state, last = run.recall(), run.last_checkpoint()
    changes = _until(step_of(last) if last else 0, run)
    kept: dict[str, Any] = state.get("resolved", {})
    return kept | ({"threads": changes[-1][1]} if changes else {})


def _until(step: int, run: Run) -> list[list[int]]:
    changes: list[list[int]] = run.recall().get(KEPT, [])
    return [change for change in changes if change[0] <= step]


class ThreadWatch:
    """A callback that looks at the threads between steps."""

    def __init__(self, run: Run, report: Report) -> None:
        self._run, self._report = run, report
        self._changes: list[list[int]] = []
        self._threads = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Forgets the changes of steps that are repeated."""
        import torch

        self._threads, self._changes = torch.get_num_threads(), _until(state.global_step, self._run)
        if self._changes != self._run.recall().get(KEPT, []):
            self._run.remember(**{KEPT: self._changes})

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Keeps a change; an evaluation after the step may have made it."""
        threads = look_at_threads_again(self._report)
        if threads is not None and threads != self._threads:
            self._threads = threads
            self._changes.append([state.global_step, threads])
            self._run.remember(**{KEPT: self._changes})
