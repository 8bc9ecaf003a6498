"""Training: the two stages, and both of them in a quickstart."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from typer import Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.commands.ask import show_answer
from ragr1_lite.cli.session import session

app = opt.group()

_JSON = """\
JSON: {"run", "adapter", "steps", "seconds", "resources"}; run and adapter are folders, resources is what the whole
run took, null where it was finished before: {"seconds", "cpu_load", "peak_rss_gb", "peak_vram_gb", "energy_wh":
{"gpu"}, "not_measurable": {NAME: why}}."""


@app.command(
    "grpo",
    help=f"Train an adapter by reinforcement on its own searches (stage 2).\n\n{_JSON}",
    epilog=opt.examples(
        "ragr1-lite grpo grpo-smollm2-135m --set model.adapter=runs/sft/adapter",
        "ragr1-lite grpo grpo-smollm2-135m --resume",
    ),
)
@app.command(
    "sft",
    help=f"Train an adapter on gold trajectories (stage 1).\n\n{_JSON}",
    epilog=opt.examples(
        "ragr1-lite sft sft-smollm2-135m",
        "ragr1-lite sft sft-smollm2-135m --set train.steps=50 --set output=runs/short",
        "ragr1-lite sft sft-smollm2-135m --resume",
    ),
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
        from ragr1_lite.config import load_recipe, require_adapter
        from ragr1_lite.core.events import Report, ignore, phase
        from ragr1_lite.models.processes import is_main

        task: Any = context.command.name
        settings = load_recipe(recipe, overrides or (), task=task)  # before torch is imported
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
        display.show(
            f"{result.steps} steps in {result.seconds:.0f} s. The adapter is in {result.adapter}.", json=fields
        )
        if not as_json:
            if result.resources:
                display.note(f"The run took {result.resources}.", "dim")
            display.note(f'Try it: ragr1-lite ask --adapter {result.adapter} "…"', "dim")


@app.command(
    "quickstart", epilog=opt.examples("ragr1-lite quickstart", "ragr1-lite quickstart --seed 1 --folder runs/second")
)
def start(
    context: Context,
    seed: opt.Seed = 0,
    folder: Annotated[Path, Option(metavar="FOLDER", help="Where both runs go.")] = Path("runs/quickstart"),
    as_json: opt.AsJson = False,
) -> None:
    """Train a model that searches, from nothing: SFT, GRPO, what each of them gains, and a question answered.

    JSON: {"rows": {"base": {as `eval` prints}, "SFT": {...}, "SFT + GRPO": {...}}, "adapter", "model", "seconds":
    {STAGE: seconds}, "versions": {PACKAGE: version}}.
    """
    with session(context) as display:
        from ragr1_lite.assistant import Assistant, with_adapter
        from ragr1_lite.cli import quickstart
        from ragr1_lite.config import load_recipe
        from ragr1_lite.ui import Conversation
        from ragr1_lite.ui.evaluations import evaluation_table

        result = quickstart.run(seed=seed, folder=folder, report=display)
        if as_json:
            display.show_json(result.to_json())
            return
        display.show(evaluation_table(result.evaluations, display.out))
        recipe = with_adapter(load_recipe(quickstart.SFT), str(result.adapter))
        assistant = Assistant.open_recipe(recipe, report=display)
        show_answer(assistant, quickstart.QUESTION, display, Conversation.on(display))
        display.note(f'Ask your own: ragr1-lite ask --adapter {result.adapter} "…"', "dim")
