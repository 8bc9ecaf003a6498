"""Draws the README's pictures from what really happened.

``python docs/picture.py QUESTION INDEX`` asks the shipped model of an index of documents and draws ``docs/ask.svg``;
``python docs/picture.py --web`` asks it on the page, by the machine's Chromium, and draws ``docs/ask-web.png``;
``python docs/picture.py --report PAGE`` draws a page of ``ragr1-lite report`` as ``docs/report-light.png``, and a
comparison that its last evaluation gained as ``docs/report-dark.png``;
``python docs/picture.py --run FOLDER`` replays a GRPO run's metrics up to the middle of its last step, lets its adapter
answer held-out questions for the sample, and draws ``docs/training.svg``.
"""

import io
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from ragr1_lite.assistant import Assistant, Setup, with_adapter
from ragr1_lite.config import Recipe, load_recipe
from ragr1_lite.core.events import PhaseAdvanced, PhaseFinished, PhaseStarted, RolloutsFinished, StepFinished
from ragr1_lite.core.rewards import score
from ragr1_lite.core.rollout import run_rollouts
from ragr1_lite.evaluation import held_out
from ragr1_lite.ui import Display
from ragr1_lite.ui.conversation import PrettyConversation
from ragr1_lite.ui.training import TRAINING, TrainingView

QUESTIONS = 48
"""Held-out questions among which the sample is chosen."""


def ask(question: str, index: str) -> None:
    """A question is answered."""
    answer = Assistant.open(Setup(index=index)).ask(question)
    console = _console(96)
    view = PrettyConversation(Display(out=console))
    view._stream = lambda: None  # no spinner between the turns
    view.begin(question)
    view.finish(answer)
    _save(console, f'ragr1-lite ask "{question}" --index {Path(index).name}', "ask.svg")


def web() -> None:
    """The page's first example is answered."""
    from ragr1_lite.retrieval.remote.hosting import in_background
    from ragr1_lite.serving.page import make_app

    with in_background(make_app(Assistant.open()), "The page") as url, _chromium() as chromium:
        page = chromium.new_page(viewport={"width": 1100, "height": 600})
        page.set_default_timeout(600_000)  # the model takes what this machine gives it
        page.goto(url)
        page.click("#examples button")
        page.wait_for_selector(".sources")
        page.mouse.move(0, 0)
        page.screenshot(path=Path(__file__).with_name("ask-web.png"), full_page=True)


def report(file: Path) -> None:
    """A report from its top, in the light, and its trajectories, in the dark."""
    with _chromium() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 1080}, color_scheme="light")
        page.goto(file.resolve().as_uri())
        page.screenshot(path=Path(__file__).with_name("report-light.png"))
        page = chromium.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        page.goto(file.resolve().as_uri())
        page.select_option("#kind", "comparison")
        page.click("text=Gained")
        page.click("text=Trajectories")
        page.wait_for_timeout(1000)  # it scrolls there
        page.screenshot(path=Path(__file__).with_name("report-dark.png"))


@contextmanager
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


def training(run: Path) -> None:
    """A run in the middle of its last step."""
    recipe = load_recipe(str(run / "recipe.yaml"))
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    now = 0.0
    view = TrainingView(lambda: now)
    view.take(PhaseStarted(TRAINING, recipe.train.steps, "steps"))
    rollouts = _rollouts(recipe, run)
    for metrics in steps:
        view.take(PhaseStarted("rollouts", recipe.train.batch_size, "rollouts"))
        now += metrics["rollout_seconds"]
        view.take(PhaseAdvanced("rollouts", recipe.train.batch_size))
        view.take(PhaseFinished("rollouts", metrics["rollout_seconds"]))
        update = metrics["seconds"] - metrics["rollout_seconds"]
        if metrics is not steps[-1]:
            now += update
            view.take(StepFinished(metrics.pop("step"), recipe.train.steps, metrics))
    view.take(rollouts)
    now += update / 2
    console = _console(88)
    console.print(view.render(console.width, 24))
    _save(console, "ragr1-lite grpo", "training.svg")


def _rollouts(recipe: Recipe, run: Path) -> RolloutsFinished:
    """What the run's adapter makes of the first held-out questions, greedily."""
    assistant = Assistant.open_recipe(with_adapter(recipe, str(_adapter(run))))
    trajectories = run_rollouts(
        held_out(recipe.model_copy(update={"eval": recipe.eval.model_copy(update={"questions": QUESTIONS})})),
        assistant.sampler,
        assistant.searcher,
        protocol=assistant.protocol,
        limits=assistant.limits,
    )
    rewards = [score(trajectory, recipe.reward.weights) for trajectory in trajectories]
    return RolloutsFinished(tuple(trajectories), tuple(rewards), 0.0)


def _adapter(run: Path) -> Path:
    """The trained adapter or, of a run that is not finished, the newest checkpoint."""
    checkpoints = sorted((run / "checkpoints").glob("checkpoint-*/complete"), key=lambda path: path.stat().st_mtime)
    return run / "adapter" if (run / "adapter").exists() else checkpoints[-1].parent


def _console(width: int) -> Console:
    return Console(record=True, width=width, file=io.StringIO(), force_terminal=True)


def _save(console: Console, title: str, name: str) -> None:
    Path(__file__).with_name(name).write_text(console.export_svg(title=title), encoding="utf-8")


if sys.argv[1:2] == ["--run"]:
    training(Path(sys.argv[2]))
elif sys.argv[1:2] == ["--report"]:
    report(Path(sys.argv[2]))
elif sys.argv[1:2] == ["--web"]:
    web()
else:
    ask(*sys.argv[1:])
