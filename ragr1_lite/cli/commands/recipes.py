"""The shipped recipes, and your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Context, Exit, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

if TYPE_CHECKING:
    from ragr1_lite.ui import Display

app = opt.Group()

_RESOLVED = "With every key: those of the recipes it extends, and all defaults."
_GPU_GB = "Plan for a card of this size, not this machine."


@app.add("list")
def recipes_list(context: Context, as_json: opt.AsJson = False) -> None:
    """List the shipped recipes: those for a CPU first, then by the size of the card.

    JSON: {"recipes": [{"name", "task", "model", "mode", "starts_from", "memory_gb", "card_gb", "about"} ...]}; card_gb
    is null where no card is needed.
    """
    with session(context, as_json=as_json) as display:
        from dataclasses import asdict

        from ragr1_lite.cli.catalog import entries
        from ragr1_lite.ui.tables import records_table

        found = entries()
        rows = [
            {
                "recipe": entry.name,
                "task": entry.task,
                "model": entry.model,
                "mode": entry.mode,
                "card": f"{entry.card_gb} GB" if entry.card_gb else "CPU",
                "starts from": entry.starts_from or "",
            }
            for entry in found
        ]
        display.show(records_table(rows, display.out), json={"recipes": [asdict(entry) for entry in found]})


@app.add(
    "show",
    "ragr1-lite recipes show sft-smollm2-135m",
    "ragr1-lite recipes show mine.yaml --resolved",
)
def recipes_show(
    context: Context,
    recipe: opt.RecipeName,
    resolved: Annotated[bool, Option("--resolved", help=_RESOLVED)] = False,
) -> None:
    """Print a recipe."""
    with session(context) as display:
        from ragr1_lite.config import find_recipe, load_recipe

        text = load_recipe(recipe).dump() if resolved else find_recipe(recipe).read_text(encoding="utf-8")
        display.show_raw(text)


@app.add("copy", "ragr1-lite recipes copy sft-qwen2.5-1.5b mine.yaml")
def recipes_copy(
    context: Context,
    recipe: opt.RecipeName,
    file: Annotated[Path | None, Argument(metavar="FILE", help="[default: its name, here]")] = None,
    overwrite: opt.Overwrite = False,
) -> None:
    """Write a recipe into a file of its own, to start yours from.

    The copy contains what the recipe takes from others, so it works in any folder.
    """
    with session(context) as display:
        from ragr1_lite.cli.catalog import standalone
        from ragr1_lite.config import find_recipe, load_recipe
        from ragr1_lite.files.journal import already_there
        from ragr1_lite.files.writing import refuse_input, write_atomic

        source = find_recipe(recipe)
        target = file or Path(f"{source.stem}.yaml")
        refuse_input(target, (source,), "FILE")
        if target.exists() and not overwrite:
            raise already_there(target, "Give another file, or replace it with --overwrite.")
        write_atomic(target, standalone(source, str(target)))
        display.show(f"{target} is yours to edit.")
        display.note(f"Check it: ragr1-lite recipes check {target}", "dim")
        display.note(f"Start it: ragr1-lite {load_recipe(str(target)).task} {target}", "dim")


@app.add(
    "check",
    "ragr1-lite recipes check mine.yaml",
    "ragr1-lite recipes check mine.yaml --gpu-gb 8",
)
def recipes_check(
    context: Context,
    recipes: Annotated[list[str], Argument(metavar="RECIPE...", help="YAML files, or names.")],
    overrides: opt.Overrides = None,
    gpu_gb: Annotated[float | None, Option(min=1, metavar="GB", help=_GPU_GB)] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Check recipes: every problem at once, or what they would do.

    Files they name that do not exist are warnings. Exit code 2 where a recipe is wrong.

    JSON: {"ok", "recipes": [{"recipe", "ok", "error", "warnings", "task", "model", "adapter", "data", "index", "mode",
    "steps", "batch_size", "micro_batch", "output", "device", "memory_gb", "fits"} ...]}; of a wrong recipe only
    the first three.
    """
    with session(context) as display:
        checked = [_check(recipe, overrides or [], gpu_gb) for recipe in recipes]
        ok = all(one["ok"] for one in checked)
        if as_json:
            display.show_json({"ok": ok, "recipes": checked})
        else:
            for one in checked:
                _show_check(one, display)
        if not ok:
            raise Exit(2)


def _check(recipe: str, overrides: list[str], gpu_gb: float | None) -> dict[str, Any]:
    from ragr1_lite.cli.catalog import summary
    from ragr1_lite.config import load_recipe
    from ragr1_lite.core.errors import ConfigError

    try:
        settings = load_recipe(recipe, overrides)
    except ConfigError as error:
        return {"recipe": recipe, "ok": False, "error": str(error)}
    return {"recipe": recipe, "ok": True, "error": None, **summary(settings, gpu_gb)}


def _show_check(checked: dict[str, Any], display: Display) -> None:
    if not checked["ok"]:
        display.error(checked["error"])
        return
    from ragr1_lite.core.events import Notice

    text = (
        "{recipe} is right: {task} of {model}, {mode} mode, on {data}, {steps} steps of {batch_size} by {micro_batch}"
    )
    where = "a card" if checked["device"] == "cuda" else "this CPU"
    memory = "" if checked["memory_gb"] is None else f", {checked['memory_gb']:.1f} GB of memory planned on {where}"
    display.show(text.format(**checked) + memory + f", into {checked['output']}.")
    too_large = [f"That is too much for {where}: ragr1-lite plan {checked['recipe']} shows what would fit."]
    for warning in checked["warnings"] + (too_large if checked["fits"] is False else []):
        display(Notice(warning, "warning"))
