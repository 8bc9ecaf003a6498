"""What happens around each training step: figures logged, checkpoints marked complete, Ctrl-C turned into one."""

from __future__ import annotations

import random
import shutil
import time
from typing import TYPE_CHECKING, Any

from ragr1_lite.config import Recipe
from ragr1_lite.core.events import CheckpointSaved, Report, StepFinished
from ragr1_lite.evaluation.resources import forget_peak, most_held
from ragr1_lite.models import upstream
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.lora import name_base
from ragr1_lite.models.processes import anywhere, is_main, wait
from ragr1_lite.training.run_folder import Run, step_of
from ragr1_lite.training.time_left import TimeLeft

if TYPE_CHECKING:  # at run time transformers is imported after unsloth, which patches it
    from transformers import TrainerControl, TrainerState, TrainingArguments

_RENAMED = {"loss": "loss", "grad_norm": "grad_norm", "learning_rate": "lr", "kl": "kl", "entropy": "entropy"}


class Progress:
    """A callback that logs each step, marks checkpoints complete, and stops cleanly after Ctrl-C.

    Attributes:
        interrupted: Whether the user pressed Ctrl-C.
        updating: Whether the weights are being changed just now.
        recipe: What is trained by.
    """

    def __init__(self, run: Run, policy: Policy, recipe: Recipe, report: Report) -> None:
        self.interrupted = self.updating = self._due = False
        self._run, self._policy, self.recipe, self._report = run, policy, recipe, report
        self._step_began = self._stepped = time.perf_counter()
        self._seconds = 0.0
        self._left, self._logged, self._evaluation = TimeLeft(recipe), self._step_began, 0.0
        self._random: dict[str, Any] | None = None

    def on_train_begin(self, *_: Any, train_dataloader: Any = None, **__: Any) -> None:
        """Counts the tokens of all steps, where their rows are known."""
        if self.recipe.task == "sft":
            size, lengths = self.recipe.train.batch_size, [len(ids) for ids in train_dataloader.dataset["input_ids"]]
            self._left = TimeLeft(self.recipe, [sum(lengths[at : at + size]) for at in range(0, len(lengths), size)])
        self._logged = time.perf_counter()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Starts the step's clock and its count of memory."""
        self._step_began = time.perf_counter()
        if self._policy.device == "cuda":
            forget_peak("cuda")

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Gradients are ready."""
        self.updating = True

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Stops the step's clock: what comes now is not training. From here a state could be saved."""
        self.updating = False
        self._stepped = time.perf_counter()
        self._seconds = round(self._stepped - self._step_began, 3)
        self._random = _random_state()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Stops after this step when the user asked to, in whichever process.

        A checkpoint holds no rollouts: where they serve several steps, it waits until they have. The held-out questions
        were answered since the optimizer's step.
        """
        every = self.recipe.eval.every
        evaluated = every and (state.global_step % every == 0 or state.global_step == state.max_steps)
        self._evaluation = time.perf_counter() - self._stepped if evaluated else 0.0
        self.interrupted = anywhere(self.interrupted)
        self._due = self._due or control.should_save or self.interrupted
        if self._due and (state.global_step % self.recipe.grpo.iterations == 0 or state.global_step == state.max_steps):
            self._due, control.should_save = False, True
            control.should_training_stop = control.should_training_stop or self.interrupted
        else:
            control.should_save = False
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        train_dataloader: Any = None,
        **_: Any,
    ) -> None:
        """Writes the step's figures, those of the trainer and our own, which trackers get as well."""
        if "loss" not in logs:
            return
        known = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
        ours = self._measured(state.global_step, train_dataloader)
        logs.update(ours)
        metrics = {ours: known[theirs] for theirs, ours in _RENAMED.items() if theirs in known}
        metrics |= {key.removeprefix("rollout/"): value for key, value in known.items() if key.startswith("rollout/")}
        metrics |= {key: value for key, value in known.items() if key.startswith("eval_")} | ours
        self._run.log(state.global_step, metrics)
        self._report(StepFinished(state.global_step, state.max_steps, metrics, self._time_left(state, metrics)))

    def _time_left(self, state: TrainerState, metrics: dict[str, float]) -> float | None:
        before, self._logged = self._logged, time.perf_counter()
        rollouts = metrics.get("rollout_seconds", 0.0)
        seconds = self._logged - before
        return self._left.after(state.global_step, seconds, rollouts=rollouts, evaluation=self._evaluation)

    def _measured(self, step: int, batches: Any) -> dict[str, float]:
        """Tokens per second of an SFT step (its whole batch, trained or not), the peak of memory in GiB, seconds.

        The peak of a card is the step's; that of the process is the training's.
        """
        figures: dict[str, float] = {}
        if self.recipe.task == "sft":  # rows are in the order in which they are trained
            size = self.recipe.train.batch_size
            rows = batches.dataset[(step - 1) * size : step * size]["input_ids"]
            figures["tokens_per_second"] = round(sum(map(len, rows)) / max(self._seconds, 1e-3), 1)
        figures["memory_gb"] = round(most_held("cuda" if self._policy.device == "cuda" else "cpu") / 2**30, 3)
        return figures | {"seconds": self._seconds}

    def save_last_state(self, trainer: Any) -> None:
        """Writes a checkpoint of the last finished step, unless there is one.

        A step that broke off has changed no weight yet, but it may have drawn random numbers: those from before are
        put back.
        """
        if self._random is None:  # no step since the start: the newest checkpoint is the state
            return
        last = self._run.last_checkpoint()
        if last is None or step_of(last) < trainer.state.global_step:
            _set_random_state(self._random)
            upstream.save_checkpoint(trainer)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Declares the checkpoint complete, then drops the oldest."""
        wait()  # each process writes the state of its random numbers
        if not is_main():
            return
        written = self._run.checkpoints / f"checkpoint-{state.global_step}"
        name_base(written / "adapter_config.json", self._policy.spec.name)
        checkpoint = self._run.mark_complete(state.global_step)
        (self._run.checkpoints / "README.md").unlink(missing_ok=True)  # TRL's empty card
        for old in sorted(self._run.checkpoints.glob("checkpoint-*"), key=step_of)[: -self.recipe.train.keep]:
            shutil.rmtree(old)
        self._report(CheckpointSaved(str(checkpoint), state.global_step))


def _random_state() -> dict[str, Any]:
    import numpy
    import torch

    return {
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }


def _set_random_state(state: dict[str, Any]) -> None:
    import numpy
    import torch

    random.setstate(state["python"])
    numpy.random.set_state(state["numpy"])
    torch.set_rng_state(state["cpu"])
    torch.cuda.set_rng_state_all(state["cuda"])
