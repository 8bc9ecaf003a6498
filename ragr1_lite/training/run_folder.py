"""Run folders: the resolved recipe, metrics as they come, checkpoints, the adapter, a summary.

::

    runs/NAME/
      recipe.yaml        the resolved recipe
      metrics.jsonl      one line a step; a figure that is not finite is null
      checkpoints/       checkpoint-N, each with a marker written last
      adapter/           the trained adapter
      best/              the adapter that did best at the held-out questions, and what it did
      state.json         what else a resumed run needs: precision, threads and their changes by step, its micro-batch;
                         where its recipe has relative paths, the folder it began in
      summary.json       what the whole run took, its speed, hardware, versions
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragr1_lite.config import WORLD, Recipe, load_recipe
from ragr1_lite.core.errors import ConfigError, RunError
from ragr1_lite.files.json_lines import json_of, whole_text
from ragr1_lite.files.writing import refuse_input, sync, write_atomic, write_json, writing
from ragr1_lite.models.processes import is_main, wait

_COMPLETE = "complete"
_FILES = ("metrics.jsonl", "state.json", "summary.json", "recipe.yaml")
"""The recipe last, since by it a folder is known as a run's."""
HELD_OUT = "held_out.json"  # in the folder of the best adapter: ``{"step", "em", "f1", "questions"}``
TENSORBOARD = "tensorboard"  # the folder in which it writes; wandb's is its own choice


