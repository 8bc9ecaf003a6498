"""`doctor`: a line for each thing, JSON for programs, an exit code for scripts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli import doctor
from ragr1_lite.cli.doctor import Finding
from ragr1_lite.cli.main import app

WELL = (Finding("python", "3.11.7 on Linux"), Finding("gpu", "none found"))
ILL = Finding("trl", "\x1b[31m1.15.0\x1b[0m, [red]wrong[/red]", 'pip install "trl==1.14.2"')


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["doctor", *arguments])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Puts findings in the place of a check of this machine; holds whether the hub was to be asked."""
    seen: list[bool] = []
    monkeypatch.setattr(doctor, "examine", lambda *, online: seen.append(online) or list(WELL))
    return seen


def test_help() -> None:
    text = run("--help").stdout
    assert "--online" in text and "--json" in text and all(len(line) <= 90 for line in text.splitlines())


def test_all_is_well(asked: list[bool]) -> None:
    result = run()
    assert (result.exit_code, asked) == (0, [False])
    assert result.stdout == "ok  python  3.11.7 on Linux\nok  gpu     none found\n"
    assert run("--online").exit_code == 0 and asked == [False, True]


def test_what_is_broken_comes_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda *, online: [*WELL, ILL])
    result = run()
    assert result.exit_code == 1 and "\x1b" not in result.stdout
    *_, line, fix = result.stdout.splitlines()
    assert line.split() == ["BAD", "trl", "1.15.0,", "[red]wrong[/red]"]
    assert fix.strip() == '→ pip install "trl==1.14.2"'


def test_json(monkeypatch: pytest.MonkeyPatch, asked: list[bool]) -> None:
    found = json.loads(run("--json").stdout)
    assert found["ok"] and found["findings"][1] == {"name": "gpu", "ok": True, "detail": "none found", "fix": ""}
    monkeypatch.setattr(doctor, "examine", lambda *, online: [*WELL, ILL])
    result = run("--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1 and not found["ok"] and found["findings"][-1]["fix"] == ILL.fix
