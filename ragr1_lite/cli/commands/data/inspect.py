"""Looking into question sets."""

from __future__ import annotations

from typing import Annotated

import typer

from ragr1_lite.cli.commands.options import AsJson, examples, group
from ragr1_lite.cli.session import session

app = group()


@app.command(
    "inspect",
    epilog=examples(
        "ragr1-lite data inspect hotpot_dev_distractor_v1.json",
        "ragr1-lite data inspect nq-test.qas.csv PopQA.tsv.gz --samples 5",
        "ragr1-lite data inspect hub:OWNER/NAME:CONFIG:SPLIT --json",
    ),
)
def data_inspect(
    context: typer.Context,
    questions: Annotated[
        list[str],
        typer.Argument(metavar="QUESTIONS", help="JSON lines, JSON arrays, TSV, CSV, Parquet, or hub:OWNER/NAME."),
    ],
    samples: Annotated[int, typer.Option(min=0, metavar="N", help="Questions to show.")] = 3,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the draw of samples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say what a question set is made of, and in which form it was recognised.

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
