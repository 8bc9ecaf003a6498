"""Making questions from your own documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.group()

_FACTS = "Subject, relation and object, as JSON lines, CSV or TSV. [default: what the passages hold]"
_TEACHER = (
    "Writes the questions instead; with --facts, only judges them. A local model, or an OpenAI-compatible endpoint. "
    "[default: none]"
)
_KINDS = "Of one-hop, bridge and comparison."


@app.command(
    "make-questions",
    epilog=opt.examples(
        "ragr1-lite data make-questions runs/notes --out questions.jsonl",
        "ragr1-lite data make-questions runs/notes --facts facts.csv --out questions.jsonl",
        "ragr1-lite data make-questions runs/notes --out questions.jsonl \\",
        "    --teacher http://127.0.0.1:8000/v1",
    ),
)
def data_make_questions(
    context: Context,
    index: Annotated[str, Argument(metavar="INDEX", help="An index folder, `world`, or with facts a URL.")],
    out: Annotated[Path, Option(metavar="FILE.jsonl", help="The question file to write.")],
    facts: Annotated[Path | None, Option(metavar="FILE", help=_FACTS)] = None,
    teacher: Annotated[str | None, Option(metavar="MODEL|URL", help=_TEACHER)] = None,
    teacher_model: opt.TeacherModel = None,
    adapter: opt.Adapter = None,
    kinds: Annotated[str, Option(metavar="KIND,KIND,…", help=_KINDS)] = "one-hop,bridge,comparison",
    limit: opt.Limit = None,
    k: opt.K = None,
    seed: opt.Seed = 0,
    concurrency: opt.Concurrency = 8,
    timeout: opt.Timeout = 300.0,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
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
