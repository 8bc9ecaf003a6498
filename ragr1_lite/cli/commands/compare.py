"""Comparing two evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragr1_lite.cli.commands.evaluate import Normalizer
from ragr1_lite.cli.commands.options import AsJson, examples, group
from ragr1_lite.cli.session import session

app = group()


@app.command("compare", epilog=examples("ragr1-lite compare before.jsonl after.jsonl"))
def compare(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(metavar="A", help="From `eval --out`.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same questions.")],
    normalizer: Normalizer = "ours",
    as_json: AsJson = False,
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
