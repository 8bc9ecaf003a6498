"""What is known of a trained model, by its run and the evaluations of it; nothing else gets into its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.config import Recipe, load_recipe
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.urls import is_address, without_secrets
from ragr1_lite.evaluation.report.tables import METRICS, Evaluated, Training, read_sources
from ragr1_lite.files.sources import PREFIX
from ragr1_lite.models.adapter_folder import find_adapter
from ragr1_lite.models.builtin import BUILT_IN, BuiltIn
from ragr1_lite.models.hub import is_hub_id
from ragr1_lite.training.run_folder import HELD_OUT, step_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user says of a repository.

    Attributes:
        name: OWNER/NAME, or its folder's name.
        merged: Whether it holds a whole model; else an adapter.
        license: The hub's name of a licence; None: that of the built-in model of a run, else none is named.
        results: Evaluation files, each named after what was asked.
    """

    name: str
    merged: bool = False
    license: str | None = None
    results: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known.

    Attributes:
        asked: The recipe by which the model is asked.
        hub_id: The base model's; empty where it has none.
        trained: The recipe that it was trained by, where it lies in its run, as do ``run``, ``step`` and ``held_out``.
        run: What the run wrote down.
        step: At which step of it the adapter was saved.
        held_out: ``em`` and ``f1`` on the run's held-out questions at that step, and ``questions`` where the adapter is
            the one that did best.
        evaluations: Those that the user named.
    """

    asked: Recipe
    hub_id: str
    trained: Recipe | None
    run: Training | None
    step: int | None
    held_out: Mapping[str, Any]
    evaluations: tuple[Evaluated, ...]

    @property
    def base(self) -> str:
        """The base model by its hub id, else by its folder's name."""
        return self.hub_id or Path(self.asked.model.name).name

    @property
    def built_in(self) -> BuiltIn | None:
        """The base model, if it is one of ours."""
        return BUILT_IN.get(self.asked.model.name)

    @property
    def datasets(self) -> list[str]:
        """The hub's data sets that the run names; of a file nobody knows where it is from."""
        named = (self.trained.data.train, self.trained.data.expert) if self.trained else ()
        on_hub = [name.removeprefix(PREFIX).partition(":")[0] for name in named if name and name.startswith(PREFIX)]
        return list(dict.fromkeys(on_hub))


def gather(recipe: Recipe, wanted: Wanted, report: Report = ignore) -> Facts:
    """Reads what is known of the adapter of a recipe.

    Raises:
        ModelError: There is no such adapter.
        RunError: The run's summary is broken.
        DataError: An evaluation file is missing or of another form.
    """
    name = recipe.model.adapter
    adapter = find_adapter(name, recipe.model.name, report) if name else None
    bases = [recipe.model.name, adapter.made_for if adapter else ""]
    hub_ids = [BUILT_IN[base].hub_id if base in BUILT_IN else base for base in bases]
    hub_id = next((one for one in hub_ids if is_hub_id(one) and not Path(one).exists()), "")
    evaluations = read_sources(wanted.results, report).evaluations
    if adapter is None or adapter.run is None or not (adapter.run / METRICS).exists():
        return Facts(recipe, hub_id, None, None, None, {}, evaluations)
    (run,) = read_sources([adapter.run], report).trainings
    step, held_out = _saved_at(adapter.folder, run)
    return Facts(recipe, hub_id, load_recipe(str(adapter.recipe)), run, step, held_out, evaluations)


def _saved_at(folder: Path, run: Training) -> tuple[int | None, Mapping[str, Any]]:
    """The step at which an adapter was saved, and what the run's held-out questions said of it then."""
    if (best := folder / HELD_OUT).is_file():
        figures: dict[str, Any] = json.loads(best.read_text(encoding="utf-8"))
        return figures["step"], figures
    last = int(run.steps[-1]["step"]) if run.steps else None
    step = step_of(folder) if folder.name.startswith("checkpoint-") else last
    measured = [one for one in run.steps if one["step"] == step and "eval_em" in one]
    return step, {"em": measured[0]["eval_em"], "f1": measured[0]["eval_f1"]} if measured else {}


def public(value: Any) -> Any:
    """A recipe's fields as everybody may read them: of paths on this machine the last part, of URLs the host.

    >>> public({"train": "/home/ann/gold.jsonl", "index": ["world", "https://search.example.org/a?key=b"]})
    {'train': 'gold.jsonl', 'index': ['world', 'https://search.example.org']}
    """
    if isinstance(value, dict):
        return {key: public(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [public(one) for one in value]
    if not isinstance(value, str):
        return value
    if is_address(value):
        return without_secrets(value)
    return Path(value).name if value.startswith("~") or Path(value).is_absolute() else value
