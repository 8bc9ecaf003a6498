"""From question sets to training data, a command to a file."""

from __future__ import annotations

from ragr1_lite.cli.commands.data import benchmarks, generate, inspect, make_questions, segment, select, view
from ragr1_lite.cli.commands.options import group

app = group()
for command in (inspect, benchmarks, generate, segment, select, make_questions, view):
    app.add_typer(command.app)
