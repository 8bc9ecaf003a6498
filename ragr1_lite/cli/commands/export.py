"""A trained model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

app = opt.Group()

_ADAPTER = "A run's folder, an adapter's, a checkpoint or a hub id."
_DATA = "Where the questions come from: as for `eval`."


@app.add(
    "export",
    "ragr1-lite export runs/grpo --to merged --out exported",
    "ragr1-lite export runs/grpo --to ollama --precision q8_0 --out exported   (then: ollama create mine)",
)
def export(
    context: Context,
    adapter: Annotated[str, Argument(metavar="ADAPTER", help=_ADAPTER)],
    out: Annotated[Path, Option(metavar="FOLDER", help="The folder to make.")],
    to: Annotated[Literal["merged", "gguf", "ollama"], Option(help="What to write.")] = "merged",
    precision: Annotated[Literal["f16", "q8_0"], Option(help="Of the matrices in a GGUF file.")] = "f16",
    model: opt.Model = None,
    index: opt.Indexes = None,
    data: Annotated[str, Option(metavar="world|NAME|FILE", help=_DATA)] = "world",
    questions: Annotated[int, Option(min=0, metavar="N", help="Asked before and after; 0 asks none.")] = 24,
    as_json: opt.AsJson = False,
) -> None:
    """Write a trained model for other programs: a folder, a GGUF file, an Ollama model.

    The adapter is merged in fp32 and rounded once. merged: weights in bf16 with the tokenizer, its template and all end
    tokens, for transformers and vLLM. gguf: one file for llama.cpp. ollama: that file and a Modelfile with the prompt
    that was trained. What was written is asked the same questions as the trained model, and not kept if fewer than
    three quarters of the answers are the same.

    JSON: {"folder", "form", "files": {NAME: bytes}, "agreement": {"questions", "same", "em_before", "em_after"} or
    null}
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.assistant import Setup
        from ragr1_lite.data.sets import load_examples
        from ragr1_lite.serving.export import export as write
        from ragr1_lite.ui.text import size

        setup = Setup(model=model, adapter=adapter, index=index)
        examples = load_examples(data, "test", limit=questions, seed=0, report=display) if questions else []
        found = write(setup, to, out, examples, precision=precision, report=display)
        files = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
        lines = [f"{out}: " + ", ".join(f"{name} ({size(number)})" for name, number in files.items())]
        if found:
            lines.append(
                f"{found.same:.0%} of {found.questions} answers are the same as before; "
                f"EM {found.em_before:.2f} before, {found.em_after:.2f} after."
            )
        agreement = found.to_json() if found else None
        display.show(*lines, json={"folder": str(out), "form": to, "files": files, "agreement": agreement})
