"""Evaluating a model, comparing evaluations, studying what changes them, and reporting them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session
from ragr1_lite.core.types import Mode

app = opt.Group()

_DATA = "The embedded world, a name of `data benchmarks`, a question file, or hub:OWNER/NAME."
_TEMPERATURE = "Sampling temperature. [default: 0, greedy; 1 with several samples]"
_NORMALIZER = "How answers are normalised: this package's way, or as published."
_GIVE_UP = "Ask a mode no more that answers none of the first N questions. [default: ask all]"
_SHOTS = "Answered questions in the prompt of direct, rag and cot-rag, the same for all."
_SHOTS_FROM = "Where they are drawn from, but for those that are asked. [default: of the world, its training split]"
_UNANSWERABLE = (
    "Ask each question once more with its gold passages hidden: is *not in your documents* said there alone?"
)
_RECIPE = "Gives model, adapter, index and questions."
_VARIANT = "Change a variant, or add one. May be repeated."
_STUDY_OUT = "Where study.json, table.md, plot.svg and each variant's results go."
_REPORT_OUT = "The page or card to write. [default: report.html]"
_RUNS = "Run folders of `sft` or `grpo`, and files of `eval --out`."
Normalizer = Annotated[Literal["ours", "squad", "hotpotqa"], Option(help=_NORMALIZER)]


@app.add(
    "eval",
    "ragr1-lite eval --questions 100",
    "ragr1-lite eval --mode direct --mode rag --mode multi --adapter runs/sft/adapter",
    "ragr1-lite eval --mode direct --mode cot-rag --adapter none --shots 2",
    "ragr1-lite eval --data questions.jsonl --index runs/books --out runs/books.jsonl",
    "ragr1-lite eval --data hotpotqa --index runs/wikipedia --k 3   (data benchmarks)",
)
def evaluate(
    context: Context,
    data: Annotated[str, Option(metavar="world|NAME|FILE", help=_DATA)] = "world",
    split: opt.TestSplit = "test",
    index: opt.Indexes = None,
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
    give_up_after: Annotated[int | None, Option(min=1, metavar="N", help=_GIVE_UP)] = None,
    shots: Annotated[int, Option(min=0, metavar="N", help=_SHOTS)] = 0,
    shots_from: Annotated[str | None, Option(metavar="FILE", help=_SHOTS_FROM)] = None,
    unanswerable: Annotated[bool, Option("--unanswerable", help=_UNANSWERABLE)] = False,
    out: Annotated[
        Path | None, Option(metavar="FILE.jsonl", help="Where every trajectory goes, with its figures.")
    ] = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Measure a model on questions with known answers.

    Several modes take turns, batch by batch. With --out, a stopped evaluation goes on with --resume. multi and single
    want answers in tags; in the other modes, which ask for none, free text is read as well (docs/evaluation.md).

    JSON: {"n", "em", "f1", "valid", "rounds", "queries", "seconds_per_question", "cover_em", "ci": {"em": [low, high],
    "f1", "cover_em"}, "sampled_tokens", "retrieved_tokens", "no_answer": N, "read_by": {"tag": N, "open-tag",
    "phrase", "first-sentence", "last-line"}, "causes": {CAUSE: N}, "stop_reasons": {REASON: N}, "failures":
    {"query_imbalance", "passage_overlap", "repeated_queries", "synthesis_misses", "retrieval_misses"}, "resources":
    {"seconds", "cpu_load", "peak_rss_gb", "peak_vram_gb", "energy_wh": {PART: Wh}, "not_measurable": {NAME: why},
    "tokens_per_second", "per_question": {"seconds", "energy_wh"}}, "by_kind": {KIND: {the first seven, "ci": {"em"}}}};
    where --give-up-after left questions out, "not_asked": N; of a mode with --shots, "shots": N; with --unanswerable,
    "refusals": {"right": {"n", "mean", "low", "high"}, "wrong"}, and no other figure counts the hidden ones; with
    several samples also "samples" and "spread": {"em", "f1", "cover_em", "any_right"}; of a benchmark also "published":
    {"em", "row", "by", "setting", "comparable"} or null. With several modes, an object with one such object per mode.
    Intervals are 95 % bootstraps; tokens are per answer; of `failures` and `resources`, what could not be seen is null.
    """
    with session(context, as_json=as_json) as display:
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
            give_up_after=give_up_after,
            shots=shots,
            shots_from=shots_from,
            unanswerable=unanswerable,
            out=out,
            resume=resume,
            overwrite=overwrite,
            report=display,
        )
        benchmark = BENCHMARKS.get(data)
        figures = {one.label: one.to_json() for one in evaluations}
        shown = [evaluation_table(evaluations, display.out)]
        if benchmark:
            searched = ", ".join(index or ()) or "the world"
            shown += [published_line(benchmark, f"{questions or 'all'} questions, {searched}")]
            figures = {
                label: one | {"published": benchmark.nearest(cast(Mode, label))} for label, one in figures.items()
            }
        display.show(*shown, json=figures if len(figures) > 1 else figures[evaluations[0].label])
        for one in evaluations:
            if one.resources:
                display.note(f"{one.label} took {one.resources}.", "dim")


