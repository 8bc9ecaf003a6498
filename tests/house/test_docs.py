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

    from ragr1_lite.cli.main import app

    found = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        found += [f"{name} {sub}" for sub in command.commands] if hasattr(command, "commands") else [name]
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"ragr1-lite {command}" in README


def named_recipes() -> set[str]:
    """Every recipe the README names; M in a family's name stands for each model."""
    families = re.findall(r"`((?:sft|grpo|quickstart)-[\w.-]+)`", README)
    models = re.findall(r"`(qwen[\d.]+-[\d.]+b)`", README)
    return {re.sub(r"-M\b", f"-{model}", family) for family in families for model in models}


def test_the_readme_names_every_shipped_recipe_and_no_other() -> None:
    assert named_recipes() == {path.stem for path in (ROOT / "recipes").glob("*.yaml")}


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
