"""The shipped recipes as a list, copies of them to edit, and what a recipe would do and lacks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.config import (
    WORLD,
    Recipe,
    extends,
    load_recipe,
    recipe_fields,
    shipped_recipes,
    to_yaml,
)
from ragr1_lite.core.errors import ModelError, RagR1Error
from ragr1_lite.core.urls import is_address
from ragr1_lite.data.sets import load_examples, require_titles
from ragr1_lite.models.adapter_folder import require_adapter

_MEMORY = re.compile(r"^# Memory: ([\d.]+) GB planned(?: of a card's (\d+))?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A shipped recipe in a few words."""

    name: str
    task: str
    model: str
    mode: str
    starts_from: str | None  # the recipe that makes its first adapter, or "shipped"
    memory_gb: float  # planned, of the card or, where it needs none, of the machine
    card_gb: int | None  # the card it is made for
    about: str


def entries() -> list[Entry]:
    """The shipped recipes: those for a CPU first, then by size of the card and by model."""
    found = [_entry(name, path) for name, path in shipped_recipes().items()]
    return sorted(found, key=lambda one: (one.card_gb or 0, one.model, one.task != "sft", one.name))


def _entry(name: str, path: Path) -> Entry:
    recipe, comment = load_recipe(str(path)), opening(path.read_text(encoding="utf-8"))
    adapter, memory = recipe.model.adapter, _MEMORY.search(comment)
    _, *lines = (line.lstrip("# ") for line in comment.splitlines())  # the first is the command
    return Entry(
        name,
        recipe.task,
        recipe.model.name,
        recipe.rollout.mode,
        Path(adapter).parent.name or adapter if adapter else None,
        float(memory[1]) if memory else 0.0,
        int(memory[2]) if memory and memory[2] else None,
        " ".join(filter(None, lines)).partition(". ")[0].rstrip(".") + ".",
    )


def opening(text: str) -> str:
    """The comment that a recipe opens with."""
    lines = text.splitlines(keepends=True)
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:end])


def standalone(path: Path, name: str) -> str:
    """A recipe's text for a file ``name`` of its own: its commands name that file, and it extends no other."""
    text = path.read_text(encoding="utf-8")
    comment = opening(text)
    command = rf"(ragr1-lite \w+) {re.escape(path.stem)}(?![\w-]|\.\w)"
    renamed = re.sub(command, lambda found: f"{found[1]} {name}", comment)
    if not extends(path):
        return renamed + text.removeprefix(comment)
    fields = recipe_fields(path)
    order = [key for key in Recipe.model_fields if key in fields]
    return renamed + to_yaml({key: fields[key] for key in (*order, *(fields.keys() - set(order)))})


def missing(recipe: Recipe) -> list[str]:
    """The files that a recipe names and that do not exist, a sentence each."""
    named = [("data.train", recipe.data.train)]
    named += [("retrieval.index", name) for name in recipe.retrieval.indexes]
    if recipe.eval.questions or recipe.eval.every:
        named.append(("eval.data", recipe.eval.data))
    if recipe.grpo.expert:
        named.append(("data.expert", str(recipe.data.expert)))
    if recipe.rollout.template is not None:
        named.append(("rollout.template", str(recipe.rollout.template)))
    if recipe.model.name.startswith((".", "/", "~")):
        named.append(("model.name", recipe.model.name))
    files = [(key, name) for key, name in named if name != WORLD and not is_address(name) and name[:4] != "hub:"]
    problems = [f"{key}: there is no {name}" for key, name in files if not Path(name).expanduser().exists()]
    try:
        require_adapter(recipe)
    except ModelError as error:
        problems.append(f"model.adapter: {error}")
    return problems


def _unusable(recipe: Recipe) -> list[str]:
    """What the recipe wants of the questions in a file that is here, and they lack, a sentence each."""
    if not recipe.grpo.continue_near_misses or not Path(recipe.data.train).is_file():
        return []
    try:
        require_titles(load_examples(recipe.data.train, "train"))
    except RagR1Error as error:
        return [f"data.train: {error}"]
    return []


def summary(recipe: Recipe, gpu_gb: float | None = None) -> dict[str, Any]:
    """A recipe's main keys, ``warnings`` of files it lacks, and ``device``, ``memory_gb`` and ``fits``.

    The last three are for a card of ``gpu_gb`` or this machine, and None where memory cannot be planned.
    """
    from ragr1_lite.training.planning import plan

    warnings = missing(recipe) + _unusable(recipe)
    memory: dict[str, Any] = dict.fromkeys(("device", "memory_gb", "fits"))
    try:
        planned = plan(recipe, gpu_gb=gpu_gb)
        memory = {"device": planned.device, "memory_gb": round(planned.peak_gb, 1), "fits": planned.fits}
    except RagR1Error as error:  # a model whose sizes are not known here
        warnings.append(f"Its memory is not known: {error}")
    return {
        "warnings": warnings,
        "task": recipe.task,
        "model": recipe.model.name,
        "adapter": recipe.model.adapter,
        "data": recipe.data.train,
        "index": ", ".join(recipe.retrieval.indexes),
        "mode": recipe.rollout.mode,
        "steps": recipe.train.steps,
        "batch_size": recipe.train.batch_size,
        "micro_batch": recipe.train.micro_batch,
        "output": str(recipe.output),
        **memory,
    }
