"""Studies of what parallel queries, searchers and models change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragr1_lite.cli.commands.options import AsJson, Overrides, Overwrite, Resume, examples, group
from ragr1_lite.cli.session import session

app = group()


@app.command(
    "study",
    epilog=examples(
        "ragr1-lite study single-multi --kind compare-2 --kind compare-3 --out runs/study",
        "ragr1-lite study single-multi --variant single:model.adapter=runs/sq/adapter",
        "ragr1-lite study queries mine.yaml --set retrieval.index=runs/books",
        "ragr1-lite study search --variant web:retrieval.index=web+brave://",
        "ragr1-lite study models --variant qwen:model.name=Qwen/Qwen2.5-0.5B-Instruct",
    ),
)
def study(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="single-multi, queries, search or models.")],
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Its model, adapter, index and questions.")
    ] = "grpo-smollm2-135m",
    overrides: Overrides = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL:KEY=VALUE", help="Change a variant, or add one. May be repeated."),
    ] = None,
    questions: Annotated[int, typer.Option(min=1, metavar="N", help="At most this many of the recipe's.")] = 48,
    split: Annotated[Literal["test", "dev"], typer.Option(help="Of the embedded world.")] = "test",
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only questions of this kind; may be repeated.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Questions answered side by side.")] = 32,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For study.json, table.md, plot.svg and each variant's results."),
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Vary one thing, keep the rest, and see what it does: a table and a plot.

    single-multi: one query a turn or several; queries: one to five at once; search: BM25 in this process, over HTTP, or
    the web; models: with and without the adapter, and others you name. All variants answer the same questions, by
    turns.

    JSON: {"study", "question", "questions", "variants": [{"variant", as of `eval`, "difference": {"em", "ci": [low,
    high], "p", "saved": {"rounds", "queries", "seconds_per_question"}}} or {"variant", "problem"}]}; differences are
    from the first variant, `saved` are shares of its cost.
    """
    with session(context) as display:
        from ragr1_lite.evaluation.study import run_study, with_variants
        from ragr1_lite.evaluation.study.designs import find_design

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

        if out is not None:
            from ragr1_lite.evaluation.study.plot import draw_study
            from ragr1_lite.files.writing import json_text, write_atomic

            write_atomic(out / "study.json", json_text(outcome.to_json(), indent=2) + "\n")
            write_atomic(out / "table.md", study_markdown(outcome))
            draw_study(outcome, out / "plot.svg")
        if as_json:
            display.show_json(outcome.to_json())
        else:
            display.show(study_table(outcome, display.out))
