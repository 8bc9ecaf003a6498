"""The README keeps up with the command line and the recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every command as a user types it."""
    import typer

    from ragr1_lite.cli import app

    found = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        found += [f"{name} {sub}" for sub in command.commands] if hasattr(command, "commands") else [name]
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"ragr1-lite {command}" in README


def test_every_shipped_recipe_is_in_the_readme() -> None:
    missing = [path.stem for path in (ROOT / "recipes").glob("*.yaml") if path.stem not in README]
    assert not missing


def test_every_recipe_in_the_readme_is_shipped() -> None:
    named = set(re.findall(r"`((?:sft|grpo|quickstart)-[\w.-]+)`", README))
    assert named
    assert named <= {path.stem for path in (ROOT / "recipes").glob("*.yaml")}


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
