"""README and docs keep up with the code: every command in them is one, every link leads somewhere.

A code block is a picture (``text``) or a console: each ``$`` line is a command, and what follows it is its measured
output. Commands are parsed as the command line parses them, recipes and ``--set`` included; the README's way through
documents of one's own is run.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement

from benchmarks.__main__ import app as benchmarks
from ragr1_lite.cli.main import app
from ragr1_lite.config import load_recipe
from tools.cli_reference import PAGE, reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def consoles() -> Iterator[tuple[str, str]]:
    """Every command of every console, with its page; a backslash carries it on in the next line."""
    for page in PAGES:
        for kind, content in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind == "console":
                for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", content, re.MULTILINE):
                    yield page.relative_to(ROOT).as_posix(), command.replace("\\\n", " ")


COMMANDS = sorted(set(consoles()))


def parsed(words: list[str], of: typer.Typer) -> typer.Context:
    """The context of a command that is parsed and not run."""
    command = typer.main.get_command(of)
    while subcommands := getattr(command, "commands", None):
        command = subcommands[words[0]]
        words = words[1:]
    found: typer.Context = command.make_context("it", words)  # type: ignore[assignment]
    return found


def test_blocks_are_consoles_or_pictures() -> None:
    kinds = {kind for page in PAGES for kind, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
    assert kinds == {"console", "text"}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_are_those_of_the_command_line(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    match words:
        case ["ragr1-lite", *rest]:
            context = parsed(rest, app)
        case ["python", "-m", "benchmarks", *rest]:
            context = parsed(rest, benchmarks)
        case ["accelerate", "launch", "--config_file", config, "--num_processes", _, "-m", "ragr1_lite", *rest]:
            assert (ROOT / config).exists()
            context = parsed(rest, app)
        case ["make", target, *variables]:
            assert all(re.fullmatch(r"[A-Z]+=\S+", variable) for variable in variables)
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
            return
        case ["pip", "install", *what]:
            assert {one for one in what if not one.startswith("-")} <= {
                ".",
                "torch",
                "https://download.pytorch.org/whl/cpu",  # fmt: skip
            }
            return
        case _:
            pytest.fail(f"{page} names a command that no test knows: {command}")
    recipe = context.params.get("recipe")
    if recipe and (ROOT / "recipes" / f"{recipe}.yaml").exists() and "recipes check" not in command:
        load_recipe(recipe, context.params.get("overrides") or [])


def test_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = {
        extra
        for page in PAGES
        for line in re.findall(r"pip install '(ragr1-lite\[[\w,]+\]|\.\[[\w,]+\])'", page.read_text("utf-8"))
        for extra in Requirement(line.replace(".[", "ragr1-lite[")).extras
    }
    assert named and named <= set(extras)


MILL = """# The mill of Aldersby

The mill stands on the river Wend.

Built: 1784
Height: 21 metres
Miller: Anna Roth
"""
CHURCH = """# The church of Aldersby

Built: 1612
Height: 34 metres
Patron: Saint Olaf
"""


def test_own_documents_as_the_readme_has_it(tmp_path: Path) -> None:
    """The README's commands up to the training, which tests/training runs, on a folder of two documents."""
    section = README.split("## Your own documents")[1]
    commands = re.findall(r"^\$ (.*)$", BLOCK.findall(section)[0][1], re.MULTILINE)
    assert len(commands) == 5 and [shlex.split(one)[1] for one in commands[3:]] == ["sft", "ask"]
    documents = tmp_path / "my-documents"
    documents.mkdir()
    (documents / "mill.md").write_text(MILL, encoding="utf-8")
    (documents / "church.md").write_text(CHURCH, encoding="utf-8")
    for command in commands[:3]:
        words = [sys.executable, "-m", "ragr1_lite", *shlex.split(command)[1:]]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "gold.jsonl").read_text(encoding="utf-8").count("\n") >= 3


def every_command() -> list[str]:
    """Every command as a user types it."""
    found = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        found += [f"{name} {sub}" for sub in command.commands] if hasattr(command, "commands") else [name]
    return found


@pytest.mark.parametrize("command", every_command())
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"ragr1-lite {command}`" in README or f"`{command}`" in README


def test_the_readme_fits_a_screen_or_three() -> None:
    assert README.count("\n") <= 150


def test_the_recipes_page_names_every_shipped_recipe_and_no_other() -> None:
    """M in a family's name stands for each model."""
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").split("## Recipes")[1].split("\n## ")[0]
    families = re.findall(r"`((?:sft|grpo|quickstart)-[\w.-]+)`", page)
    models = re.findall(r"`(qwen[\d.]+-[\d.]+b)`", page)
    named = {re.sub(r"-M\b", f"-{model}", family) for family in families for model in models}
    assert named == {path.stem for path in (ROOT / "recipes").glob("*.yaml")}


def test_the_layout_is_that_of_the_package() -> None:
    """docs/architecture.md shows the package two levels deep."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    layout = next(content for _, content in BLOCK.findall(page) if content.startswith("ragr1_lite/"))
    shown, wing = set(), ""
    for line in layout.splitlines()[1:]:
        name = line.split()[0]
        wing = name if line.startswith("  ") and line[2] != " " else wing
        shown.add(name if name == wing else wing + name)
    package = ROOT / "ragr1_lite"
    folders = {f"{init.parent.relative_to(package).as_posix()}/" for init in package.glob("*/__init__.py")}
    folders |= {f"{init.parent.relative_to(package).as_posix()}/" for init in package.glob("*/*/__init__.py")}
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert shown == folders | modules


def test_the_command_reference_is_current() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == reference(), "docs/cli.md is out of date; write it anew with: python -m tools.cli_reference"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", text) if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link).exists()] == []
