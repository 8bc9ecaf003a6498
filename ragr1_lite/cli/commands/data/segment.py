"""Cutting trajectories into samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragr1_lite.cli.commands.options import AsJson, Overwrite, examples, group
from ragr1_lite.cli.session import session

app = group()


@app.command(
    "segment",
    epilog=examples(
        "ragr1-lite data segment gold.jsonl",
        "ragr1-lite data segment gold.jsonl --balance --out samples.jsonl --form sharegpt",
    ),
)
def data_segment(
    context: typer.Context,
    trajectories: Annotated[Path, typer.Argument(metavar="TRAJECTORIES.jsonl", help="From `data generate` or `eval`.")],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Whose tokens are counted, and written by --form text.")
    ] = "smollm2-135m",
    mode: Annotated[Literal["multi", "single"], typer.Option(help="How the trajectories search.")] = "multi",
    max_queries: Annotated[int, typer.Option(min=1, metavar="N", help="Parallel queries per search, at most.")] = 3,
    balance: Annotated[
        bool, typer.Option("--balance", help="Keep equally many samples of each category that occurs.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of that draw.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write the separate samples, for other trainers.")
    ] = None,
    form: Annotated[
        Literal["messages", "sharegpt", "text"],
        typer.Option(
            help="messages: for Axolotl, LLaMA-Factory and TRL. sharegpt: for LLaMA-Factory. text: for TRL, with the "
            "chat template, as this package's models see it."
        ),
    ] = "messages",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Count what trajectories teach, by the paper's four categories, and write separate samples.

    `ragr1-lite sft` trains whole trajectories, the loss on the same targets: it needs no samples, and the tokens
    counted here show what that saves. --balance is for the samples; a whole trajectory is trained with all its turns.

    JSON: {"trajectories", "categories": {"1": n, "2": n, "3": n, "4": n}, "tokens_whole", "tokens_separate", "ratio",
    "dropped", "written"}; dropped counts the samples left out by --balance.
    """
    with session(context) as display:
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
        if as_json:
            display.show_json(counts)
            return
        labels = counts.pop("categories")
        named = {f"({number}) {name}": labels[str(number)] for number, name in CATEGORIES.items()}
        display.show(counts_table({"trajectories": counts.pop("trajectories")} | named | counts))
