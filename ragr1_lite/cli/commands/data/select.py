"""Selecting questions for RL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragr1_lite.cli.commands.options import (
    Adapter,
    AsJson,
    AskedMode,
    Concurrency,
    Index,
    MaxQueries,
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
    "select",
    epilog=examples(
        "ragr1-lite data select questions.jsonl --index runs/books --out rl.jsonl",
        "ragr1-lite data select world --by pass-rate --tries 4 --limit 200 --out rl.jsonl",
        "ragr1-lite grpo mine.yaml --set data.train=rl.jsonl --set data.order=easy-first",
    ),
)
def data_select(
    context: typer.Context,
    questions: Annotated[
        list[str],
        typer.Argument(metavar="QUESTIONS", help="Question files or hub:OWNER/NAME (see `data inspect`), or `world`."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="The questions to train on.")],
    index: Index = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--model",
            "--teacher",
            metavar="MODEL|URL",
            help="Whose rollouts: a built-in name, a folder, a hub id, an endpoint. [default: what fits this machine]",
        ),
    ] = None,
    teacher_model: TeacherModel = None,
    adapter: Adapter = None,
    by: Annotated[
        Literal["first-right", "pass-rate"],
        typer.Option(help="Right in a later try and a share of what is right at first; or neither always nor never."),
    ] = "first-right",
    tries: Annotated[int, typer.Option(min=1, metavar="N", help="Rollouts of a question, at most.")] = 10,
    rounds: Annotated[int, typer.Option(min=0, metavar="N", help="Retrieval rounds of a rollout, at most.")] = 10,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="T", help="Of the rollouts. [default: 1.2; for pass-rate 1, as `grpo` samples]"),
    ] = None,
    easy_share: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="first-right: kept of what is right at first.")
    ] = 0.25,
    keep_between: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="pass-rate: pass rates that are kept. [default: all but 0 and 1]"),
    ] = None,
    validation: Annotated[
        float,
        typer.Option(min=0, max=0.5, metavar="SHARE", help="Of what is kept: set aside in FILE.validation.jsonl."),
    ] = 0.05,
    split: Annotated[Literal["train", "dev"], typer.Option(help="Of the embedded world.")] = "train",
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most this many. [default: all]")] = None,
    mode: AskedMode = None,
    k: Passages = None,
    max_queries: MaxQueries = None,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Questions rolled out side by side.")] = 16,
    concurrency: Concurrency = 8,
    timeout: Timeout = 300.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Of rollouts and draws.")] = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Select the questions that GRPO can learn from, by a model's own rollouts.

    JSON: {"kept", "histogram": [n ...], "questions", "right_first", "hard_kept", "easy_kept", "train", "validation",
    "seconds"}. The histogram counts questions: right at first, in try 1, 2 ..., never; or by the number of right
    rollouts, from 0.
    """
    with session(context) as display:
        from ragr1_lite.assistant import Setup
        from ragr1_lite.datagen.endpoint import Connection
        from ragr1_lite.datagen.selection import Rule, run
        from ragr1_lite.ui.tables import counts_table, histogram

        selection = run(
            questions,
            out,
            Setup(
                model=teacher,
                adapter=adapter,
                index=index,
                mode=mode,
                k=k,
                max_queries=max_queries,
                batch_size=batch_size,
            ),
            rule=Rule(by, tries, temperature, rounds, seed, easy_share, keep_between, validation),
            connection=Connection(teacher_model, concurrency, timeout),
            split=split,
            limit=limit,
            resume=resume,
            overwrite=overwrite,
            report=display,
        )
        counts = selection.to_json()
        if as_json:
            display.show_json(counts)
            return
        display.show(histogram(selection.histogram))
        display.show(counts_table({name: value for name, value in counts.items() if name != "histogram"}))
