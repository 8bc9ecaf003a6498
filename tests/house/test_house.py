"""The house keeps its own rules: one version, everything shipped, nothing heavy or unsafe where it must not be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import ragr1_lite

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ragr1_lite"
SOURCES = sorted(PACKAGE.rglob("*.py"))
HEAVY = "accelerate bitsandbytes bm25s datasets numba peft torch transformers trl unsloth".split()
OWNERS = set("cli.quickstart models training retrieval.bm25.kernel".split())
"""Modules and packages that may import a heavy package at their top, as ruff's per-file ignores have them."""

IMPORT_EACH = """
import importlib, sys
modules, heavy = (set(argument.split()) for argument in sys.argv[1:])
for module in sorted(modules):
    importlib.import_module(module)
    if came := sorted(heavy & set(sys.modules)):
        sys.exit(f"{module} imports {', '.join(came)}")
"""


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def module_name(source: Path) -> str:
    parts = source.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize(
    "name",
    "ragr1_lite cli.py recipes examples tests pyproject.toml README.md LICENSE CHANGELOG.md Makefile .ci/run".split(),
)
def test_top_level_is_complete(name: str) -> None:
    assert (ROOT / name).exists()


def test_version_has_one_home(pyproject: dict[str, Any]) -> None:
    assert "version" not in pyproject["project"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "ragr1_lite/__init__.py"
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest
    assert Version(newest[1]) == Version(ragr1_lite.__version__)


def test_pins_are_within_the_ranges(pyproject: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {line.split("==")[0].lower(): line.split("==")[1] for line in lines if "==" in line}
    project = pyproject["project"]
    ranges = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    wanted = [need for line in ranges if (need := Requirement(line)).name != project["name"]]  # its own extras
    assert [need.name for need in wanted if need.name.lower() not in pins] == []
    assert [str(need) for need in wanted if pins[need.name.lower()] not in need.specifier] == []


def test_every_folder_of_modules_is_a_package() -> None:
    assert [folder for folder in {source.parent for source in SOURCES} if not (folder / "__init__.py").exists()] == []


def test_type_hints_are_announced() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_recipes_and_pins_go_into_the_wheel(pyproject: dict[str, Any]) -> None:
    wheel = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {
        "recipes": "ragr1_lite/recipes",
        "constraints.txt": "ragr1_lite/constraints.txt",
    }
    assert list((ROOT / "recipes").glob("*.yaml"))


def test_no_file_of_the_package_is_large() -> None:
    files = (path for path in PACKAGE.rglob("*") if path.is_file())
    assert [path for path in files if path.stat().st_size > 12_000_000] == []


@pytest.mark.parametrize(
    "unsafe",
    [
        r"^\s*(import|from) (pickle|dill|joblib|marshal|shelve)\b",
        r"(?<![\w.])(eval|exec)\(",
        r"trust_remote_code\s*=\s*True",
        r"weights_only\s*=\s*False",
        r"\byaml\.(unsafe_load|full_load|load)\(",
        r"shell\s*=\s*True",
    ],
)
def test_package_runs_no_foreign_code(unsafe: str) -> None:
    found = [source for source in SOURCES if re.search(unsafe, source.read_text("utf-8"), re.MULTILINE)]
    assert found == []


def test_what_is_timed_hangs_on_no_clock_that_jumps() -> None:
    """The clock on the wall may be set; it dates answers, is compared with files' times, and measures nothing."""
    wall = re.compile(r"\btime\.(time|time_ns)\(|\bdatetime\.(utc)?now\(|^from time import", re.MULTILINE)
    found = {module_name(source) for source in SOURCES if wall.search(source.read_text("utf-8"))}
    dates = {"ragr1_lite.files.answer_log", "ragr1_lite.serving.api.replies", "ragr1_lite.retrieval.corpora.sources"}
    assert found == dates


def test_light_modules_import_nothing_heavy() -> None:
    owners = {f"ragr1_lite.{owner}" for owner in OWNERS}
    every = {module_name(source) for source in SOURCES if source.name != "__main__.py"}
    modules = {one for one in every if not any(one == owner or one.startswith(f"{owner}.") for owner in owners)}
    command = [sys.executable, "-c", IMPORT_EACH, " ".join(modules), " ".join(HEAVY)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_make_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    targets = set(phony[1].split()) - {"help"}
    assert targets == set(re.findall(r'^\t@echo "make ([\w-]+) ', makefile, re.MULTILINE))


def test_the_last_line_says_what_the_lack_of_a_browser_left_out(tmp_path: Path) -> None:
    names = [f"def test_{number}(browser): pass" for number in range(3)]
    (tmp_path / "test_pages.py").write_text("\n".join([*names, "def test_other(): pass\n"]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-n", "2", "test_pages.py"],
        cwd=tmp_path,
        env=os.environ | {"PATH": "", "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    *_, counts, last = done.stdout.strip().splitlines()
    assert "1 passed, 3 skipped" in counts, done.stdout + done.stderr
    assert last.startswith("no Chromium was found: 3 tests were left out; to run them: ")
    assert last.endswith(" chromium")
