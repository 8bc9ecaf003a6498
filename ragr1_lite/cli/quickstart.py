"""The whole method in some minutes on a CPU: SFT, GRPO, and the same held-out questions before, between and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.assistant import BARE, Assistant, with_adapter
from ragr1_lite.cli.time_left import GIVE_UP_AFTER, SAMPLED, TRAINED, TimeLeft
from ragr1_lite.config import Recipe, load_recipe
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.evaluation import Evaluation, Variant, evaluate_variants, held_out
from ragr1_lite.files.writing import write_json
from ragr1_lite.training import grpo, sft
from ragr1_lite.versions import versions

QUESTION = "What are the capitals of Chad, Niger and Mali, in that order?"
"""Asked live, of the shipped adapter at the beginning and of the new one at the end."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a quickstart."""

    evaluations: tuple[Evaluation, ...]  # of the base model, after SFT and after GRPO
    recipe: Recipe  # of SFT, with the final adapter
    seconds: dict[str, float]  # wall time by stage

    @property
    def adapter(self) -> str:
        """The final one's folder."""
        return str(self.recipe.model.adapter)

    def to_json(self) -> dict[str, Any]:
        """``{"rows": {label: figures as of eval}, "adapter", "model", "seconds", "versions"}``."""
        return {
            "rows": {evaluation.label: evaluation.to_json() for evaluation in self.evaluations},
            "adapter": self.adapter,
            "model": self.recipe.model.name,
            "seconds": {stage: round(seconds, 1) for stage, seconds in self.seconds.items()},
            "versions": versions(),
        }


def run(
    *, full: bool = False, seed: int = 0, folder: Path = Path("runs/quickstart"), report: Report = ignore
) -> Result:
    """Trains and evaluates, ``full`` at greater length; everything it makes is in ``folder``.

    The held-out questions are the same for every seed; what an earlier quickstart left in the folder is replaced.
    """
    adapter = folder / "sft" / "adapter"
    name = "quickstart-full" if full else "quickstart"
    first = load_recipe(f"{name}-sft", [f"output={folder / 'sft'}", f"train.seed={seed}"])
    second = load_recipe(  # another seed draws other questions
        f"{name}-grpo", [f"output={folder / 'grpo'}", f"train.seed={seed + 1}", f"model.adapter={adapter}"]
    )
    asked, rollouts = first.eval.questions, second.train.steps * second.train.batch_size
    time_left = TimeLeft(
        {
            "eval base": {"sampled": min(asked, GIVE_UP_AFTER) * SAMPLED},
            "sft": {"trained": first.train.steps * first.train.batch_size * TRAINED},
            "eval SFT": {"sampled": asked * SAMPLED},
            "grpo": {"sampled": rollouts * SAMPLED, "trained": rollouts * TRAINED / 2},  # a group shares its question
            "eval SFT + GRPO": {"sampled": asked * SAMPLED},
        },
        report,
    )
    seconds: dict[str, float] = {}
    rows: list[Evaluation] = []

    def measure(label: str, adapter: str) -> None:
        with time_left.stage(f"eval {label}", seconds):
            examples = held_out(first, report)
            assistant = Assistant.open_recipe(with_adapter(first, adapter), report=report)
            variant, size = Variant.of(label, assistant), first.rollout.batch_size
            enough = GIVE_UP_AFTER if adapter == BARE else None
            rows.extend(evaluate_variants(examples, [variant], batch_size=size, give_up_after=enough, report=report))
        if not rows[-1].given_up:  # few rows at once are slower than many
            time_left.learn_from(rows[-1])
        figures = rows[-1].figures()
        report(Notice(f"{label}: EM {figures['em']:.2f}, valid protocol {figures['valid']:.2f}."))

    measure("base", BARE)
    report(Notice("Stage 1: SFT on gold trajectories, which teaches the format."))
    with time_left.stage("sft", seconds):
        trained = sft.train(first, overwrite=True, report=time_left)
    measure("SFT", str(trained.adapter))
    report(Notice("Stage 2: GRPO on the model's own rollouts, rewarded by exact match."))
    with time_left.stage("grpo", seconds):
        trained = grpo.train(second, overwrite=True, report=time_left)
    measure("SFT + GRPO", str(trained.adapter))
    result = Result(tuple(rows), with_adapter(first, str(trained.adapter)), seconds)
    write_json(folder / "result.json", result.to_json())
    return result
