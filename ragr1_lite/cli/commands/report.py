"""Reports of runs and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.group()

_OUT = "The page or card to write. [default: report.html]"
_RUNS = "Run folders of `sft` or `grpo`, and files of `eval --out`."


@app.command(
    "report",
    epilog=opt.examples(
        "ragr1-lite report runs/grpo before.jsonl after.jsonl -o report.html",
        "ragr1-lite report after.jsonl --format md -o card.md",
    ),
)
def report(
    context: Context,
    runs: Annotated[list[Path], Argument(metavar="RUN", help=_RUNS)],
    out: Annotated[Path | None, Option("--out", "-o", metavar="FILE", help=_OUT)] = None,
    format: Annotated[Literal["html", "md"], Option(help="A page with everything, or only the tables.")] = "html",
    title: Annotated[str | None, Option(metavar="TITLE", help="Title of the page. [default: the runs' names]")] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show runs and evaluations on one page: curves, figures, causes of failure, every trajectory.

    The page is one file that needs no network. Two evaluations of the same questions are shown next to each other.

    JSON: {"file", "bytes", "trainings", "evaluations", "trajectories"}
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.evaluation.report import write_report
        from ragr1_lite.ui.text import count, size

        made = write_report(runs, out or Path(f"report.{format}"), format=format, title=title, report=display)
        content = f"{count(made['trainings'], 'training run')}, {count(made['trajectories'], 'trajectory')}"
        display.show(f"{made['file']} ({size(made['bytes'])}): {content}", json=made)
