"""Two runs begun in one place at once: every command that takes long refuses to be the second, in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import build_index
from tests.support.at_work import another

COMMANDS = {
    "sft": "sft sft-smollm2-135m --set output={out}",
    "grpo": "grpo grpo-smollm2-135m --set output={out} --set model.adapter=null",
    "eval": "eval --out {out}",
    "study": "study queries --out {out}",
    "learn": "learn {folder} --out {out}",
    "data generate": "data generate world --index world --out {out}",
    "data make-questions": "data make-questions world --out {out}",
    "data select": "data select world --index world --out {out}",
    "index build": "index build {folder} --out {out}",
    "index update": "index update {out}",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_second_is_refused(command: str, tmp_path: Path) -> None:
    out, folder = tmp_path / "out", tmp_path / "documents"
    folder.mkdir()
    (folder / "a.txt").write_text("A text.", "utf-8")
    if command == "index update":
        build_index([Passage("1", "Chad", "A land.")], out)
    before = sorted(tmp_path.rglob("*"))
    with another(out):
        result: Any = CliRunner().invoke(app, COMMANDS[command].format(out=out, folder=folder).split())
    assert result.exit_code == 1 and "Another run is writing" in result.stderr, result.stderr
    left = {path for path in tmp_path.rglob("*") if path.name != ".out.lock"}
    assert sorted(left) == before and result.stdout == ""
