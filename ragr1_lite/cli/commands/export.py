"""A trained model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.Group()

_ADAPTER = "A run's folder, an adapter's, a checkpoint, a hub id, or `shipped`: the model's own."
_RESULTS = "hub: figures for the card, from `eval --out`; name each file after what was asked. May be repeated."
_LICENSE = "hub: a licence by the hub's name, such as mit. [default: a built-in model's, for a run]"
_DATA = "Where the questions come from: as for `eval`."


@app.add(
    "export",
    "ragr1-lite export runs/grpo --to merged --out exported",
    "ragr1-lite export runs/grpo --to ollama --precision q8_0 --out exported   (then: ollama create mine)",
    "ragr1-lite export runs/grpo --to hub --results hotpotqa.jsonl --out exported --push OWNER/NAME",
)
def export(
    context: Context,
    adapter: Annotated[str, Argument(metavar="ADAPTER", help=_ADAPTER)],
    out: Annotated[Path, Option(metavar="FOLDER", help="The folder to make.")],
    to: Annotated[Literal["merged", "gguf", "ollama", "hub"], Option(help="What to write.")] = "merged",
    precision: Annotated[Literal["f16", "q8_0"], Option(help="Of the matrices in a GGUF file.")] = "f16",
    model: opt.Model = None,
    index: opt.Indexes = None,
    data: Annotated[str, Option(metavar="world|NAME|FILE", help=_DATA)] = "world",
    questions: Annotated[int, Option(min=0, metavar="N", help="Asked before and after; 0 asks none.")] = 24,
    merged: Annotated[bool, Option("--merged", help="hub: the whole model, not the adapter alone.")] = False,
    results: Annotated[list[Path] | None, Option("--results", metavar="FILE", help=_RESULTS)] = None,
    license: Annotated[str | None, Option(metavar="ID", help=_LICENSE)] = None,
    push: Annotated[str | None, Option(metavar="OWNER/NAME", help="hub: upload it there.")] = None,
    public: Annotated[bool, Option("--public", help="hub: show a new repository to everybody.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write a trained model for other programs: a folder, a GGUF file, an Ollama model, a hub repository.

    The adapter is merged in fp32 and rounded once. merged: weights in bf16 with the tokenizer, its template and all end
    tokens, for transformers and vLLM. gguf: one file for llama.cpp. ollama: that file and a Modelfile with the prompt
    that was trained. A model that was written is asked the same questions as the trained one, and not kept if fewer
    than three quarters of the answers are the same.

    hub: the adapter, or with --merged the model, with tokenizer, generation config, the recipe, and a card of what the
    run and --results say. --push uploads it, with the token of `hf auth login` or HF_TOKEN.

    JSON: {"folder", "form", "files": {NAME: bytes}, "agreement": {"questions", "same", "em_before", "em_after"} or
    null, "url": the repository's or null}
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.assistant import Setup
        from ragr1_lite.core.errors import ConfigError
        from ragr1_lite.data.sets import load_examples
        from ragr1_lite.serving.export import export as write
        from ragr1_lite.serving.export import export_adapter
        from ragr1_lite.serving.hub.facts import Wanted
        from ragr1_lite.serving.hub.upload import require_access, upload
        from ragr1_lite.ui.text import size

        if to != "hub" and (merged or results or license or push or public):
            fix = "Add --to hub, or leave them out."
            raise ConfigError("--merged, --results, --license, --push and --public are for the hub alone", fix)
        if push:
            require_access(push)
        setup = Setup(model=model, adapter=adapter, index=index)
        hub = Wanted(push or out.name, merged, license, tuple(results or ())) if to == "hub" else None
        found = None
        if hub and not merged:
            export_adapter(setup, out, hub, report=display)
        else:
            examples = load_examples(data, "test", limit=questions, seed=0, report=display) if questions else []
            form = "merged" if to == "hub" else to
            found = write(setup, form, out, examples, precision=precision, hub=hub, report=display)
        url = upload(out, push, public=public, report=display) if push else None
        files = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
        lines = [f"{out}: " + ", ".join(f"{name} ({size(number)})" for name, number in files.items())]
        if found:
            lines.append(
                f"{found.same:.0%} of {found.questions} answers are the same as before; "
                f"EM {found.em_before:.2f} before, {found.em_after:.2f} after."
            )
        agreement = found.to_json() if found else None
        display.show(*lines, json={"folder": str(out), "form": to, "files": files, "agreement": agreement, "url": url})
