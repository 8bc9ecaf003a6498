"""Breaks the code in one place at a time and counts the breaks that its tests notice: ``make mutants``.

The breaks are cosmic-ray's; the tests of each module are in mutants.toml. All happens in a copy. What the tests
import, the package apart, is imported once: each break is tested in a process forked from there, in a second or two.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import importlib.util
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import tomllib
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ragr1_lite"
TESTS: dict[str, list[str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))["tests"]
MEMORY = 4 * 2**30
PATIENCE = 600.0
"""Seconds after which a break that only waits counts as noticed."""


@dataclass(frozen=True)
class Place:
    """Where a module can be broken, and how: operators of cosmic-ray, each with the number of its occurrence."""

    module: str
    line: int
    ways: list[tuple[Any, int]]


@dataclass(frozen=True)
class Break:
    """One place of a module, broken in one way."""

    module: str
    line: int
    code: str


def tests_of(module: str) -> list[str]:
    """The tests that should notice a break of a module; none where mutants.toml has none."""
    fitting = [name for name in TESTS if module == name or module.startswith(f"{name}/")]
    return [f"tests/{one}" for one in TESTS[max(fitting, key=len)]] if fitting else []


def spans_of_annotations(tree: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations begin and end: nothing reads them when the code runs."""
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if (found := getattr(node, name, None)) is not None:
                yield (found.lineno, found.col_offset), (found.end_lineno, found.end_col_offset)


def places(module: str) -> list[Place]:
    """Every place of a module that can be broken."""
    source = (PACKAGE / module).read_text("utf-8")
    annotated, nodes = [*spans_of_annotations(ast.parse(source))], [*ast_nodes(get_ast(source))]
    ways = defaultdict(list)
    for operator in (get_operator(name) for name in sorted(operator_names())):
        if not operator.arguments():
            starts = (start for node in nodes for start, _ in operator().mutation_positions(node))
            for occurrence, start in enumerate(starts):
                if not any(begin <= start < end for begin, end in annotated):
                    ways[start].append((operator(), occurrence))
    return [Place(module, line, those) for (line, _), those in sorted(ways.items())]


def broken(place: Place, draw: random.Random) -> Break | None:
    """A place broken in one of its ways; nothing where each is no program, or the same one."""
    source = (PACKAGE / place.module).read_text("utf-8")
    for operator, occurrence in draw.sample(place.ways, len(place.ways)):
        with suppress(SyntaxError, AttributeError):  # cosmic-ray fails at `except module.Error`
            code = mutate_code(source, operator, occurrence)
            if code and ast.dump(ast.parse(code)) != ast.dump(ast.parse(source)):
                return Break(place.module, place.line, code)
    return None


class Bench:
    """A copy of the package and its tests, in which breaks are tested."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("ragr1_lite", "tests", "tools", "benchmarks", "recipes", "docs", "examples"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "constraints.txt", "README.md", "CHANGELOG.md", "Makefile"):
            shutil.copy(ROOT / name, folder / name)
        sys.path[:] = [str(folder), *(one for one in sys.path if Path(one).resolve() != ROOT)]
        os.environ |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        os.chdir(folder)

    def whole(self, tests: Sequence[str]) -> float:
        """Runs the tests of what is not broken, imports here what they imported, and returns the seconds they took."""
        names = self.folder / "imported"

        def run() -> int:
            code = run_tests(tests)
            names.write_text("\n".join(sys.modules), "utf-8")
            return code

        began = time.monotonic()
        if self._forked(run, 3_600):
            sys.exit(f"Tests fail though nothing is broken: {' '.join(tests)}\n{self.said()[-3000:]}")
        for name in names.read_text("utf-8").split():
            if name.partition(".")[0] not in ("ragr1_lite", "tests", "tools", "benchmarks", "__main__", "conftest"):
                with suppress(Exception):
                    importlib.import_module(name)
        return time.monotonic() - began

    def survives(self, one: Break, tests: Sequence[str], seconds: int) -> bool:
        """Whether no test notices the break; a test that hangs has noticed it."""
        path = self.folder / "ragr1_lite" / one.module
        right = path.read_text("utf-8")
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
        path.write_text(one.code, "utf-8")

        def run() -> int:
            sys.dont_write_bytecode = True
            return run_tests(tests)

        try:
            return self._forked(run, seconds) == 0
        finally:
            path.write_text(right, "utf-8")

    def said(self) -> str:
        """What the last tests printed."""
        return (self.folder / "said").read_text("utf-8", errors="replace")

    def _forked(self, run: Callable[[], int], seconds: int) -> int:
        """The exit status of a child that runs it; ``seconds`` of the processor are its own."""
        if not (child := os.fork()):
            code = 70
            try:
                with (self.folder / "said").open("w", encoding="utf-8") as said:
                    os.dup2(said.fileno(), 1)
                    os.dup2(said.fileno(), 2)
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
                resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
                os.setpgid(0, 0)
                code = run()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        end = time.monotonic() + max(PATIENCE, seconds)
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.killpg(child, 9)
                ended = os.waitpid(child, 0)
                break
            time.sleep(0.02)
        return ended[1]


def run_tests(tests: Sequence[str]) -> int:
    """Runs tests up to the first that fails; a property that fails is not made small."""
    import hypothesis
    import pytest

    class Quick:
        def pytest_configure(self) -> None:
            phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
            hypothesis.settings.register_profile("quick", hypothesis.settings.get_profile("ours"), phases=phases)
            hypothesis.settings.load_profile("quick")

    options = ["-q", "-x", "--tb=short", "-p", "no:cacheprovider", "-m", "not slow and not gpu and not browser"]
    return int(pytest.main([*options, *tests], plugins=[Quick()]))


def shown(one: Break) -> str:
    """A break as a difference of lines."""
    before = (PACKAGE / one.module).read_text("utf-8").splitlines()
    lines = difflib.unified_diff(before, one.code.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def main() -> None:
    """Draws breaks, tests each, and prints those that no test notices, and the score of each module."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    reader.add_argument("modules", nargs="*", default=[*TESTS], help="modules or folders under ragr1_lite/; else all")
    reader.add_argument("--sample", type=int, default=100, help="how many breaks are drawn; 0: all")
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--minutes", type=float, default=float("inf"), help="when no further one is begun")
    asked = reader.parse_args()
    draw, end = random.Random(asked.seed), time.monotonic() + 60 * asked.minutes
    modules = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
    chosen = [
        one for one in modules if tests_of(one) and any(one == a or one.startswith(f"{a}/") for a in asked.modules)
    ]
    every = [place for module in chosen for place in places(module)]
    drawn = draw.sample(every, min(asked.sample or len(every), len(every)))
    print(f"{len(drawn)} of {len(every)} places in {len(chosen)} modules, seed {asked.seed}", flush=True)
    noticed, taken, score = 0, dict[str, float](), defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for one in filter(None, (broken(place, draw) for place in drawn)):
            if time.monotonic() > end:
                break
            tests = tests_of(one.module)
            if (key := " ".join(tests)) not in taken:
                taken[key] = bench.whole(tests)
            survives = bench.survives(one, tests, 60 + int(3 * taken[key]))
            score[one.module].append(not survives)
            noticed += not survives
            if survives:
                print(f"\nNot noticed: ragr1_lite/{one.module}:{one.line}\n{shown(one)}", flush=True)
        os.chdir(ROOT)
    for module, those in sorted(score.items()):
        print(f"{module:40} {sum(those)} of {len(those)}")
    count = sum(map(len, score.values()))
    print(f"Noticed: {noticed} of {count} ({noticed / max(1, count):.2f})")


if __name__ == "__main__":
    main()
