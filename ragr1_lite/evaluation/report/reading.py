"""What a report is made of: run folders with their metrics, and evaluation files with their trajectories."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.core.errors import RunError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.safe_text import clean, cleaned
from ragr1_lite.evaluation.resources import Resources
from ragr1_lite.evaluation.results import read_results
from ragr1_lite.files.json_arrays import read_rows
from ragr1_lite.files.json_lines import BadLine, json_of, whole_text

METRICS = "metrics.jsonl"
FILES = (METRICS, "summary.json", "recipe.yaml")
"""What is read of a run's folder; the last two may be missing."""
METRICS_FORM = 'Metrics are written by `ragr1-lite sft` and `ragr1-lite grpo`: {"step": 1, "loss": 0.5, ...}.'


@dataclass(frozen=True, slots=True)
class Training:
    """A training run.

    Attributes:
        name: Its folder's.
        steps: The figures of each step that was taken, ``step`` among them.
        summary: Its ``summary.json``, with :class:`Resources`; empty without one.
        recipe: Its ``recipe.yaml``; empty without one.
    """

    name: str
    steps: tuple[Mapping[str, float], ...]
    summary: Mapping[str, Any]
    recipe: str


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The rows of an evaluation file that are of one mode and sample, one a question."""

    name: str
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that a report shows."""

    trainings: tuple[Training, ...]
    evaluations: tuple[Evaluated, ...]


def read_sources(paths: Sequence[Path], report: Report = ignore) -> Sources:
    """Reads run folders and evaluation files; their text, which is foreign, is made safe.

    Raises:
        RunError: A folder holds no metrics of a run, or a summary that is broken.
        DataError: A file is missing or of another form.
    """
    trainings = tuple(_training(path, report) for path in paths if path.is_dir())
    evaluations = tuple(one for path in paths if not path.is_dir() for one in _evaluations(path, report))
    return Sources(trainings, evaluations)


def _training(folder: Path, report: Report) -> Training:
    metrics, summary, recipe = (folder / name for name in FILES)
    if not metrics.exists():
        raise RunError(
            f"There is no {METRICS} in {folder}", "Name the folder of a training run, or a file of `eval --out`."
        )
    return Training(
        clean(folder.resolve().name),
        tuple(read_rows(metrics, _step, METRICS_FORM, report)),
        _summary(summary) if summary.exists() else {},
        clean(recipe.read_bytes().decode(errors="replace")) if recipe.is_file() else "",
    )


def _summary(path: Path) -> dict[str, Any]:
    try:
        summary = dict(json_of(whole_text(path)))
        if spent := summary.get("resources"):
            summary["resources"] = Resources.from_json(spent)
        return summary
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise RunError(f"{path} cannot be read", "It is not needed: delete it and try again.") from None


def _step(row: dict[str, Any], number: int) -> dict[str, float]:
    """The figures of a step; null is read as not a number, which JSON cannot write.

    Raises:
        BadLine: It has no number, or a figure is none.
    """
    figures = {name: math.nan if value is None else value for name, value in row.items()}
    if not all(isinstance(value, int | float) for value in figures.values()) or row.get("step") is None:
        raise BadLine("is no step of a training run")
    return {name: value if math.isfinite(value) else math.nan for name, value in figures.items()}


def _evaluations(path: Path, report: Report) -> Iterator[Evaluated]:
    """The evaluations of a file: one for each mode in it, and for each sample where questions were asked again."""
    parts: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in read_results(path, report):
        parts.setdefault((row["mode"], row.get("sample", 0)), []).append(cleaned(row))
    modes, samples = {mode for mode, _ in parts}, {sample for _, sample in parts}
    for (mode, sample), rows in parts.items():
        names = [clean(path.name.partition(".")[0])]
        names += [mode] * (len(modes) > 1) + [f"sample {sample + 1}"] * (len(samples) > 1)
        yield Evaluated(" · ".join(names), tuple(rows))
