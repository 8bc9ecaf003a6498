"""The held-out questions measured while a model trains, and the adapter that did best at them.

Every ``eval.every`` steps and after the last one the recipe's ``eval`` questions are answered greedily, under the
``rollout`` settings. Their ``eval_em`` and ``eval_f1`` stand in that step's line of ``metrics.jsonl``. The adapter with
the highest EM so far, the F1 deciding between equals, lies in the run's ``best`` folder together with its figures, so
that a run that was killed goes on from what is really there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.types import Example, Searcher
from ragr1_lite.evaluation import Variant, evaluate_variants, held_out
from ragr1_lite.files.writing import write_json
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.lora import merged_for_sampling, save_adapter
from ragr1_lite.models.processes import is_main
from ragr1_lite.models.sampler import TransformersSampler
from ragr1_lite.training.run_folder import HELD_OUT, Run

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments


def questions(recipe: Recipe, report: Report = ignore) -> list[Example]:
    """The questions that a training measures on its way; none where the recipe does not want it.

    Raises:
        ConfigError: The recipe wants to measure no question at all.
        DataError: The question file is wrong.
    """
    if not recipe.eval.every:
        return []
    if not recipe.eval.questions:
        raise ConfigError("eval.every has nothing to measure: eval.questions is 0", "Set eval.questions, such as 50.")
    return held_out(recipe, report)


class Validation:
    """A callback that measures, reports, and keeps the best."""

    def __init__(
        self, examples: Sequence[Example], policy: Policy, searcher: Searcher, recipe: Recipe, run: Run, report: Report
    ) -> None:
        self._examples, self._policy, self._searcher = examples, policy, searcher
        self._recipe, self._run, self._report = recipe, run, report
        self._figures: dict[str, float] = {}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measures every ``eval.every`` steps and after the last."""
        step = state.global_step
        if step % self._recipe.eval.every and step < state.max_steps:
            return
        em, f1 = self._measure()
        self._figures = {"eval_em": em, "eval_f1": f1}
        if is_main():
            self._keep_best(step, em, f1)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        """Adds what was measured to the step's log."""
        if "loss" in logs:
            logs.update(self._figures)
            self._figures = {}

    def _measure(self) -> tuple[float, float]:
        """EM and F1 of the adapter as it is now; greedy, so that nothing random is drawn."""
        rollout = self._recipe.rollout
        with merged_for_sampling(self._policy):
            variant = Variant(
                "held-out questions",
                TransformersSampler(self._policy, batch_size=rollout.batch_size),
                self._searcher,
                rollout.protocol(),
                rollout.limits(self._recipe.retrieval.k),
            )
            (evaluation,) = evaluate_variants(self._examples, [variant], report=self._report)
        figures = evaluation.figures()
        return figures["em"], figures["f1"]

    def _keep_best(self, step: int, em: float, f1: float) -> None:
        """Saves the adapter where it is better than the best so far, and reports both."""
        best = self._best()
        if best is None or (em, f1) > (best["em"], best["f1"]):
            best = {"step": step, "em": em, "f1": f1, "questions": len(self._examples)}
            save_adapter(self._policy, self._run.best, dtype=self._recipe.lora.saved_as)
            write_json(self._run.best / HELD_OUT, best)
        now = f"Step {step}: EM {em:.2f} on {len(self._examples)} held-out questions"
        self._report(Notice(f"{now}, the best so far {best['em']:.2f} (step {best['step']})."))

    def _best(self) -> dict[str, Any] | None:
        """The figures of the adapter that is kept; none where it was cut off before it had any."""
        path = self._run.best / HELD_OUT
        found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        return found