class Run:
    """A run's folder; of several processes the main one alone writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.adapter = folder / "adapter"
        self.best = folder / "best"
        self.checkpoints = folder / "checkpoints"
        self.metrics = folder / "metrics.jsonl"
        self._state = folder / "state.json"

    @classmethod
    def start(cls, recipe: Recipe, *, resume: bool = False, overwrite: bool = False) -> Run:
        """Opens the recipe's output folder for training.

        Raises:
            RunError: The folder holds another run, or there is nothing to resume.
            StorageError: The folder cannot be written.
        """
        run = cls(recipe.output)
        if is_main():
            run._open(recipe, resume, overwrite)
        wait()
        return run

    def _open(self, recipe: Recipe, resume: bool, overwrite: bool) -> None:
        folder, saved = self.folder, self.folder / "recipe.yaml"
        if resume:
            self.require_same(recipe)
        else:
            self._refuse_own_adapter(recipe)
        begun = self.metrics.exists() or self.adapter.exists()  # A start that failed is no run.
        if begun and not (resume or overwrite):
            raise RunError(
                f"There is a run in {folder} already",
                "Go on with --resume, replace it with --overwrite, or choose another --set output=FOLDER.",
            )
        with writing(folder):
            if saved.exists() and not resume:
                self._clear()
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            write_atomic(saved, recipe.dump())
            if resume:
                self._forget_after_checkpoint()
            elif _names_relative_paths(recipe):
                self.remember(began_in=str(Path.cwd()))

    def _refuse_own_adapter(self, recipe: Recipe) -> None:
        """Raises DataError where a training would begin by removing the adapter that it starts from."""
        if name := recipe.model.adapter:
            for removed in (self.adapter, self.best, self.checkpoints):
                refuse_input(removed, (name, Path(name, self.adapter.name)), "output")

    def require_same(self, recipe: Recipe) -> None:
        """Compares the run's recipe with the one it is to go on by, defaults filled in; where it lies does not matter.

        Raises:
            RunError: There is none, they differ, or the run's is not one of this version.
        """
        saved = self.folder / "recipe.yaml"
        if not saved.exists():
            raise RunError(f"There is no run to resume in {self.folder}", "Start it without --resume.")
        try:
            began = load_recipe(str(saved))
        except ConfigError as error:
            raise RunError(
                f"The run in {self.folder} cannot be resumed by this version: {error.message}",
                f"Resume it with the version that began it, or correct {saved}.",
            ) from error
        if differences := list(_differences(began.model_dump(), recipe.model_dump() | {"output": began.output})):
            raise RunError(
                f"The run in {self.folder} was started with another recipe: {'; '.join(differences)}",
                f"Use {saved}, or another output.",
            )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends a line to ``metrics.jsonl``."""
        if is_main():
            finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
            with writing(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **finite}) + "\n")

    def save_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes ``summary.json``."""
        if is_main():
            write_json(self.folder / "summary.json", summary)

    def remember(self, **values: Any) -> None:
        """Keeps values for a resumed run, next to those that are kept already."""
        if is_main():
            write_json(self._state, self.recall() | values)

    def summary(self) -> dict[str, Any]:
        """What :meth:`save_summary` wrote; empty where it did not."""
        return _kept(self.folder / "summary.json")

    def recall(self) -> dict[str, Any]:
        """What was kept by :meth:`remember`."""
        return _kept(self._state)

    def mark_complete(self, step: int) -> Path:
        """Declares the checkpoint of a step fit to resume from."""
        checkpoint = self.checkpoints / f"checkpoint-{step}"
        with writing(checkpoint):
            sync(*checkpoint.rglob("*"), checkpoint)
        write_atomic(checkpoint / _COMPLETE, f"{step}\n")
        return checkpoint

    def last_checkpoint(self) -> Path | None:
        """The newest complete checkpoint; half-written ones do not count."""
        complete = [marker.parent for marker in self.checkpoints.glob(f"checkpoint-*/{_COMPLETE}")]
        return max(complete, key=step_of, default=None)

    def _clear(self) -> None:
        tracked = (self.folder / name for name in (TENSORBOARD, "wandb"))
        for folder in (self.checkpoints, self.adapter, self.best, *tracked):
            if folder.exists():
                shutil.rmtree(folder)
        for name in _FILES:
            (self.folder / name).unlink(missing_ok=True)

    def _forget_after_checkpoint(self) -> None:
        """Drops metrics of steps that will be repeated, and checkpoints and files that were cut off."""
        last = self.last_checkpoint()
        step = step_of(last) if last else 0
        for checkpoint in self.checkpoints.glob("checkpoint-*"):
            if not (checkpoint / _COMPLETE).exists():
                shutil.rmtree(checkpoint)
        for name in (self.adapter.name, self.best.name):
            for unfinished in self.folder.glob(f".{name}-*"):
                shutil.rmtree(unfinished)
        for name in _FILES:
            for unfinished in self.folder.glob(f".{name}.*"):
                unfinished.unlink()
        if self.metrics.exists():
            lines = [line for line in self.metrics.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            write_atomic(self.metrics, "".join(line + "\n" for line in kept))


def _kept(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none, RunError where it is broken."""
    try:
        kept = json_of(whole_text(path)) if path.exists() else {}
    except (OSError, ValueError):
        kept = None
    if not isinstance(kept, dict):
        raise RunError(f"{path} is broken", "Restore it, or begin anew with --overwrite.")
    return kept


def step_of(checkpoint: Path) -> int:
    """The step of a folder ``checkpoint-N``."""
    return int(checkpoint.name.rpartition("-")[2])


def _names_relative_paths(recipe: Recipe) -> bool:
    """Whether it matters to those who ask the adapter in which folder it was trained."""
    names = (*recipe.retrieval.indexes, recipe.model.name, recipe.rollout.template)
    paths = [Path(name) for name in names if name and name != WORLD]
    return any(path.exists() and not path.is_absolute() for path in paths)


def _differences(began: Mapping[str, Any], now: Mapping[str, Any], section: str = "") -> Iterator[str]:
    for name, value in began.items():
        if isinstance(value, dict) and isinstance(now[name], dict) and name != "mix":
            yield from _differences(value, now[name], f"{name}.")
        elif value != now[name]:
            yield f"{section}{name} was {value} and is {now[name]}"
