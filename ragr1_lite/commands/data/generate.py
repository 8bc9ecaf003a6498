"""Writing trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragr1_lite.commands.options import AsJson, Passages, examples, group
from ragr1_lite.session import session

app = group()


@app.command(
    "generate",
    epilog=examples("ragr1-lite data generate questions.jsonl --index runs/books --out gold.jsonl"),
)
def data_generate(
    context: typer.Context,
    questions: Annotated[Path, typer.Argument(help="JSON lines: question, answers, supporting facts.")],
    index: Annotated[str, typer.Option(metavar="FOLDER", help="An index folder, or `world`.")],
    out: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="The trajectory file to write.")],
    teacher: Annotated[Literal["gold"], typer.Option(help="Who writes the trajectories.")] = "gold",
    mode: Annotated[Literal["multi", "single"], typer.Option(help="How the trajectories search.")] = "multi",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most this many questions. [default: all]")
    ] = None,
    k: Passages = None,
    as_json: AsJson = False,
) -> None:
    """Write gold trajectories for `sft`, with real retrieval results.

    JSON: {"questions", "kept", "rejected": {REASON: n}, "rounds", "queries", "by_kind"}.
    """
    with session(context) as display:
        from ragr1_lite.pipeline.generate import generate
        from ragr1_lite.ui import counts_table

        counts = generate(questions, index=index, teacher=teacher, mode=mode, out=out, limit=limit, k=k, report=display)
        if as_json:
            display.show_json(counts)
        else:
            display.show(counts_table(counts))
