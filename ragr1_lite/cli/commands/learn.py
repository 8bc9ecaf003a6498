"""Learning a folder: documents, questions, training and answers by one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.commands.ask import show_answer
from ragr1_lite.cli.session import session

app = opt.Group()

_MODEL = "What is trained: a built-in name, a folder or a hub id. [default: smollm2-135m]"
_TEACHER = "Writes more questions, of prose; a local model, or an OpenAI-compatible endpoint. [default: only by rule]"
_OUT = "Where everything goes. [default: runs/learn-NAME]"
_MINUTES = "Train no longer than that: fewer steps of SFT, and GRPO only where it fits. [default: the recipes' steps]"


@app.add(
    "learn",
    "ragr1-lite learn notes/",
    "ragr1-lite learn notes/ --minutes 60",
    "ragr1-lite learn papers/ --teacher http://127.0.0.1:8000/v1",
)
def learn(
    context: Context,
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Of your documents; see `index build`.")],
    out: Annotated[Path | None, Option(metavar="FOLDER", help=_OUT)] = None,
    model: Annotated[str | None, Option(metavar="MODEL", help=_MODEL)] = None,
    teacher: Annotated[str | None, Option(metavar="MODEL|URL", help=_TEACHER)] = None,
    minutes: Annotated[float | None, Option(min=1, metavar="N", help=_MINUTES)] = None,
    overrides: opt.Overrides = None,
    resume: Annotated[bool, Option("--resume", hidden=True)] = False,  # as errors of its stages may propose
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Learn a folder: index, questions, trajectories, SFT, GRPO, and the same questions before and after.

    The same command goes on after any stop, and follows a folder that changed. Where there are too few questions to
    train on, it says why and what would help, and the shipped adapter answers from the index.

    JSON: {"run", "index", "counts": {"questions": {as of `data make-questions`}, "train", "held-out", "trajectories":
    {as of `data generate`}}, "enough", "rows": {"before": {as of `eval`}, "SFT": {...}, "SFT + GRPO": {...}}, "model",
    "adapter", "ask", "stale", "seconds": {STAGE: seconds}}; "enough" is false where nothing was trained, "adapter" is
    null where the model's own answers best, "ask" is the command that opens the prompt.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.assistant import Assistant
        from ragr1_lite.cli import learn as learning
        from ragr1_lite.data.questions import read_questions
        from ragr1_lite.ui import Conversation
        from ragr1_lite.ui.evaluations import evaluation_table

        done = learning.run(
            folder,
            out=out,
            model=model,
            teacher=teacher,
            minutes=minutes,
            overrides=overrides or (),
            overwrite=overwrite,
            report=display,
        )
        shown = done.too_few or evaluation_table(done.evaluations, display.out)
        display.show(shown, json=done.to_json())
        if as_json:
            return
        if done.evaluations:
            question = read_questions(done.folder.file("held-out"))[0].example.question
            show_answer(Assistant.open(done.setup, report=display), question, display, Conversation.on(display))
        display.show(f"Ask your own: {done.command}")
