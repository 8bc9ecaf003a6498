"""Writes reports: figures and trajectories through templates, into one file that needs no other."""

from __future__ import annotations

import base64
import gzip
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ragr1_lite import __version__
from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.evaluation.report.curves import plots
from ragr1_lite.evaluation.report.tables import (
    FILES,
    INTERVALS,
    Evaluated,
    Sources,
    causes,
    cell,
    courses,
    evaluation_rows,
    kinds,
    pairs,
    read_sources,
    resources,
)
from ragr1_lite.files.json_lines import reading
from ragr1_lite.files.writing import json_text, refuse_input, write_atomic
from ragr1_lite.versions import install_hint

Format = Literal["html", "md"]
_MADE = ('<meta name="generator" content="ragr1-lite ', "\nMade by ragr1-lite ")
"""What a page has near its beginning, and a card near its end."""
_NEAR = 4096


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    format: Format = "html",
    title: str | None = None,
    overwrite: bool = False,
    report: Report = ignore,
) -> dict[str, Any]:
    """Writes the report of training runs and evaluations.

    The last evaluation is compared with each other one of the same questions. An earlier report in the place of
    ``out`` is replaced; another file only to ``overwrite`` it, and none that is read.

    Returns:
        ``file``, ``bytes``, and the numbers of ``trainings``, ``evaluations`` and ``trajectories`` in it.

    Raises:
        ConfigError: The packages for reports are not installed.
        RunError: A folder is no training run's.
        DataError: A file cannot be used, or ``out`` is one that is not to be replaced.
        StorageError: The report cannot be written.
    """
    refuse_input(out, (file for run in runs for file in (run, *(run / name for name in FILES))), "-o")
    if out.exists() and not (overwrite or _is_report(out)):
        raise DataError(f"{out} exists and is no report", "Add --overwrite, or choose another -o.")
    sources = read_sources(runs, report)
    names = [*(one.name for one in sources.trainings), *(one.name for one in sources.evaluations)]
    text = _rendered(sources, format, title or ", ".join(dict.fromkeys(names)))
    write_atomic(out, text)
    return {
        "file": str(out),
        "bytes": len(text.encode()),
        "trainings": len(sources.trainings),
        "evaluations": len(sources.evaluations),
        "trajectories": sum(len(one.every) for one in sources.evaluations),
    }


def _is_report(path: Path) -> bool:
    """Whether a file was written here, as a page or a card."""
    if not path.is_file():
        return False
    with reading(path), path.open("rb") as file:
        head = file.read(_NEAR)
        file.seek(max(0, path.stat().st_size - _NEAR))
        tail = file.read(_NEAR)
    page, card = (mark.encode() for mark in _MADE)
    return page in head or (head.startswith(b"# ") and card in tail)


def _rendered(sources: Sources, format: Format, title: str) -> str:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise ConfigError("Reports need Jinja2", install_hint("report")) from None
    templates = Environment(
        loader=PackageLoader(__package__),
        autoescape=lambda name: name is None or ".html." in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"cell": cell}
    known: dict[str, Any] = {
        "title": title,
        "version": __version__,
        "evaluations": evaluation_rows(sources.evaluations),
        "kinds": kinds(sources.evaluations),
        "intervals": INTERVALS,
        "pairs": pairs(sources.evaluations) if sources.evaluations else [],
        "causes": causes(sources.evaluations),
        "trainings": [
            {"run": one, "courses": courses(one.steps), "resources": resources(one)} for one in sources.trainings
        ],
    }
    if format == "html":
        known |= _parts(sources, templates.loader)
    return templates.get_template(f"report.{format}.j2").render(known)


def _parts(sources: Sources, loader: Any) -> dict[str, Any]:
    """What only a page has: drawings, trajectories, style and script, which the browser runs by its hash alone."""
    assets = {name: loader.get_source(None, name)[0] for name in ("page.css", "plots.js", "browser.js")}
    script = assets["plots.js"] + assets["browser.js"]
    return {
        "plots": [plots(one.steps) for one in sources.trainings],
        "data": _packed(pack(sources.evaluations)) if sources.evaluations else "",
        "style": assets["page.css"],
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def _packed(value: Mapping[str, Any]) -> str:
    """JSON, compressed, in letters that mean nothing to HTML."""
    return base64.b64encode(gzip.compress(json_text(value).encode(), mtime=0)).decode()


_KEPT = ("answer", "read_by", "stop_reason", "cause", "seconds", "em", "f1", "rounds", "queries", "segments")
_SCORE_DIGITS = 2
_Numbers = dict[tuple[str, str], int]
"""Of each passage, by its title and what the model saw of its text."""


def pack(evaluations: Sequence[Evaluated]) -> dict[str, Any]:
    """The questions of all evaluations, with the answer of each.

    Returns:
        ``evaluations``, their names; ``passages``, ``[title, text]`` each; ``questions``, each with its ``tries``: one
        for each evaluation, null where that one was not asked it. What a query found is ``[passage's number, score]``.
    """
    numbers: _Numbers = {}
    questions: dict[tuple[str, str], dict[str, Any]] = {}
    for number, evaluation in enumerate(evaluations):
        for row in evaluation.every:
            known = {
                "id": row["id"],
                "question": row["question"],
                "answers": row["answers"],
                "kind": row.get("kind") or "",
            }
            known |= {"titles": row.get("gold_titles") or [], "tries": [None] * len(evaluations)}
            kept = {name: row[name] for name in _KEPT if row.get(name) is not None}
            tries = questions.setdefault((row["id"], row["question"]), known)["tries"]
            tries[number] = {**kept, "turns": [_turn(turn, numbers) for turn in row["turns"]]}
    return {
        "evaluations": [one.name for one in evaluations],
        "passages": list(numbers),
        "questions": list(questions.values()),
    }


def _turn(turn: Mapping[str, Any], numbers: _Numbers) -> dict[str, Any]:
    parts = {
        "think": turn["think"],
        "queries": turn.get("queries"),
        "found": [[_found(passage, numbers) for passage in found] for found in turn.get("passages") or ()],
    }
    return {"kind": turn["kind"]} | {name: value for name, value in parts.items() if value}


def _found(passage: Mapping[str, Any], numbers: _Numbers) -> list[float]:
    """The passage's number, a new one where it was not seen before, and its score."""
    key, score = (passage["title"], passage.get("shown", passage["text"])), passage.get("score")
    shown = round(score, _SCORE_DIGITS) if score is not None and math.isfinite(score) else 0.0
    return [numbers.setdefault(key, len(numbers)), shown]
