"""Writing trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.group()

_TEACHER = "Who writes: the sets' own decompositions and supporting facts, a local model, or an endpoint."
_MODE = "How the trajectories search. [default: the run's own, else multi]"
_TEMPERATURE = "Sampling temperature. [default: 0 for one try, 1 for several]"
_KEEP = "Right answers by exact match, by F1, or any answer."
Price = Annotated[float | None, Option(min=0, metavar="PRICE", help="Price of a million tokens at an endpoint.")]


@app.command(
    "generate",
    epilog=opt.examples(
        "ragr1-lite data generate questions.jsonl --index runs/books --out gold.jsonl",
        "ragr1-lite data generate questions.jsonl --index runs/books --out traj.jsonl \\",
        "    --teacher http://127.0.0.1:8000/v1 --tries 4 --concurrency 16",
        "ragr1-lite data generate questions.jsonl --index runs/books --out traj.jsonl \\",
        "    --teacher Qwen/Qwen2.5-7B-Instruct --rejected rejected.jsonl --resume",
    ),
)
def data_generate(
    context: Context,
    questions: opt.Questions,
    index: Annotated[str, Option(metavar="INDEX", help="An index folder or URL, or `world`.")],
    out: Annotated[Path, Option(metavar="FILE.jsonl", help="The trajectory file to write.")],
    teacher: Annotated[str, Option(metavar="gold|MODEL|URL", help=_TEACHER)] = "gold",
    teacher_model: opt.TeacherModel = None,
    adapter: opt.Adapter = None,
    mode: Annotated[Literal["multi", "single"] | None, Option(help=_MODE)] = None,
    keep: Annotated[Literal["em", "f1", "any"], Option(help=_KEEP)] = "em",
    threshold: Annotated[float, Option(min=0, max=1, metavar="F1", help="The least that --keep f1 keeps.")] = 0.8,
    tries: Annotated[int, Option(min=1, metavar="N", help="Tries per question, at most.")] = 1,
    temperature: Annotated[float | None, Option(min=0, metavar="T", help=_TEMPERATURE)] = None,
    seed: opt.Seed = 0,
    limit: opt.Limit = None,
    k: opt.K = None,
    max_queries: opt.MaxQueries = None,
    batch_size: opt.BatchSize = 16,
    concurrency: opt.Concurrency = 8,
    timeout: opt.Timeout = 300.0,
    price_in: Price = None,
    price_out: Price = None,
    rejected: Annotated[
        Path | None, Option(metavar="FILE.jsonl", help="Where the rejected ones go, with the reason.")
    ] = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write trajectories for `sft` by a teacher, with real retrieval results; keep those worth imitating.

    Kept is what ends in a right answer, keeps the protocol, and answers from what was retrieved. An endpoint is an
    OpenAI-compatible one (vLLM, Ollama, llama.cpp, a provider); its key is OPENAI_API_KEY's.

    JSON: {"questions", "kept", "rejected": {REASON: n}, "rounds", "queries", "by_kind": {KIND: n}}; rounds and queries
    are means of what is kept. An endpoint adds "usage": {"requests", "prompt_tokens", "completion_tokens", "cost"}.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.assistant import Setup
        from ragr1_lite.datagen.endpoint import Connection
        from ragr1_lite.datagen.generate import Sampling, generate
        from ragr1_lite.datagen.rejection import Criteria
        from ragr1_lite.ui.tables import counts_table

        setup = Setup(
            model=teacher, adapter=adapter, index=index, mode=mode, k=k, max_queries=max_queries, batch_size=batch_size
        )
        counts = generate(
            questions,
            setup,
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
        shown = {name: value for name, value in counts.items() if name != "usage"}
        display.show(counts_table(shown), json=counts)
