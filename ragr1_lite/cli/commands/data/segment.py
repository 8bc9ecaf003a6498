"""Cutting trajectories into samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.group()

_MODEL = "Whose tokens are counted, and written by --form text."
_BALANCE = "Keep equally many samples of each category that occurs."
_FORM = (
    "messages: for Axolotl, LLaMA-Factory and TRL. sharegpt: for LLaMA-Factory. text: for TRL, with the chat template, "
    "as this package's models see it."
)


@app.command(
    "segment",
    epilog=opt.examples(
        "ragr1-lite data segment gold.jsonl",
        "ragr1-lite data segment gold.jsonl --balance --out samples.jsonl --form sharegpt",
    ),
)
def data_segment(
    context: Context,
    trajectories: Annotated[Path, Argument(metavar="TRAJECTORIES.jsonl", help="From `data generate` or `eval`.")],
    model: Annotated[str, Option(metavar="MODEL", help=_MODEL)] = "smollm2-135m",
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