@app.add("compare", "ragr1-lite compare before.jsonl after.jsonl")
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
    "f1", "cover_em", "rounds", "queries"}, "better": "A", "B" or null, "verdict"}; differences are B's less A's. Of
    `eval --unanswerable`, "a" and "b" also have its "refusals", and no other figure counts the hidden questions.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite import evaluation
        from ragr1_lite.ui.evaluations import comparison_table

        found = evaluation.compare(a, b, normalizer=normalizer, report=display)
        display.show(comparison_table(found, display.out), json=found.to_json())


@app.add(
    "study",
    "ragr1-lite study single-multi --kind compare-2 --kind compare-3 --out runs/study",
    "ragr1-lite study single-multi --variant single:model.adapter=runs/sq/adapter",
    "ragr1-lite study queries mine.yaml --set retrieval.index=runs/books",
    "ragr1-lite study search --variant web:retrieval.index=web+brave://",
    "ragr1-lite study models --variant qwen:model.name=Qwen/Qwen2.5-0.5B-Instruct",
)
def study(
    context: Context,
    name: Annotated[str, Argument(metavar="NAME", help="single-multi, queries, search or models.")],
    recipe: Annotated[str, Argument(metavar="RECIPE", help=_RECIPE)] = "grpo-smollm2-135m",
    overrides: opt.Overrides = None,
    variant: Annotated[list[str] | None, Option(metavar="LABEL:KEY=VALUE", help=_VARIANT)] = None,
    questions: Annotated[int, Option(min=1, metavar="N", help="At most this many of the recipe's questions.")] = 48,
    split: opt.TestSplit = "test",
    kind: opt.Kinds = None,
    batch_size: opt.BatchSize = 32,
    out: Annotated[Path | None, Option(metavar="FOLDER", help=_STUDY_OUT)] = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Vary one thing, keep the rest, and see what it does: a table and a plot.

    single-multi: one query a turn or several; queries: one to five at once; search: BM25 in this process, over HTTP, or
    the web; models: with and without the adapter, and others you name. All answer the same questions, by turns.

    JSON: {"study", "question", "questions", "variants": [{"variant", as of `eval`, "difference": {"em", "ci": [low,
    high], "p", "saved": {"rounds", "queries", "seconds_per_question"}}} or {"variant", "problem"}]}; differences are
    from the first variant, `saved` are shares of its cost.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.evaluation.study import SUMMARY, find_design, run_study, with_variants

        design = with_variants(find_design(name), variant or ())
        outcome = run_study(
            design,
            recipe,
            overrides or (),
            questions=questions,
            split=split,
            kinds=kind or None,
            batch_size=batch_size,
            out=out,
            resume=resume,
            overwrite=overwrite,
            report=display,
        )
        from ragr1_lite.ui.evaluations import study_markdown, study_table

        if out is not None and not outcome.again:
            from ragr1_lite.evaluation.study import draw_study
            from ragr1_lite.files.writing import write_atomic, write_json

            write_json(out / SUMMARY, outcome.to_json())
            write_atomic(out / "table.md", study_markdown(outcome))
            draw_study(outcome, out / "plot.svg")
        display.show(study_table(outcome, display.out), json=outcome.to_json())


@app.add(
    "report",
    "ragr1-lite report runs/grpo before.jsonl after.jsonl -o report.html",
    "ragr1-lite report after.jsonl --format md -o card.md",
)
def report(
    context: Context,
    runs: Annotated[list[Path], Argument(metavar="RUN", help=_RUNS)],
    out: Annotated[Path | None, Option("--out", "-o", metavar="FILE", help=_REPORT_OUT)] = None,
    format: Annotated[Literal["html", "md"], Option(help="A page with everything, or only the tables.")] = "html",
    title: Annotated[str | None, Option(metavar="TITLE", help="Title of the page. [default: the runs' names]")] = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Show runs and evaluations on one page: curves, figures, causes of failure, every trajectory.

    The page is one file that needs no network. Two evaluations of the same questions are shown next to each other. An
    earlier report in its place is replaced; any other file, with --overwrite.

    JSON: {"file", "bytes", "trainings", "evaluations", "trajectories"}
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.evaluation.report import write_report
        from ragr1_lite.ui.text import count, size

        page = out or Path(f"report.{format}")
        made = write_report(runs, page, format=format, title=title, overwrite=overwrite, report=display)
        content = f"{count(made['trainings'], 'training run')}, {count(made['trajectories'], 'trajectory')}"
        display.show(f"{made['file']} ({size(made['bytes'])}): {content}", json=made)
