"""The memory and time of a training, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

if TYPE_CHECKING:
    from ragr1_lite.training.planning import Plan

app = opt.group()

_LENGTH = "Tokens of the longest sequence. [default: max_length]"


@app.command(
    epilog=opt.examples(
        "ragr1-lite plan sft-smollm2-135m",
        "ragr1-lite plan grpo-qwen2.5-1.5b --gpu-gb 12",
        "ragr1-lite plan grpo-smollm2-135m --probe --length 512",
    )
)
def plan(
    context: Context,
    recipe: opt.RecipeName,
    overrides: opt.Overrides = None,
    gpu_gb: Annotated[
        float | None, Option(min=0.5, metavar="GB", help="The card's memory. [default: what is here]")
    ] = None,
    length: Annotated[int | None, Option(min=64, metavar="N", help=_LENGTH)] = None,
    probe: Annotated[bool, Option("--probe", help="Measure two real steps here and correct the plan.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Predict a training's memory, measure its time with --probe, and propose what fits.

    JSON: {"task", "model", "device", "dtype", "length", "peak_gb", "moment", "parts": {PART: GB}, "moments": {MOMENT:
    GB}, "gpu_gb", "fits", "suggestion": {KEY: VALUE}, "notes", "seconds_per_step": with --probe, "probe": with --probe
    {"peak_gb", "predicted_gb", "ratio", ...}}; GB are of 1,073,741,824 bytes; null is what cannot be known here.
    """
    with session(context) as display:
        from ragr1_lite.config import load_recipe
        from ragr1_lite.training import planning
        from ragr1_lite.ui.tables import pairs_table

        settings = load_recipe(recipe, overrides or ())
        if probe:
            steps = planning.probe(settings, length, display)
            found = planning.corrected(settings, steps, gpu_gb=gpu_gb, length=length)
        else:
            found = planning.plan(settings, gpu_gb=gpu_gb, length=length)
        if as_json:
            display.show_json(found.to_json())
            return
        display.show(pairs_table(_rows(found)))
        for note in found.notes:
            display.note(note, "dim")


def _rows(found: Plan) -> dict[str, str]:
    """A plan as names and values."""
    parts = sorted(found.parts.items(), key=lambda part: -part[1])
    there = "" if found.gpu_gb is None else f" of {found.gpu_gb:.1f} GB: {'fits' if found.fits else 'does not fit'}"
    rows = {
        "Model": f"{found.model}, {found.dtype} on {found.device}, {found.length} tokens",
        "Peak": f"{found.peak_gb:.2f} GB{there}",
        **{f"  {name.replace('_', ' ')}": f"{gb:.2f} GB" for name, gb in parts if gb >= 0.005},
        "Moments": ", ".join(f"{name} {gb:.2f} GB" for name, gb in found.moments.items()),
    }
    if found.probe:
        peak, predicted, ratio = (found.probe[name] for name in ("peak_gb", "predicted_gb", "ratio"))
        measured = "no peak to be read here" if peak is None else f"{peak:.2f} GB measured"
        rows["Probe"] = f"{measured}, {predicted:.2f} GB predicted" + (f" (ratio {ratio:.3f})" if ratio else "")
    if found.seconds_per_step is not None:
        rows["Seconds per step"] = f"{found.seconds_per_step:.0f}"
    if found.suggestion:
        rows["Suggestion"] = " ".join(f"--set {key}={value}" for key, value in found.suggestion.items())
    return rows
