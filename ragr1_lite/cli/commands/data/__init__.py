"""From question sets to training data, a command to a file."""

from __future__ import annotations

from ragr1_lite.cli.commands.data import generate, inspect, make_questions, segment, select
from ragr1_lite.cli.commands.options import group

app = group()
for command in (inspect, generate, segment, select, make_questions):
    app.add_typer(command.app)
