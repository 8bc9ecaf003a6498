"""The collapse guard: watches each step's figures, warns of a collapse, and once a run undoes one.

The figures of a step are those of the weights it began with, so these are what a step without a breach proves good.
All figures are of the whole batch: several processes come to the same verdict.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragr1_lite.config import GuardConfig
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.files.writing import write_json
from ragr1_lite.models import upstream
from ragr1_lite.models.loading import Policy

if TYPE_CHECKING:
    import torch
    from transformers import TrainerControl, TrainerState, TrainingArguments

    Weights = dict[str, torch.Tensor]

STATE, WEIGHTS = "guard.json", "guard.safetensors"
"""In a checkpoint: what the guard knows, and the last good adapter."""
_FRESH = "rollout/tokens"
"""Stands in the log of a step that rolled out; the others train on the rollouts of an earlier one."""


class Guard:
    """A callback that judges, warns, rolls back.

    It is added before :class:`~ragr1_lite.training.progress.Progress`, which declares the checkpoint complete that this
    one writes to.
    """

    def __init__(self, policy: Policy, config: GuardConfig, report: Report = ignore) -> None:
        self._policy, self._config, self._report = policy, config, report
        self._good: Weights = {}
        self._begun: Weights = {}
        self._good_step = self._streak = 0
        self._rolled_back = False
        self._first: list[dict[str, float]] = []

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Takes the start as good, or reads what the checkpoint knows."""
        if not state.global_step:
            self._good = self._weights()
            return
        from safetensors.torch import load_file

        folder = _checkpoint(args, state)
        known = json.loads((folder / STATE).read_text(encoding="utf-8"))
        self._good_step, self._streak = known["good_step"], known["streak"]
        self._rolled_back, self._first = known["rolled_back"], known["first"]
        self._good = load_file(folder / WEIGHTS)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Keeps the weights that the step's figures will describe."""
        self._begun = self._weights()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        optimizer: Any = None,
        lr_scheduler: Any = None,
        **_: Any,
    ) -> None:
        """Judges a step that rolled out."""
        if _FRESH not in logs:
            return
        breaches = list(self._breaches(logs))
        if len(self._first) < self._config.patience:
            self._first.append({name: logs[f"rollout/{name}"] for name in ("tokens", "invalid")})
        if not breaches:
            self._good, self._good_step, self._streak = self._begun, state.global_step - 1, 0
            return
        self._streak += 1
        if self._streak == 1:
            then = f"The last good adapter comes back if it lasts for {self._config.patience} steps"
            then = "It was rolled back before and goes on as it is" if self._rolled_back else then
            found = f"Step {state.global_step} looks like a collapse: {', '.join(breaches)}"
            self._report(Notice(f"{found}. {then}.", "warning"))
        if self._streak == self._config.patience and not self._rolled_back:
            self._roll_back(optimizer, lr_scheduler)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Writes what a resumed run needs into the checkpoint."""
        if not state.is_world_process_zero:
            return
        from safetensors.torch import save_file

        folder = _checkpoint(args, state)
        known = {"good_step": self._good_step, "streak": self._streak, "rolled_back": self._rolled_back}
        write_json(folder / STATE, known | {"first": self._first})
        save_file(self._good, folder / WEIGHTS)

    def _breaches(self, logs: Mapping[str, Any]) -> Iterator[str]:
        """Each bound that a step's figures break, in words; what is no number breaks any."""
        config = self._config
        watched = config.min_entropy and "entropy" in logs  # a step without signal computes none
        if watched and not _number(logs, "entropy") >= config.min_entropy:
            yield f"entropy {_number(logs, 'entropy'):.3g} is below {config.min_entropy:g} (guard.min_entropy)"
        bounds = {"kl": ("max_kl", config.max_kl)} if "kl" in logs else {}
        bounds["rollout/dead"] = ("max_dead", config.max_dead)
        if len(self._first) == config.patience:
            tokens, invalid = (statistics.fmean(step[name] for step in self._first) for name in ("tokens", "invalid"))
            bounds["rollout/tokens"] = ("max_length_growth", tokens * config.max_length_growth)
            bounds["rollout/invalid"] = ("max_invalid", invalid + config.max_invalid)
        for name, (key, bound) in bounds.items():
            if not (value := _number(logs, name)) <= bound:
                yield f"{name.removeprefix('rollout/')} {value:.3g} is above {bound:.3g} (guard.{key})"

    def _roll_back(self, optimizer: Any, scheduler: Any) -> None:
        for name, weight in self._trained():
            weight.data.copy_(self._good[name])
        optimizer.state.clear()
        rate = upstream.halve_learning_rate(optimizer, scheduler)
        self._rolled_back, self._streak = True, 0
        self._report(
            Notice(
                f"Rolled back: the adapter is that of step {self._good_step} again, and the learning rate is halved to "
                f"{rate:.3g}. This happens once a run.",
                "warning",
            )
        )

    def _trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return ((name, weight) for name, weight in self._policy.model.named_parameters() if weight.requires_grad)

    def _weights(self) -> Weights:
        return {name: weight.detach().to("cpu", copy=True) for name, weight in self._trained()}


def _number(logs: Mapping[str, Any], name: str) -> float:
    """A figure; NaN where the trainer says none because all it had was NaN."""
    value = logs[name]
    return float("nan") if value is None else float(value)


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
