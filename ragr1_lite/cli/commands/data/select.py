"""Selecting questions for RL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.group()

_QUESTIONS = "Question files or hub:OWNER/NAME (see `data inspect`), or `world`."
_TEACHER = "Whose rollouts: a built-in name, a folder, a hub id, an endpoint. [default: what fits this machine]"
_BY = "Right in a later try and a share of what is right at first; or neither always nor never."
_TEMPERATURE = "Sampling temperature. [default: 1.2; for pass-rate 1, as `grpo` samples]"
_EASY = "first-right: share kept of what is right at first."
_BETWEEN = "pass-rate: the range of rates to keep. [default: all but 0 and 1]"
_VALIDATION = "Share of the kept questions that goes to FILE.validation.jsonl."


@app.command(
    "select",
    epilog=opt.examples(
        "ragr1-lite data select questions.jsonl --index runs/books --out rl.jsonl",
        "ragr1-lite data select world --by pass-rate --tries 4 --limit 200 --out rl.jsonl",
        "ragr1-lite grpo mine.yaml --set data.train=rl.jsonl --set data.order=easy-first",
    ),
)
def data_select(
    context: Context,
    questions: Annotated[list[str], Argument(metavar="QUESTIONS", help=_QUESTIONS)],
    out: Annotated[Path, Option(metavar="FILE.jsonl", help="The questions to train on.")],
    index: opt.Index = None,
    teacher: Annotated[str | None, Option("--model", "--teacher", metavar="MODEL|URL", help=_TEACHER)] = None,
    teacher_model: opt.TeacherModel = None,
    adapter: opt.Adapter = None,
    by: Annotated[Literal["first-right", "pass-rate"], Option(help=_BY)] = "first-right",
    tries: Annotated[int, Option(min=1, metavar="N", help="Rollouts per question, at most.")] = 10,
    rounds: Annotated[int, Option(min=0, metavar="N", help="Retrieval rounds per rollout, at most.")] = 10,
    temperature: Annotated[float | None, Option(metavar="T", help=_TEMPERATURE)] = None,
    easy_share: Annotated[float, Option(min=0, max=1, metavar="SHARE", help=_EASY)] = 0.25,
    keep_between: Annotated[tuple[float, float] | None, Option(metavar="LOW HIGH", help=_BETWEEN)] = None,
    validation: Annotated[float, Option(min=0, max=0.5, metavar="SHARE", help=_VALIDATION)] = 0.05,
    split: Annotated[Literal["train", "dev"], Option(help="Split of the embedded world.")] = "train",
    limit: opt.Limit = None,
    mode: opt.AskedMode = None,
    k: opt.K = None,
    max_queries: opt.MaxQueries = None,
    batch_size: opt.BatchSize = 16,
    concurrency: opt.Concurrency = 8,
    timeout: opt.Timeout = 300.0,
    seed: opt.Seed = 0,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
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

        setup = Setup(
            model=teacher, adapter=adapter, index=index, mode=mode, k=k, max_queries=max_queries, batch_size=batch_size
        )
        selection = run(
            questions,
            out,
            setup,
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
