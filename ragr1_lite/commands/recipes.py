"""Reading the shipped recipes."""

from __future__ import annotations

import typer

from ragr1_lite.commands.options import RecipeName, examples, group
from ragr1_lite.session import session

app = group()


@app.command("list")
def recipes_list(context: typer.Context) -> None:
    """List the shipped recipes."""
    with session(context) as display:
        from ragr1_lite.config import recipes_folder
        from ragr1_lite.ui import pairs_table

        files = sorted(recipes_folder().glob("*.yaml"))
        display.show(pairs_table({file.stem: _opening(file.read_text(encoding="utf-8")) for file in files}))


def _opening(recipe: str) -> str:
    """The first sentence of a recipe's opening comment, after its launch line."""
    _, *comments = (line.lstrip("# ") for line in recipe.splitlines() if line.startswith("#"))
    return " ".join(filter(None, comments)).partition(". ")[0].rstrip(".") + "."


@app.command("show", epilog=examples("ragr1-lite recipes show sft-smollm2-135m > mine.yaml"))
def recipes_show(context: typer.Context, recipe: RecipeName) -> None:
    """Print a recipe, to read or to start your own from."""
    with session(context) as display:
        from ragr1_lite.config import find_recipe

        display.show_raw(find_recipe(recipe).read_text(encoding="utf-8"))
