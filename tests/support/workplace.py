"""Folders that trainings and commands work in, and command lines in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.data.trajectories import write_records
from tests.evaluation.test_report import saved
from tests.support import tiny

ROWS = [{"id": str(n), "title": f"Land {n}", "text": f"The capital of Land {n} is Town {n}. " * 9} for n in range(300)]
QUESTIONS = [
    {"id": str(n), "question": f"What is the capital of Land {n}?", "answers": [f"Town {n}"],
     "supporting_facts": [[f"Land {n}", 0]], "context": [[f"Land {n}", [f"The capital of Land {n} is Town {n}."]]]}
    for n in range(60)
]  # fmt: skip


def training_folder(folder: Path, count: int = 8) -> Path:
    """A folder with a model, and trajectories that serve as questions, too."""
    recipe = tiny.make_recipe("sft", tiny.save_byte_model(folder / "tiny-byte"), folder / "none")
    write_records(folder / "trajectories.jsonl", tiny.gold(tiny.load(recipe), recipe, count))
    return folder


def asking_folder(folder: Path) -> Path:
    """That with the run of an adapter, and questions about ``ROWS``."""
    recipe = tiny.make_recipe("sft", training_folder(folder) / "tiny-byte", folder / "run")
    tiny.save_foreign_adapter(folder / "tiny-byte", folder / "run" / "adapter")
    (folder / "run" / "recipe.yaml").write_text(recipe.dump(), "utf-8")
    saved(folder / "questions.jsonl", *QUESTIONS)
    return folder


def run(line: str) -> Any:
    return CliRunner().invoke(app, line.split())


def untimed(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]
