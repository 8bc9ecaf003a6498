"""Evaluating a model, and comparing two evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session
from ragr1_lite.core.types import Mode

app = opt.group()

_DATA = "The embedded world, a name of `data benchmarks`, a question file, or hub:OWNER/NAME."
_TEMPERATURE = "Sampling temperature. [default: 0, greedy; 1 with several samples]"
_NORMALIZER = "How answers are normalised: this package's way, or as published."
Normalizer = Annotated[Literal["ours", "squad", "hotpotqa"], Option(help=_NORMALIZER)]


@app.command(
    "eval",
    epilog=opt.examples(
        "ragr1-lite eval --questions 100",
        "ragr1-lite eval --mode direct --mode rag --mode multi --adapter runs/sft/adapter",
        "ragr1-lite eval --data questions.jsonl --index runs/books --out runs/books.jsonl",
        "ragr1-lite eval --data hotpotqa --index runs/wikipedia --k 3   (data benchmarks)",
    ),
)
def evaluate(
    context: Context,
    data: Annotated[str, Option(metavar="world|NAME|FILE", help=_DATA)] = "world",
    split: opt.TestSplit = "test",
    index: opt.Index = None,
    model: opt.Model = None,
    adapter: opt.Adapter = None,
    mode: opt.Modes = None,
    kind: opt.Kinds = None,
    questions: opt.Limit = None,
    k: opt.K = None,
    max_queries: opt.MaxQueries = None,
    batch_size: opt.BatchSize = 32,
    seed: opt.Seed = 0,
    samples: Annotated[int, Option(min=1, metavar="N", help="Answers per question.")] = 1,
    temperature: Annotated[float | None, Option(min=0, metavar="T", help=_TEMPERATURE)] = None,
    normalizer: Normalizer = "ours",
    out: Annotated[
        Path | None, Option(metavar="FILE.jsonl", help="Where every trajectory goes, with its figures.")
    ] = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Measure a model on questions with known answers.

    Several modes take turns, batch by batch. With --out, a stopped evaluation goes on with --resume.

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
                    display.note(f"{one.label} took {one.resources}.", "dim")


@app.command("compare", epilog=opt.examples("ragr1-lite compare before.jsonl after.jsonl"))
def compare(
    context: Context,
    a: Annotated[Path, Argument(metavar="A", help="From `eval --out`.")],
    b: Annotated[Path, Argument(metavar="B", help="Another one, of the same questions.")],
    normalizer: Normalizer = "ours",
    as_json: opt.AsJson = False,
) -> None:
    """Test whether one evaluation is better than another, question by question.

    One is called better only where the 95 % interval of the difference in exact match excludes 0 and a permutation
    test agrees.

    JSON: {"a": {"file", "em", "f1", "cover_em", "rounds", "queries", "sampled_tokens", "retrieved_tokens", "seconds"},
    "b": {the same}, "questions", "only_a", "only_b", "differences": {"em": {"difference", "ci": [low, high], "p"},
    "f1", "cover_em", "rounds", "queries"}, "better": "A", "B" or null, "verdict"}; differences are B's less A's.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite import evaluation
        from ragr1_lite.ui.evaluations import comparison_table

        found = evaluation.compare(a, b, normalizer=normalizer, report=display)
        display.show(comparison_table(found, display.out), json=found.to_json())
