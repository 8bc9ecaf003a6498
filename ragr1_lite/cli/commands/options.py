"""The options that commands share, and how every group of commands looks."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import typer

from ragr1_lite.core.types import Mode

STYLE: Any = {"rich_markup_mode": None, "no_args_is_help": True, "add_completion": False}


def group(help: str | None = None) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=help, **STYLE)


def examples(*lines: str) -> str:
    """An epilog whose lines stay as they are."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def _known_modes(names: list[str] | None) -> list[str] | None:
    """Typer cannot check a list of literals itself."""
    for name in names or ():
        if name not in get_args(Mode):
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(get_args(Mode))}.")
    return names


Model = Annotated[
    str | None,
    typer.Option(help="A built-in name, a folder or a hub id. [default: what fits this machine]", metavar="MODEL"),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        help="An adapter folder, or `none` for the base model alone. [default: the one shipped for the model]",
        metavar="FOLDER",
    ),
]
Index = Annotated[
    str | None, typer.Option(help="An index folder or URL. [default: the run's own, else `world`]", metavar="INDEX")
]
Passages = Annotated[
    int | None,
    typer.Option(
        "--k", "-k", min=1, metavar="N", help="Passages per query. [default: the run's own, else the model's recipe's]"
    ),
]
MaxQueries = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Parallel queries per search, at most. [default: the run's own, else 3]"),
]
AskedMode = Annotated[Mode | None, typer.Option(help="How the model may search. [default: the run's own, else multi]")]
Modes = Annotated[
    list[str] | None,
    typer.Option(
        callback=_known_modes,
        metavar="|".join(get_args(Mode)),
        help="How the model may search; may be repeated. [default: the run's own, else multi]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or a name from `recipes list`.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as train.steps=200. May be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run has finished.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
TeacherModel = Annotated[
    str | None, typer.Option(metavar="NAME", help="The model at an endpoint. [default: its only one]")
]
Concurrency = Annotated[int, typer.Option(min=1, metavar="N", help="Requests to an endpoint at a time.")]
Timeout = Annotated[float, typer.Option(min=1, metavar="SECONDS", help="For an endpoint's answer.")]
