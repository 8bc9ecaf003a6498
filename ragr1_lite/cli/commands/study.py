"""Studies of what parallel queries, searchers and models change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.group()

_RECIPE = "Gives model, adapter, index and questions."
_VARIANT = "Change a variant, or add one. May be repeated."
_OUT = "Where study.json, table.md, plot.svg and each variant's results go."


@app.command(
    "study",
    epilog=opt.examples(
        "ragr1-lite study single-multi --kind compare-2 --kind compare-3 --out runs/study",
        "ragr1-lite study single-multi --variant single:model.adapter=runs/sq/adapter",
        "ragr1-lite study queries mine.yaml --set retrieval.index=runs/books",
        "ragr1-lite study search --variant web:retrieval.index=web+brave://",
        "ragr1-lite study models --variant qwen:model.name=Qwen/Qwen2.5-0.5B-Instruct",
    ),
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
    out: Annotated[Path | None, Option(metavar="FOLDER", help=_OUT)] = None,
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
        display.show(study_table(outcome, display.out), json=outcome.to_json())
