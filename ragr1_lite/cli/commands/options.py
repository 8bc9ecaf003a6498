"""The options that commands share, and how every group of commands looks; imported as ``opt``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from typer import Argument, BadParameter, Option, Typer

from ragr1_lite.core.types import Mode

STYLE: Any = {"rich_markup_mode": None, "no_args_is_help": True, "add_completion": False}
Command = Callable[[Callable[..., None]], Callable[..., None]]


class Group(Typer):
    """A group of commands."""

    def __init__(self, help: str | None = None) -> None:
        super().__init__(help=help, **STYLE)

    def add(self, name: str, *examples: str, help: str | None = None) -> Command:
        """Adds the decorated command, whose help ends with the examples, a line each."""
        lines = ("\b", "Examples:", *(f"  {line}" for line in examples))
        return self.command(name, help=help, epilog="\n".join(lines) if examples else None)


def _known_modes(names: list[str] | None) -> list[str] | None:
    """Typer cannot check a list of literals itself."""
    for name in names or ():
        if name not in get_args(Mode):
            raise BadParameter(f"{name!r} is not one of {', '.join(get_args(Mode))}.")
    return names


def whole(text: str) -> str:
    r"""What was typed, also in a locale that knows no more than ASCII: Python then holds other bytes as surrogates.

    >>> whole("Caf\udcc3\udca9")
    'Café'
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:  # bytes of another encoding
        return text


def on_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def all_whole(texts: list[str] | None) -> list[str] | None:
    """:func:`whole` of each, as the callback of an argument."""
    return [whole(text) for text in texts] if texts else texts


# The model, the index and how they are used: a Setup
_MODEL = "A built-in name, a folder or a hub id. [default: the adapter's, else a built-in one that was trained]"
_ADAPTER = "A run's folder, an adapter's, a checkpoint or a hub id; `none`: the bare model. [default: the model's own]"
_INDEX = "An index folder or URL; may be repeated. [default: the run's own, else `world`]"
_K = "Passages per query. [default: the run's own, else the model's recipe's]"
_MAX_QUERIES = "Parallel queries per search, at most; 3,2,1: by search. [default: the run's own, else 3]"
_MODE = "How the model may search. [default: the run's own, else multi]"
_MODES = "How the model may search; may be repeated. [default: the run's own, else multi]"
Model = Annotated[str | None, Option(metavar="MODEL", help=_MODEL)]
Adapter = Annotated[str | None, Option(metavar="ADAPTER", help=_ADAPTER)]
Indexes = Annotated[list[str] | None, Option("--index", metavar="INDEX", help=_INDEX)]
K = Annotated[int | None, Option("--k", "-k", min=1, metavar="N", help=_K)]
MaxQueries = Annotated[str | None, Option(metavar="N", help=_MAX_QUERIES)]
AskedMode = Annotated[Mode | None, Option(help=_MODE)]
Modes = Annotated[list[str] | None, Option(callback=_known_modes, metavar="|".join(get_args(Mode)), help=_MODES)]
BatchSize = Annotated[int, Option(min=1, metavar="N", help="Questions answered together.")]

# Questions and trajectories
_QUESTIONS = "Question files, or hub:OWNER/NAME; see `data inspect`."
Questions = Annotated[list[str], Argument(metavar="QUESTIONS", help=_QUESTIONS)]
Limit = Annotated[int | None, Option(min=1, metavar="N", help="At most this many. [default: all]")]
Kinds = Annotated[list[str] | None, Option("--kind", metavar="KIND", help="Only this kind; may be repeated.")]
TestSplit = Annotated[Literal["test", "dev"], Option(help="Split of the embedded world.")]
TrainedMode = Annotated[Literal["multi", "single"], Option(help="How the trajectories search.")]
Seed = Annotated[int, Option(metavar="N", help="Random seed.")]

# Teachers
Concurrency = Annotated[int, Option(min=1, metavar="N", help="Requests to an endpoint at a time.")]
TeacherModel = Annotated[str | None, Option(metavar="NAME", help="The model at an endpoint. [default: its only one]")]
Timeout = Annotated[float, Option(min=1, metavar="SECONDS", help="Time limit of an endpoint's answer.")]

# Recipes
_OVERRIDES = "Change a key, such as train.steps=200. May be repeated."
RecipeName = Annotated[str, Argument(metavar="RECIPE", help="A YAML file, or a name from `recipes list`.")]
Overrides = Annotated[list[str] | None, Option("--set", metavar="KEY=VALUE", help=_OVERRIDES)]

# Results
AsJson = Annotated[bool, Option("--json", help="Print the result as JSON.")]
Plain = Annotated[bool, Option("--plain", "--no-color", help="No colours and boxes.")]
NoLog = Annotated[bool, Option("--no-log", help="Keep no log of what is answered; see `log`.")]
Resume = Annotated[bool, Option("--resume", help="Continue an interrupted run.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace what is there.")]
