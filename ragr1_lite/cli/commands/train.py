"""Training: the two stages, a quickstart of both, the memory that they need, and a check of this machine."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Context, Exit, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.commands.ask import show_answer
from ragr1_lite.cli.session import session

if TYPE_CHECKING:
    from ragr1_lite.training.planning import Plan

app = opt.Group()

_LENGTH = "Tokens of the longest sequence. [default: max_length]"
_JSON = """\
JSON: {"run", "adapter", "steps", "seconds", "resources"}; run and adapter are folders, resources is what the whole
run took, null where that is not known: {"seconds", "cpu_load", "peak_rss_gb", "peak_vram_gb", "energy_wh":
{"gpu"}, "not_measurable": {NAME: why}}."""


@app.add(
    "grpo",
    "ragr1-lite grpo grpo-smollm2-135m --set model.adapter=runs/sft/adapter",
    "ragr1-lite grpo grpo-smollm2-135m --resume",
    help=f"Train an adapter by reinforcement on its own searches (stage 2).\n\n{_JSON}",
)
@app.add(
    "sft",
    "ragr1-lite sft sft-smollm2-135m",
    "ragr1-lite sft sft-smollm2-135m --set train.steps=50 --set output=runs/short",
    "ragr1-lite sft sft-smollm2-135m --resume",
    help=f"Train an adapter on gold trajectories (stage 1).\n\n{_JSON}",
)
def train(
    context: Context,
    recipe: opt.RecipeName,
    overrides: opt.Overrides = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Trains by the command's name."""
    with session(context, as_json=as_json) as display:
        from ragr1_lite.config import load_recipe
        from ragr1_lite.core.events import Report, ignore, phase
        from ragr1_lite.models.adapter_folder import require_adapter
        from ragr1_lite.models.processes import is_main

        task: Any = context.command.name
        settings = load_recipe(recipe, overrides or (), task=task)  # before torch is imported
        if not resume:  # a finished run needs it no more
            require_adapter(settings)
        report: Report = display if is_main() else ignore
        with phase(report, "Loading"):  # torch and TRL take seconds
            trainer = import_module(f"ragr1_lite.training.{task}")
        result = trainer.train(settings, resume=resume, overwrite=overwrite, report=report)
        if not is_main():
            return
        fields = {
            "run": str(result.run.folder),
            "adapter": str(result.adapter),
            "steps": result.steps,
            "seconds": round(result.seconds, 3),
            "resources": result.resources.to_json() if result.resources else None,
        }
        done = f"{result.steps} steps in {result.seconds:.0f} s. The adapter is in {result.adapter}."
        display.show(done, json=fields)
        if result.resources:
            display.note(f"The run took {result.resources}.", "dim")
        display.note(f'Try it: ragr1-lite ask --adapter {result.adapter} "…"', "dim")


@app.add("quickstart", "ragr1-lite quickstart", "ragr1-lite quickstart --full", "ragr1-lite quickstart --seed 1")
def start(
    context: Context,
    full: Annotated[bool, Option("--full", help="All kinds of questions, three times the SFT.")] = False,
    seed: opt.Seed = 0,
    folder: Annotated[Path, Option(metavar="FOLDER", help="Where both runs go.")] = Path("runs/quickstart"),
    as_json: opt.AsJson = False,
) -> None:
    """Answer a question, then train a model that searches, from nothing: SFT, GRPO, and what each of them gains.

    JSON: {"rows": {"base": {as `eval` prints}, "SFT": {...}, "SFT + GRPO": {...}}, "adapter", "model", "seconds":
    {STAGE: seconds}, "versions": {PACKAGE: version}}.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.assistant import Assistant, Setup
        from ragr1_lite.cli import quickstart
        from ragr1_lite.ui import Conversation
        from ragr1_lite.ui.evaluations import evaluation_table

        def ask(assistant: Assistant) -> None:
            show_answer(assistant, quickstart.QUESTION, display, Conversation.on(display))

        if not as_json:
            ask(Assistant.open(Setup(), report=display))
            display.note("So answers the adapter that is shipped. Now one is trained from nothing.", "dim")
        result = quickstart.run(full=full, seed=seed, folder=folder, report=display)
        display.show(evaluation_table(result.evaluations, display.out), json=result.to_json())
        if not as_json:
            ask(Assistant.open_recipe(result.recipe, report=display))
            display.note(f'Ask your own: ragr1-lite ask --adapter {result.adapter} "…"', "dim")


@app.add(
    "plan",
    "ragr1-lite plan sft-smollm2-135m",
    "ragr1-lite plan grpo-qwen2.5-1.5b --gpu-gb 12",
    "ragr1-lite plan grpo-smollm2-135m --probe --length 512",
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
    with session(context, as_json=as_json) as display:
        from ragr1_lite.config import load_recipe
        from ragr1_lite.training import planning
        from ragr1_lite.ui.tables import pairs_table

        settings = load_recipe(recipe, overrides or ())
        if probe:
            steps = planning.probe(settings, length, display)
            found = planning.corrected(settings, steps, gpu_gb=gpu_gb, length=length)
        else:
            found = planning.plan(settings, gpu_gb=gpu_gb, length=length)
        display.show(pairs_table(_rows(found)), json=found.to_json())
        for note in found.notes:
            display.note(note, "dim")


def _rows(found: Plan) -> dict[str, str]:
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


@app.add("doctor", "ragr1-lite doctor", "ragr1-lite doctor --online --json")
def diagnose(
    context: Context,
    online: Annotated[bool, Option("--online", help="Ask the model hub whether it answers, too.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Check what training needs: packages, card, memory, disk, model caches. Nothing is changed.

    Exit code 1 where something needed is broken; something optional that is absent, such as a card, is no fault.

    JSON: {"ok", "findings": [{"name", "ok", "detail", "fix"} ...]}; a fix is empty where nothing is broken.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.cli.doctor import examine
        from ragr1_lite.ui.tables import findings_table

        findings = [finding.to_json() for finding in examine(online=online)]
        ok = all(finding["ok"] for finding in findings)
        display.show(findings_table(findings), json={"ok": ok, "findings": findings})
        if not ok:
            raise Exit(1)
