"""Showing data: question sets, the benchmarks with a name, trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.group()

_QUESTIONS = "JSON lines, JSON arrays, TSV, CSV, Parquet, or hub:OWNER/NAME."
_FIRST = 3
_LIMIT = f"At most this many. [default: {_FIRST}; with --id all]"
_TOKENS_OF = "Count tokens as this one does; documents uncut."
_MASKS = "Show the sequence that is trained, with the whole prompt and the tags."


@app.command(
    "inspect",
    epilog=opt.examples(
        "ragr1-lite data inspect hotpot_dev_distractor_v1.json",
        "ragr1-lite data inspect nq-test.qas.csv PopQA.tsv.gz --samples 5",
        "ragr1-lite data inspect hub:OWNER/NAME:CONFIG:SPLIT --json",
    ),
)
def data_inspect(
    context: Context,
    questions: Annotated[list[str], Argument(metavar="QUESTIONS", help=_QUESTIONS)],
    samples: Annotated[int, Option(min=0, metavar="N", help="Questions to show.")] = 3,
    seed: opt.Seed = 0,
    as_json: opt.AsJson = False,
) -> None:
    """Show the form, the size and some questions of a question set.

    Forms: HotpotQA, 2WikiMultiHopQA, MuSiQue, NQ-open, DPR, TriviaQA, PopQA, Search-R1, RAG-R1, this package's own
    questions and trajectories, and plain (question, answers). Several sets are read as one, as every command does.

    JSON: {"form", "questions", "by_kind", "hops": {N: n}, "aliases": {"mean", "max"}, "with": {"titles",
    "decompositions", "evidences"}, "duplicates", "bad", "samples": [{"id", "question", "answers", ...}]}.
    """
    with session(context) as display:
        from ragr1_lite.data.questions import Summary, described, read_set
        from ragr1_lite.ui.tables import counts_table, pairs_table

        summary = Summary.of(read_set(questions, report=display), samples=samples, seed=seed)
        if as_json:
            display.show_json(summary.to_json())
            return
        display.show(counts_table(summary.rows()))
        for sample in summary.samples:
            display.show("")
            display.show(pairs_table(described(sample)))


@app.command(
    "benchmarks", epilog=opt.examples("ragr1-lite data benchmarks", "ragr1-lite eval --data hotpotqa --index DIR")
)
def data_benchmarks(context: Context, as_json: opt.AsJson = False) -> None:
    """List the benchmarks that `eval --data` takes by name, with their published results.

    JSON, a list: [{"name", "title", "source", "questions", "published": {ROW: EM}, "by", "setting", "remark"}].
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.data.benchmarks import BENCHMARKS
        from ragr1_lite.ui.evaluations import benchmarks_table

        found = list(BENCHMARKS.values())
        display.show(benchmarks_table(found, display.out), json=[one.to_json() for one in found])


@app.command(
    "view",
    epilog=opt.examples(
        "ragr1-lite data view gold.jsonl",
        "ragr1-lite data view runs/books.jsonl --id 5a8b57f2 --masks --model smollm2-135m",
    ),
)
def data_view(
    context: Context,
    file: Annotated[Path, Argument(help="From `data generate` or `eval`.")],
    limit: Annotated[int | None, Option(min=1, metavar="N", help=_LIMIT)] = None,
    id: Annotated[str | None, Option("--id", metavar="ID", help="Only the trajectories of this question.")] = None,
    masks: Annotated[bool, Option("--masks", help=_MASKS)] = False,
    model: Annotated[str | None, Option(metavar="MODEL", help=_TOKENS_OF)] = None,
    mode: opt.TrainedMode = "multi",
    plain: opt.Plain = False,
    as_json: opt.AsJson = False,
) -> None:
    """Show trajectories turn by turn: what is trained and what is masked, queries next to their documents.

    JSON: [{the line's own keys, "right", "categories": [1-4 or null a turn], with --model "segments": [{"source",
    "tokens"}]}].
    """
    with session(context, plain=plain) as display:
        from ragr1_lite.data.viewing import view
        from ragr1_lite.ui.trajectories import trajectories_view

        most = _FIRST if limit is None and id is None else limit
        viewed = view(file, id=id, limit=most, model=model, mode=mode, report=display)
        if as_json:
            display.show_json([one.to_json(tokens=model is not None) for one in viewed])
            return
        display.show(trajectories_view(viewed, masks=masks, tokens=model is not None))
        if most is not None and limit is None and len(viewed) == most:
            display.note(f"These are the first {most}; --limit N shows more.", "dim")
