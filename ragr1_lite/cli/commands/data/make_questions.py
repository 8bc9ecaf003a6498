"""Making questions from your own documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragr1_lite.cli.commands.options import (
    Adapter,
    AsJson,
    Concurrency,
    Overwrite,
    Passages,
    Resume,
    TeacherModel,
    Timeout,
    examples,
    group,
)
from ragr1_lite.cli.session import session

app = group()


@app.command(
    "make-questions",
    epilog=examples(
        "ragr1-lite data make-questions runs/notes --out questions.jsonl",
        "ragr1-lite data make-questions runs/notes --facts facts.csv --out questions.jsonl",
        "ragr1-lite data make-questions runs/notes --out questions.jsonl \\",
        "    --teacher http://127.0.0.1:8000/v1",
    ),
)
def data_make_questions(
    context: typer.Context,
    index: Annotated[str, typer.Argument(metavar="INDEX", help="An index folder, `world`, or with facts a URL.")],
    out: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="The question file to write.")],
    facts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Subject, relation and object, as JSON lines, CSV or TSV. [default: what the passages hold]",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|URL",
            help="Writes the questions instead; with --facts, only judges them. A local model, or an OpenAI-compatible "
            "endpoint. [default: none]",
        ),
    ] = None,
    teacher_model: TeacherModel = None,
    adapter: Adapter = None,
    kinds: Annotated[
        str, typer.Option(metavar="KIND,KIND,…", help="Of one-hop, bridge and comparison.")
    ] = "one-hop,bridge,comparison",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop at this many questions. [default: all there are]")
    ] = None,
    k: Passages = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of every draw.")] = 0,
    concurrency: Concurrency = 8,
    timeout: Timeout = 300.0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make one-hop, bridge and comparison questions from your own documents.

    By rule, from facts: `Key: value` lines, tables and a few sure sentences of the passages, or a file of facts. Each
    question's passages must be found again by search among the first k.

    JSON: {"passages", "facts", "questions", "kept", "rejected": {REASON: n}, "by_kind": {KIND: n}}.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.datagen.endpoint import Connection
        from ragr1_lite.datagen.questions import make_questions
        from ragr1_lite.ui.tables import counts_table

        counts = make_questions(
            index,
            out=out,
            facts=facts,
            teacher=teacher,
            adapter=adapter,
            connection=Connection(teacher_model, concurrency, timeout),
            kinds=[kind.strip() for kind in kinds.split(",")],
            limit=limit,
            seed=seed,
            k=k,
            resume=resume,
            overwrite=overwrite,
            report=display,
        )
        display.show(counts_table(counts), json=counts)
