"""From question sets to training data, a command to a file."""

from __future__ import annotations

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.commands.data import generate, inspect, make_questions, segment, select

app = opt.group()
for command in (inspect, generate, segment, select, make_questions):
    app.add_typer(command.app)
