"""Writes docs/cli.md from the commands themselves: ``python -m tools.cli_reference``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from typer.models import ArgumentInfo

from ragr1_lite.cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
HEAD = """\
# Commands

Written by `python -m tools.cli_reference` from the commands' own help; `ragr1-lite COMMAND --help` shows the same.
Results go to stdout, progress to stderr; `--json` prints the result as one line of JSON. `--quiet` and `--debug` may
stand anywhere, `--version` alone.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | something you can fix; the error says how |
| 2 | wrong usage, option or recipe |
| 70 | a bug of ours: run again with `--debug` and report it |
| 130 | stopped by Ctrl-C |
| 143 | a server stopped by SIGTERM |
| 141 | the reader of the output closed it |
"""


def reference() -> str:
    """The page: every command with its usage, arguments, options, defaults, JSON form and examples."""
    group: Any = typer.main.get_command(app)
    sections = dict(_commands(group, "ragr1-lite"))
    links = "".join(f"- [`{name}`](#{name.replace(' ', '-')}): {_summary(one)}\n" for name, one in sections.items())
    return "\n".join([HEAD, links, *(_section(name, one) for name, one in sections.items())])


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for part, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command


def _summary(command: Any) -> str:
    return str(" ".join(command.help.split("\n\n")[0].split()))


def _section(name: str, command: Any) -> str:
    """A command: what it does, its usage, a table of parameters, its JSON form, its examples."""
    _context, *given = inspect.signature(command.callback, eval_str=True).parameters.values()
    parameters = [one for one in map(_Parameter, given) if not one.hidden]
    usage = " ".join([name, "[OPTIONS]", *(one.usage for one in parameters if one.is_argument)])
    paragraphs = command.help.split("\n\n")
    parts = [f"## {name}", *(one for one in paragraphs if not one.startswith("JSON")), f"```text\n{usage}\n```"]
    parts.append("\n".join(["| parameter | meaning | default |", "|---|---|---|", *(one.row for one in parameters)]))
    parts += [f"```text\n{one}\n```" for one in paragraphs if one.startswith("JSON")]
    if command.epilog:
        parts.append(f"```console\n{_examples(command.epilog)}\n```")
    return "\n\n".join(parts) + "\n"


class _Parameter:
    """A parameter of a command's function, whose annotation holds what Typer was given."""

    def __init__(self, parameter: inspect.Parameter) -> None:
        kind, self._info = get_args(parameter.annotation)
        self.is_argument, self.hidden = isinstance(self._info, ArgumentInfo), self._info.hidden
        self._is_flag = kind is bool
        self._several = get_origin(kind) is list
        choices = [one for part in (kind, *get_args(kind)) if get_origin(part) is Literal for one in get_args(part)]
        self._metavar = self._info.metavar or "|".join(choices) or parameter.name.upper()
        # In an annotation, Typer's first declaration is taken for the default.
        first = [self._info.default] if isinstance(self._info.default, str) else []
        self._names = [*first, *(self._info.param_decls or ())] or ["--" + parameter.name.replace("_", "-")]
        self._default = parameter.default

    @property
    def usage(self) -> str:
        """An argument as the usage line has it."""
        name = self._metavar.rstrip(".") + ("..." if self._several else "")
        return name if self._default is inspect.Parameter.empty else f"[{name}]"

    @property
    def row(self) -> str:
        """Names, meaning and default; a default in the help's text takes the place of None."""
        text, default = self._info.help or "", self._default
        if named := re.search(r"\s*\[default: (.*)\]$", text):
            text, default = text[: named.start()], named[1]
        elif default is inspect.Parameter.empty:
            default = "required"
        elif default is None or default is False:
            default = ""
        low, high = self._info.min, self._info.max
        if low is not None:
            text += f" At least {low:g}." if high is None else f" From {low:g} to {high:g}."
        *names, last = [""] if self.is_argument else self._names
        names.append(last if self._is_flag else f"{last} {self._metavar}".strip())
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        cells = (", ".join(f"`{one}`" for one in names), text.strip(), shown)
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _examples(epilog: str) -> str:
    """Commands as typed at a prompt; a remark in brackets becomes a comment."""
    lines = [line.removeprefix("  ") for line in epilog.splitlines()[2:]]
    lines = [re.sub(r"\s+\((.*)\)$", r"  # \1", line) for line in lines]
    return "\n".join(f"$ {line}" if line.startswith("ragr1-lite") else line for line in lines)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
