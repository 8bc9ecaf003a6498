"""`models`: what is built in, what is cached, and how terms are accepted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.models import builtin
from ragr1_lite.models.builtin import BUILT_IN, BuiltIn

TERMS = "https://ai.google.dev/gemma/terms"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, for which models are made of nothing; a download without accepted terms would be a fault."""

    def make(model: BuiltIn, work: Path, folder: Path, report: Any) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}", "utf-8")

    before = dict(os.environ)
    monkeypatch.setenv("RAGR1_LITE_CACHE", str(tmp_path))
    monkeypatch.delenv("RAGR1_LITE_ACCEPT_TERMS", raising=False)
    monkeypatch.setattr(builtin, "_make", make)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


def run(*arguments: str, typed: str | None = None) -> Any:
    return CliRunner().invoke(app, ["models", *arguments], input=typed)


def cached() -> list[str]:
    return [one["name"] for one in json.loads(run("list", "--json").stdout)["models"] if one["folder"]]


def test_the_list(cache: Path) -> None:
    run("fetch", "smollm2-135m")
    head, *lines = run("list").stdout.splitlines()
    assert head.split() == ["model", "download", "on", "disk", "licence", "cached"]
    assert [line.split()[0] for line in lines] == list(BUILT_IN) and max(map(len, lines)) <= 90
    assert [line.split()[-1] for line in lines] == ["yes", "no", "no", "no"]
    assert run().stdout == run("list").stdout
    found = json.loads(run("list", "--json").stdout)
    assert found["cache"] == str(cache)
    first, second = found["models"][:2]
    assert first["folder"] == str(cache / "smollm2-135m") and first["terms"] is None
    assert second["terms"] == TERMS and second["folder"] is None


def test_fetched_and_removed(cache: Path) -> None:
    result = run("fetch", "qwen2.5-coder-0.5b")
    assert result.exit_code == 0 and result.stdout == f"qwen2.5-coder-0.5b is in {cache / 'qwen2.5-coder-0.5b'}\n"
    assert "491 MB, Apache-2.0; 1.0 GB on disk" in result.stderr
    assert cached() == ["qwen2.5-coder-0.5b"]
    assert run("remove", "qwen2.5-coder-0.5b").stdout == "qwen2.5-coder-0.5b is removed.\n" and cached() == []
    assert run("remove", "qwen2.5-coder-0.5b").stdout == "qwen2.5-coder-0.5b is not in the cache.\n"


@pytest.mark.parametrize("command", ["fetch", "remove"])
def test_only_what_is_built_in(command: str) -> None:
    result = run(command, "qwen")
    assert result.exit_code == 2 and "'qwen' is not one of smollm2-135m, gemma-3-270m" in result.stderr


def test_terms_stop_a_script() -> None:
    result = run("fetch", "gemma-3-270m")
    assert result.exit_code == 1 and TERMS in result.stderr and "models fetch gemma-3-270m" in result.stderr
    assert cached() == []


def test_terms_are_accepted_by_a_flag_or_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("fetch", "gemma-3-270m", "--accept-terms").exit_code == 0 and cached() == ["gemma-3-270m"]
    run("remove", "gemma-3-270m")
    monkeypatch.setenv("RAGR1_LITE_ACCEPT_TERMS", "gemma")
    assert run("fetch", "gemma-3-270m").exit_code == 0 and cached() == ["gemma-3-270m"]


@pytest.mark.parametrize("typed", ["y\n", "n\n", "\n"], ids=["yes", "no", "nothing"])
def test_terms_are_asked_about_on_a_terminal(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragr1_lite.cli.commands import models

    monkeypatch.setattr(models, "on_terminal", lambda: True)
    result = run("fetch", "gemma-3-270m", typed=typed)
    assert TERMS in result.stderr and "Do you accept them?" in result.stderr
    assert (result.exit_code, cached()) == ((0, ["gemma-3-270m"]) if typed == "y\n" else (1, []))
    assert TERMS not in result.stdout
    assert "Do you accept" not in run("fetch", "qwen2.5-coder-0.5b").stderr
