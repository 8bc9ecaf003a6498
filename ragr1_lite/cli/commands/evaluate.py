"""Evaluating a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from ragr1_lite.cli.commands.options import (
    Adapter,
    AsJson,
    Index,
    MaxQueries,
    Model,
    Modes,
    Overwrite,
    Passages,
    Resume,
    examples,
    group,
)
from ragr1_lite.cli.session import session
from ragr1_lite.core.types import Mode

app = group()

Normalizer = Annotated[
    Literal["ours", "squad", "hotpotqa"],
    typer.Option(help="How answers are normalised: this house's way, or as published."),
]


@app.command(
    "eval",
    epilog=examples(
        "ragr1-lite eval --questions 100",
        "ragr1-lite eval --mode direct --mode rag --mode multi --adapter runs/sft/adapter",
        "ragr1-lite eval --data questions.jsonl --index runs/books --out runs/books.jsonl",
        "ragr1-lite eval --data hotpotqa --index runs/wikipedia --k 3   (data benchmarks)",
    ),
)
def evaluate(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            metavar="world|NAME|FILE",
            help="The embedded world, a name of `data benchmarks`, a question file, or hub:OWNER/NAME.",
        ),
    ] = "world",
    split: Annotated[Literal["test", "dev"], typer.Option(help="Of the embedded world.")] = "test",
    index: Index = None,
    model: Model = None,
    adapter: Adapter = None,
    mode: Modes = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only questions of this kind; may be repeated.")
    ] = None,
    questions: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most this many. [default: all]")] = None,
    k: Passages = None,
    max_queries: MaxQueries = None,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Questions answered side by side.")] = 32,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the draws of questions and answers.")] = 0,
    samples: Annotated[int, typer.Option(min=1, metavar="N", help="Answers to each question.")] = 1,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, metavar="T", help="Of the answers. [default: 0, greedy; 1 with several samples]"),
    ] = None,
    normalizer: Normalizer = "ours",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Keep every question's trajectory and figures here.")
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model on questions with known answers.

    Several modes take turns, batch by batch. With --out, what is finished outlives any stop: go on with --resume.

    JSON: {"n", "em", "f1", "valid", "rounds", "queries", "seconds_per_question", "cover_em", "ci": {"em": [low, high],
    "f1", "cover_em"}, "sampled_tokens", "retrieved_tokens", "no_answer": N, "causes": {CAUSE: N}, "stop_reasons":
    {REASON: N}, "failures": {"query_imbalance", "passage_overlap", "repeated_queries", "synthesis_misses",
    "retrieval_misses"}, "resources": {"seconds", "cpu_load", "peak_rss_gb", "peak_vram_gb", "energy_wh": {PART: Wh},
    "not_measurable": {NAME: why}, "tokens_per_second", "per_question": {"seconds", "energy_wh"}}, "by_kind": {KIND:
    {the first seven, "ci": {"em"}}}}; with several samples also "samples" and "spread": {"em", "f1", "cover_em",
    "any_right"}; of a benchmark also "published": {"em", "row", "by", "setting", "comparable"} or null. With several
    modes, an object with one such object per mode. Intervals are 95 % bootstraps; tokens are per answer; of `failures`
    and `resources`, what could not be seen is null.
    """
    with session(context) as display:
        from ragr1_lite.assistant import Setup
        from ragr1_lite.data.benchmarks import BENCHMARKS
        from ragr1_lite.evaluation import run
        from ragr1_lite.ui.evaluations import evaluation_table, published_line

        evaluations = run(
            Setup(model=model, adapter=adapter, index=index, k=k, max_queries=max_queries, batch_size=batch_size),
            data=data,
            split=split,
            modes=cast("list[Mode]", list(dict.fromkeys(mode or ()))),
            kinds=kind or None,
            questions=questions,
            seed=seed,
            samples=samples,
            temperature=temperature,
            normalizer=normalizer,
            out=out,
            resume=resume,
            overwrite=overwrite,
            report=display,
        )
        benchmark = BENCHMARKS.get(data)
        figures = {one.label: one.to_json() for one in evaluations}
        if benchmark:
            figures = {
                name: one | {"published": benchmark.nearest(cast("Mode", name))} for name, one in figures.items()
            }
        if as_json:
            display.show_json(figures if len(figures) > 1 else figures[evaluations[0].label])
        else:
            display.show(evaluation_table(evaluations, display.out))
            if benchmark:
                display.show(published_line(benchmark, f"{questions or 'all'} questions, {index or 'the world'}"))
            for one in evaluations:
                if one.resources:
                    display.say(f"{one.label} took {one.resources}.", "dim")
