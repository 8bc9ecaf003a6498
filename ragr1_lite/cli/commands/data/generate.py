"""Writing trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragr1_lite.cli.commands.options import (
    Adapter,
    AsJson,
    Concurrency,
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

Price = Annotated[float | None, typer.Option(min=0, metavar="PRICE", help="Of a million tokens, at an endpoint.")]


@app.command(
    "generate",
    epilog=examples(
        "ragr1-lite data generate questions.jsonl --index runs/books --out gold.jsonl",
        "ragr1-lite data generate questions.jsonl --index runs/books --out traj.jsonl \\",
        "    --teacher http://127.0.0.1:8000/v1 --tries 4 --concurrency 16",
        "ragr1-lite data generate questions.jsonl --index runs/books --out traj.jsonl \\",
        "    --teacher Qwen/Qwen2.5-7B-Instruct --rejected rejected.jsonl --resume",
    ),
)
def data_generate(
    context: typer.Context,
    questions: Annotated[
        list[str], typer.Argument(metavar="QUESTIONS", help="Question files, or hub:OWNER/NAME; see `data inspect`.")
    ],
    index: Annotated[str, typer.Option(metavar="INDEX", help="An index folder or URL, or `world`.")],
    out: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="The trajectory file to write.")],
    teacher: Annotated[
        str,
        typer.Option(
            metavar="gold|MODEL|URL",
            help="Who writes: the sets' own decompositions and supporting facts, a local model, or an endpoint.",
        ),
    ] = "gold",
    teacher_model: TeacherModel = None,
    adapter: Adapter = None,
    mode: Annotated[
        Literal["multi", "single"] | None,
        typer.Option(help="How the trajectories search. [default: the run's own, else multi]"),
    ] = None,
    keep: Annotated[
        Literal["em", "f1", "any"], typer.Option(help="Right answers by exact match, by F1, or any answer.")
    ] = "em",
    threshold: Annotated[float, typer.Option(min=0, max=1, metavar="F1", help="From which --keep f1 keeps.")] = 0.8,
    tries: Annotated[int, typer.Option(min=1, metavar="N", help="Until a trajectory is kept, at most.")] = 1,
    temperature: Annotated[
        float | None, typer.Option(min=0, metavar="T", help="[default: 0 for one try, 1 for several]")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of sampling and of the draw of questions.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most this many questions. [default: all]")
    ] = None,
    k: Passages = None,
    max_queries: MaxQueries = None,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Questions worked on together, and lost together.")
    ] = 16,
    concurrency: Concurrency = 8,
    timeout: Timeout = 300.0,
    price_in: Price = None,
    price_out: Price = None,
    rejected: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="The other trajectories, each with its reason.")
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write trajectories for `sft` by a teacher, with real retrieval results; keep those worth imitating.

    Kept is what ends in a right answer, keeps the protocol, and answers from what was retrieved. An endpoint is an
    OpenAI-compatible one (vLLM, Ollama, llama.cpp, a provider); its key is OPENAI_API_KEY's.

    JSON: {"questions", "kept", "rejected": {REASON: n}, "rounds", "queries", "by_kind": {KIND: n}}; rounds and queries
    are means of what is kept. An endpoint adds "usage": {"requests", "prompt_tokens", "completion_tokens", "cost"}.
    """
    with session(context) as display:
        from ragr1_lite.assistant import Setup
        from ragr1_lite.datagen.endpoint import Connection
        from ragr1_lite.datagen.generate import Sampling, generate
        from ragr1_lite.datagen.rejection import Criteria
        from ragr1_lite.ui.tables import counts_table

        counts = generate(
            questions,
            Setup(
                model=teacher,
                adapter=adapter,
                index=index,
                mode=mode,
                k=k,
                max_queries=max_queries,
                batch_size=batch_size,
            ),
            out=out,
            connection=Connection(teacher_model, concurrency, timeout, price_in=price_in, price_out=price_out),
            limit=limit,
            sampling=Sampling(seed, tries, temperature),
            criteria=Criteria(keep, threshold),
            rejected=rejected,
            resume=resume,
            overwrite=overwrite,
            report=display,
        )
        if as_json:
            display.show_json(counts)
        else:
            display.show(counts_table({name: value for name, value in counts.items() if name != "usage"}))
