"""What ``learn`` trains by, how much work that is, and how many steps fit into a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

from ragr1_lite.cli.learn_folder import LearnFolder
from ragr1_lite.cli.time_left import SAMPLED
from ragr1_lite.config import Recipe, load_recipe, shipped_recipes
from ragr1_lite.core.errors import ModelError, RunError
from ragr1_lite.core.events import Notice, Report
from ragr1_lite.core.timing import about
from ragr1_lite.models.adapter_folder import base_key, shipped_adapter

MODEL = "smollm2-135m"
TRAINED = 700
"""Tokens of a trajectory whose passages have a hundred words, about."""
LEAST_STEPS = {"SFT": 20, "GRPO": 4}
"""With fewer a training is not begun."""

Work = dict[str, dict[str, float]]
"""By stage, as :class:`~ragr1_lite.cli.time_left.TimeLeft` takes it."""


def recipes(folder: LearnFolder, model: str, overrides: Sequence[str] = ()) -> tuple[Recipe, Recipe]:
    """SFT's and GRPO's: the model's own, else those of SmolLM2 with its name; both search alike.

    SFT goes on from the adapter that ships for the model, which has learned to search.
    """
    key, known = base_key(model).removesuffix("-instruct"), shipped_recipes()
    names = [f"{task}-{key}" if f"{task}-{key}" in known else f"{task}-{MODEL}" for task in ("sft", "grpo")]
    if names[0] == f"sft-{MODEL}":  # which is made for the embedded world
        names[0] = "sft-own-data"

    def load(name: str, values: dict[str, object]) -> Recipe:
        values |= {"model.name": model, "data.mix": {}, "retrieval.index": str(folder.index)}
        return load_recipe(name, [*(f"{key}={json.dumps(value)}" for key, value in values.items()), *overrides])

    shipped = shipped_adapter(model)
    begin: dict[str, object] = {"model.adapter": str(shipped)} if shipped else {}
    first = load(names[0], begin | {"output": str(folder.sft), "data.train": str(folder.file("trajectories"))})
    same = ("mode", "max_rounds", "max_new_tokens", "document_tokens", "total_document_tokens", "max_length")
    second = {
        "output": str(folder.grpo),
        "data.train": str(folder.file("train")),
        "model.adapter": str(folder.sft / "adapter"),
        "retrieval.k": first.retrieval.k,
        **{f"rollout.{name}": getattr(first.rollout, name) for name in same},
    }
    return first, load(names[1], second)


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with another number of steps."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": steps})})


def training_work(first: Recipe, second: Recipe | None, questions: int) -> Work:
    """The trainings and the evaluations after them; without a second recipe its stages have no work."""
    asked = {"sampled": float(questions * SAMPLED)}
    rollouts = second.train.steps * second.train.batch_size if second else 0
    grpo = {"sampled": float(rollouts * SAMPLED), "trained": rollouts * TRAINED / 2}  # a group shares its question
    return {
        "SFT": {"trained": float(first.train.steps * first.train.batch_size * TRAINED)},
        "eval SFT": asked,
        "GRPO": grpo if second else {},
        "eval SFT + GRPO": asked if second else {},
    }


def affordable(
    first: Recipe, second: Recipe, seconds: float, *, row: float, token: float, questions: int, report: Report
) -> dict[str, int]:
    """Steps of SFT and of GRPO that fit into so many seconds, evaluations included: GRPO only after all of SFT.

    Args:
        first: SFT's recipe, whose steps are the most.
        second: GRPO's.
        seconds: The time there is.
        row: Seconds that training takes for a trajectory, as measured here.
        token: And sampling for a token; 0 where that is not known, which leaves GRPO out.
        questions: Those of an evaluation.
        report: Is sent what was decided.

    Raises:
        RunError: Not even the least fits.
    """
    evaluation, step = questions * SAMPLED * token, first.train.batch_size * row
    least = min(first.train.steps, LEAST_STEPS["SFT"])
    steps = min(first.train.steps, int((seconds - evaluation) / step))
    if steps < least:
        raise RunError(
            f"The minutes are not enough: {least} steps of SFT and an evaluation take "
            f"{about(evaluation + least * step)} here, and what came before took its time, too",
            "Give the same command more --minutes; what is finished is kept, and not counted again.",
        )
    left = seconds - steps * step - 2 * evaluation
    more = int(left / (second.train.batch_size * (SAMPLED * token + row / 2))) if token else 0
    if steps < first.train.steps or more < min(second.train.steps, LEAST_STEPS["GRPO"]):
        more = 0
    more = min(second.train.steps, more)
    report(Notice(f"In the time that is left: {steps} steps of SFT, {more or 'no'} steps of GRPO."))
    return {"SFT": steps, "GRPO": more}


def size_of(model: str) -> float | None:
    """How many times SmolLM2's weights a model has; None where that is not known here."""
    from ragr1_lite.training.planning.shapes import find_shape

    with suppress(ModelError):
        return find_shape(model).parameters / find_shape(MODEL).parameters
    return None
