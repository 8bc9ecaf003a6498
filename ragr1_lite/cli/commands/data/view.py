"""Looking into trajectory files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragr1_lite.cli.commands.options import AsJson, examples, group
from ragr1_lite.cli.session import session

app = group()
_FIRST = 3


@app.command(
    "view",
    epilog=examples(
        "ragr1-lite data view gold.jsonl",
        "ragr1-lite data view runs/books.jsonl --id 5a8b57f2 --masks --model smollm2-135m",
    ),
)
def data_view(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="From `data generate` or `eval`.")],
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help=f"At most this many. [default: {_FIRST}; with --id all]")
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Only the trajectories of this question.")
    ] = None,
    masks: Annotated[
        bool, typer.Option("--masks", help="Show the sequence as it is trained, prompt and tags whole.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Count tokens as this one does; documents uncut.")
    ] = None,
    mode: Annotated[Literal["multi", "single"], typer.Option(help="How the trajectories search.")] = "multi",
    plain: Annotated[bool, typer.Option("--plain", "--no-color", help="Without colours.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show trajectories turn by turn: what is trained and what is masked, queries beside their documents.

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
        else:
            display.show(trajectories_view(viewed, masks=masks, tokens=model is not None))
            if most is not None and limit is None and len(viewed) == most:
                display.say(f"These are the first {most}; --limit N shows more.", "dim")
