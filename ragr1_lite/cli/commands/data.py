"""Question sets and trajectories: showing them, and cutting them into samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import datagen
from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.Group()
app.add_typer(datagen.app)

_SETS = "JSON lines, JSON arrays, TSV, CSV, Parquet, or hub:OWNER/NAME."
_FIRST = 3
_LIMIT = f"At most this many. [default: {_FIRST}; with --id all]"
_TOKENS_OF = "Count tokens as this one does; documents uncut."
_MASKS = "Show the sequence that is trained, with the whole prompt and the tags."
_SEGMENT_MODEL = "Whose tokens are counted, and written by --form text."
_BALANCE = "Keep equally many samples of each category that occurs."
_FORM = (
    "messages: for Axolotl, LLaMA-Factory and TRL. sharegpt: for LLaMA-Factory. text: for TRL, with the chat template, "
    "as this package's models see it."
)


@app.add(
    "inspect",
    "ragr1-lite data inspect hotpot_dev_distractor_v1.json",
    "ragr1-lite data inspect nq-test.qas.csv PopQA.tsv.gz --samples 5",
    "ragr1-lite data inspect hub:OWNER/NAME:CONFIG:SPLIT --json",
)
def data_inspect(
    context: Context,
    questions: Annotated[list[str], Argument(metavar="QUESTIONS", help=_SETS)],
    samples: Annotated[int, Option(min=0, metavar="N", help="Questions to show.")] = 3,
    seed: opt.Seed = 0,
    as_json: opt.AsJson = False,
) -> None:
    """Show the form, the size and some questions of a question set.

    Forms: HotpotQA, 2WikiMultiHopQA, MuSiQue, SQuAD, NQ-open, DPR, TriviaQA, PopQA, Search-R1, RAG-R1, this package's
    own questions and trajectories, and plain (question, answers). Several sets are read as one, as every command does.

    JSON: {"form", "questions", "by_kind", "hops": {N: n}, "aliases": {"mean", "max"}, "with": {"titles",
    "decompositions", "evidences"}, "duplicates", "bad", "samples": [{"id", "question", "answers", ...}]}.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.data.questions import Summary, described, read_set
        from ragr1_lite.ui.tables import counts_table, pairs_table

        summary = Summary.of(read_set(questions, report=display), samples=samples, seed=seed)
        samples_shown = [part for sample in summary.samples for part in ("", pairs_table(described(sample)))]
        display.show(counts_table(summary.rows()), *samples_shown, json=summary.to_json())


@app.add("benchmarks", "ragr1-lite data benchmarks", "ragr1-lite eval --data hotpotqa --index DIR")
def data_benchmarks(context: Context, as_json: opt.AsJson = False) -> None:
    """List the benchmarks that `eval --data` takes by name, with published results, those of small models too.

    JSON, a list: [{"name", "title", "source", "questions", "published": {ROW: EM}, "by", "setting", "remark",
    "small_models": [{"method", "model", "em", "by", "setting", "comparable"}]}].
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.data.benchmarks import BENCHMARKS
        from ragr1_lite.ui.evaluations import benchmarks_table

        found = list(BENCHMARKS.values())
        display.show(benchmarks_table(found, display.out), json=[one.to_json() for one in found])


@app.add(
    "view",
    "ragr1-lite data view gold.jsonl",
    "ragr1-lite data view runs/books.jsonl --id 5a8b57f2 --masks --model smollm2-135m",
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
    with session(context, plain=plain, as_json=as_json) as display:
        from ragr1_lite.data.viewing import view
        from ragr1_lite.ui.trajectories import trajectories_view

        most = _FIRST if limit is None and id is None else limit
        viewed = view(file, id=id, limit=most, model=model, mode=mode, report=display)
        tokens = model is not None
        found = [one.to_json(tokens=tokens) for one in viewed]
        display.show(trajectories_view(viewed, masks=masks, tokens=tokens), json=found)
        if most is not None and limit is None and len(viewed) == most:
            display.note(f"These are the first {most}; --limit N shows more.", "dim")


@app.add(
    "segment",
    "ragr1-lite data segment gold.jsonl",
    "ragr1-lite data segment gold.jsonl --balance --out samples.jsonl --form sharegpt",
)
def data_segment(
    context: Context,
    trajectories: Annotated[Path, Argument(metavar="TRAJECTORIES.jsonl", help="From `data generate` or `eval`.")],
    model: Annotated[str, Option(metavar="MODEL", help=_SEGMENT_MODEL)] = "smollm2-135m",
    mode: opt.TrainedMode = "multi",
    max_queries: Annotated[int, Option(min=1, metavar="N", help="Parallel queries per search, at most.")] = 3,
    balance: Annotated[bool, Option("--balance", help=_BALANCE)] = False,
    seed: opt.Seed = 0,
    out: Annotated[Path | None, Option(metavar="FILE.jsonl", help="Write the samples, for other trainers.")] = None,
    form: Annotated[Literal["messages", "sharegpt", "text"], Option(help=_FORM)] = "messages",
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Count what trajectories teach, by the paper's four categories, and write separate samples.

    `ragr1-lite sft` trains whole trajectories, the loss on the same targets: it needs no samples, and the tokens
    counted here show what that saves. --balance is for the samples; a whole trajectory is trained with all its turns.

    JSON: {"trajectories", "categories": {"1": n, "2": n, "3": n, "4": n}, "tokens_whole", "tokens_separate", "ratio",
    "dropped", "written"}; dropped counts the samples left out by --balance.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.data.targets import CATEGORIES, segment
        from ragr1_lite.ui.tables import counts_table

        counts = segment(
            trajectories,
            model=model,
            mode=mode,
            max_queries=max_queries,
            balanced=balance,
            seed=seed,
            out=out,
            form=form,
            overwrite=overwrite,
            report=display,
        )
        named = {f"({number}) {name}": counts["categories"][str(number)] for number, name in CATEGORIES.items()}
        rest = {name: value for name, value in counts.items() if name not in ("trajectories", "categories")}
        display.show(counts_table({"trajectories": counts["trajectories"]} | named | rest), json=counts)
