"""The command line: parses, calls the library, maps errors to exit codes. Heavy packages are imported by the commands.

Exit codes: 0 done · 1 something the user can fix · 2 wrong usage, option or recipe · 70 a bug of ours ·
130 stopped with Ctrl-C · 143 a server stopped by SIGTERM · 141 the reader of our output closed it.
"""

from __future__ import annotations

import io
import os
import sys
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ragr1_lite import __version__
from ragr1_lite.cli.commands.options import STYLE
from ragr1_lite.cli.lost_pages import explain_lost_pages
from ragr1_lite.cli.session import Options

__all__ = ["app", "main"]

COMMANDS = {
    "ask": ("ask", "Answer a question, showing thoughts, searches and documents."),
    "log": ("log", "List, search and empty the log of what was answered."),
    "sft": ("train", "Train an adapter on gold trajectories (stage 1)."),
    "grpo": ("train", "Train an adapter by reinforcement on its own searches (stage 2)."),
    "quickstart": (
        "train",
        "Answer a question, then train a model that searches, from nothing: SFT, GRPO, and what each of them gains.",
    ),
    "learn": (
        "learn",
        "Learn a folder: index, questions, trajectories, SFT, GRPO, and the same questions before and after.",
    ),
    "eval": ("evaluate", "Measure a model on questions with known answers."),
    "compare": ("evaluate", "Test whether one evaluation is better than another, question by question."),
    "report": (
        "evaluate",
        "Show runs and evaluations on one page: curves, figures, causes of failure, every trajectory.",
    ),
    "study": ("evaluate", "Vary one thing, keep the rest, and see what it does: a table and a plot."),
    "plan": ("train", "Predict a training's memory, measure its time with --probe, and propose what fits."),
    "doctor": ("train", "Check what training needs: packages, card, memory, disk, model caches."),
    "serve": ("serve", "Answer questions over HTTP, in the form of OpenAI's chat completions."),
    "export": (
        "export",
        "Write a trained model for other programs: a folder, a GGUF file, an Ollama model, a hub repository.",
    ),
    "mcp": ("mcp", "Give other programs the tools `search`, `read` and `answer`, by the Model Context Protocol (MCP)."),
    "index": ("", "Build, search and check BM25 indexes of your own passages."),
    "data": ("", "Make training data."),
    "recipes": ("", "The training recipes that come with ragr1-lite."),
    "models": ("", "The built-in models: what there is, fetched and removed."),
}
"""Each command's module in :mod:`ragr1_lite.cli.commands`, empty for a group of its own, and its first sentence."""


class _Root(TyperGroup):
    """Imports and builds a command when it is wanted: to build them all takes longer than Python's own start."""

    @property
    def commands(self) -> dict[str, Any]:
        return {name: _command(name) for name in COMMANDS}

    @commands.setter
    def commands(self, none: object) -> None:
        """Typer sets those it knows, which are none."""

    def list_commands(self, ctx: object) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> Any:
        return _command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: object, formatter: Any) -> None:
        width = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, TyperCommand(name, help=help).get_short_help_str(width))
                    for name, (_, help) in COMMANDS.items()
                ]
            )


@cache
def _command(name: str) -> Any:
    module, help = COMMANDS[name]
    commands = import_module(f"ragr1_lite.cli.commands.{module or name}").app
    if not module:
        alone, commands = commands, typer.Typer(**STYLE)
        commands.add_typer(alone, name=name, help=help)
    return typer.main.get_group(commands).commands[name]


app = typer.Typer(
    name="ragr1-lite",
    cls=_Root,
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


def main() -> None:
    """The entry point. ``--debug`` and ``--quiet`` may stand anywhere before a ``--``."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed: a file would get its number, and what libraries print
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    explain_lost_pages()
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    hoisted = [argument for argument in arguments[:end] if argument in ("--debug", "--quiet")]
    rest = [argument for argument in arguments[:end] if argument not in hoisted]
    try:
        app(hoisted + rest + arguments[end:], prog_name="ragr1-lite")
    except OSError as error:  # of the help or the version; a command explains its own
        sys.stderr.write(f"Error: The output cannot be written ({error.strerror or error}).\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would write what the stream still holds once more
        sys.exit(1)


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
