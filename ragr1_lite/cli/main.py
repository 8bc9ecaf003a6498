"""The command line: parses, calls the library, maps errors to exit codes. Heavy packages are imported by the commands.

Exit codes: 0 done · 1 something the user can fix · 2 wrong usage, option or recipe · 70 a bug of ours ·
130 stopped with Ctrl-C · 141 the reader of our output closed it.
"""

from __future__ import annotations

import io
import sys
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ragr1_lite import __version__
from ragr1_lite.cli.commands import ask, doctor, evaluate, plan, report, study, train
from ragr1_lite.cli.commands.options import STYLE, group
from ragr1_lite.cli.session import Options

__all__ = ["app", "main"]

GROUPS = {
    "index": "Build, search and check BM25 indexes of your own passages.",
    "data": "Make training data.",
    "recipes": "The training recipes that come with ragr1-lite.",
}
"""Modules of :mod:`ragr1_lite.cli.commands` that are groups of their own."""


class _LazyGroup(TyperGroup):
    """A group that builds its commands when one is wanted: building them all takes longer than Python's own start."""

    @property
    def commands(self) -> dict[str, Any]:
        return _commands_of(str(self.name))

    @commands.setter
    def commands(self, none: object) -> None:
        """Typer sets those it knows, which are none."""


@cache
def _commands_of(name: str) -> dict[str, Any]:
    return dict(typer.main.get_group(import_module(f"ragr1_lite.cli.commands.{name}").app).commands)


app = typer.Typer(
    name="ragr1-lite",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\n"
    "Start here:\n"
    '  ragr1-lite ask "Which has the higher highest point, Chad or Niger?"\n'
    "  ragr1-lite quickstart\n"
    "\b\n"
    "Results go to stdout, progress to stderr. Exit codes: 0 done, 1 something you\n"
    "can fix, 2 wrong usage or recipe, 70 a bug of ours, 130 stopped by Ctrl-C.",
    **STYLE,
)
for module in (ask, train, evaluate, report, study, plan, doctor):
    app.add_typer(module.app)
for name, help in GROUPS.items():
    app.add_typer(group(help), name=name, cls=_LazyGroup)


def main() -> None:
    """The entry point. ``--debug`` and ``--quiet`` may stand anywhere before a ``--``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    hoisted = [argument for argument in arguments[:end] if argument in ("--debug", "--quiet")]
    rest = [argument for argument in arguments[:end] if argument not in hoisted]
    app(hoisted + rest + arguments[end:], prog_name="ragr1-lite")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ragr1-lite {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and other libraries' messages.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress: only results, warnings and errors.")] = False,
) -> None:
    """Train a small model to think, search several things at once, and answer right."""
    context.obj = Options(debug, quiet)
