"""Progress on stderr, results on stdout: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ragr1_lite.core.events import CheckpointSaved, Notice, PhaseAdvanced, PhaseFinished, PhaseStarted, StepFinished
from ragr1_lite.core.safe_text import clean
from ragr1_lite.ui.figures import step_line
from ragr1_lite.ui.progress import SHORT, Task, sentence
from ragr1_lite.ui.text import duration, to_json
from ragr1_lite.ui.training import ROLLOUTS, TRAINING, UPDATE, TrainingView, begins

_LINE_SECONDS = 5.0  # seconds between two lines of a phase where nothing can be redrawn
_STEP_LINES = 20  # lines of a training run, about, where nothing can be redrawn
_COLUMNS = 160  # columns where no terminal says how many it has
_EACH_STEP = (ROLLOUTS, UPDATE)  # phases of every step: they leave no lines
_MARGIN = 2  # lines above a training run; columns right of it for the ``^C`` of a terminal, which would push it down


class Display:
    """Draws what library code reports; give it as ``report``.

    Args:
        quiet: Only warnings and errors.
        plain: No colours, boxes or redrawing, even on a terminal.
        as_json: Show results as JSON where they come with it.
        out: For results; stdout by default.
        err: For progress; stderr by default.
        clock: Seconds, for tests.

    Attributes:
        checkpoint: The last checkpoint that was reported.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        plain: bool = False,
        as_json: bool = False,
        out: Console | None = None,
        err: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quiet, self.plain, self._as_json = quiet, plain, as_json
        self.stdout = sys.stdout
        self.out = out or console(self.stdout, plain)
        self.err = err or console(sys.stderr, plain)
        self.checkpoint: CheckpointSaved | None = None
        self._clock = clock
        self._tasks: dict[str, Task] = {}
        self._training: TrainingView | None = None
        self._live: Live | None = None
        self._waiting: deque[object] = deque()
        self._drawing = False
        self._draws = redraws(self.err) and not plain

    def __call__(self, event: object) -> None:
        """Draws an event; those of single rollouts belong to a :class:`~ragr1_lite.ui.Conversation`.

        One that comes while another is being drawn, as from a signal's handler, waits: Rich would print both twice.
        """
        self._waiting.append(event)
        if self._drawing:
            return
        self._drawing = True
        try:
            while self._waiting:
                self._draw(self._waiting.popleft())
        finally:
            self._drawing = False

    def _draw(self, event: object) -> None:
        if begins(event) and (self._training is None or self._training.is_over(event)):
            self._training = TrainingView(self._clock)
            self._redraw()
        if self._training is not None:
            self._training.take(event)
        match event:
            case Notice(text, "info"):
                self._line(Text.assemble(("· ", "cyan"), (clean(text), "dim")))
            case Notice(text, level):
                self.err.print(Text.assemble((f"{level.capitalize()}: ", "yellow"), clean(text)))
            case PhaseStarted(name, total, unit) if name != TRAINING:
                self._tasks[name] = Task(name, total, unit, self._clock())
                self._redraw()
            case PhaseFinished(name) if name == TRAINING:
                self._end_training()
            case PhaseAdvanced():
                self._advance(event)
            case PhaseFinished(name, seconds):
                self._end(name, seconds)
            case StepFinished():
                self._step(event)
            case CheckpointSaved(path, step):
                self.checkpoint = event
                self._line(Text.assemble(("✓ ", "green"), f"Checkpoint of step {step}: ", (clean(path), "dim")))

    def close(self) -> None:
        """Clears what was being drawn."""
        self._tasks.clear()
        self._training = None
        self._redraw()

    def show(self, *results: RenderableType, json: Any = None) -> None:
        """Prints results one below the other: ``json``, if that is there and wanted, in their place."""
        self.close()
        if self._as_json and json is not None:
            self.show_json(json)
            return
        for result in results:
            if isinstance(result, str):
                self.out.print(Text(clean(result)), soft_wrap=True)
            elif self._draws:
                self.out.print(result)
            else:
                with self.out.capture() as lines:
                    self.out.print(result)
                self.show_raw("\n".join(line.rstrip() for line in lines.get().split("\n")))

    def show_json(self, value: Any) -> None:
        """Prints a result as one line of JSON."""
        self.show_raw(to_json(value, getattr(self.out.file, "encoding", None) or "utf-8") + "\n")

    def show_raw(self, text: str) -> None:
        """Prints a text unchanged, for a file."""
        self.close()
        self.out.file.write(text)
        self.out.file.flush()

    def error(self, text: str, what: str = "Error:") -> None:
        """Prints what went wrong on stderr, even when quiet."""
        self.err.print(Text.assemble((what, "bold red"), " ", clean(text)), soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """Prints a hint on stderr, unless quiet or next to JSON."""
        if not (self.quiet or self._as_json):
            self.err.print(Text(clean(text), style))

    def ask_question(self) -> str:
        """A question from the keyboard or, line by line, from a pipe; empty at the end, as which `exit` counts."""
        self.close()
        question = self._typed() if sys.stdin.isatty() else next(filter(None, map(str.strip, sys.stdin)), "")
        return "" if question.lower() in ("exit", "quit") else question

    def _typed(self) -> str:
        """A line; Ctrl-C drops what was typed of it, and where that is nothing, ends as Ctrl-D does."""
        begun: Callable[[], str] = str
        with contextlib.suppress(ImportError):
            import readline  # gives input() its history and line editing

            begun = readline.get_line_buffer
        while True:
            try:
                with contextlib.redirect_stdout(self.stdout):
                    return input("\n› ").strip()
            except (EOFError, KeyboardInterrupt) as stopped:
                self.err.print()
                if isinstance(stopped, EOFError) or not begun():
                    return ""

    def _line(self, line: Text) -> None:
        """A line that stays, unless quiet."""
        if not self.quiet:
            self.err.print(line if self._draws else Text(line.plain), soft_wrap=not self._draws)

    def _advance(self, event: PhaseAdvanced) -> None:
        task = self._tasks.get(event.name)
        if task is None:
            return
        now = self._clock()
        task.advance(event.done, now, detail=event.detail, share=event.share, part=event.part)
        self._announce(task)
        if not self._draws and now - task.reported >= _LINE_SECONDS and event.name not in _EACH_STEP:
            task.reported = now
            parts = (task.progress, task.times(now), task.detail)
            self._line(Text(f"  {sentence(task.name)}: {', '.join(part for part in parts if part)}"))

    def _announce(self, task: Task) -> None:
        if task.name not in _EACH_STEP and (text := task.announcement(self._clock())):
            self._line(Text.assemble(("· ", "cyan"), (f"{text}.", "dim")))

    def _end(self, name: str, seconds: float) -> None:
        task = self._tasks.pop(name, None)
        self._redraw()
        if task and seconds >= SHORT and name not in _EACH_STEP:
            self._done(name, task.progress, duration(seconds))

    def _step(self, event: StepFinished) -> None:
        every = max(1, event.total // _STEP_LINES)
        measured = any(name.startswith("eval_") for name in event.metrics)
        if self._training is not None:
            self._announce(self._training.steps)
        if not self._draws and (event.step % every == 0 or event.step in (1, event.total) or measured):
            left = f" · {duration(event.left)} left" if event.left else ""
            self._line(Text(f"  Step {event.step}/{event.total}: {step_line(event.metrics)}{left}"))
        if self._training is not None and self._training.finished:
            self._end_training()

    def _end_training(self) -> None:
        view, self._training = self._training, None
        self._redraw()
        if view is not None and view.steps.done:
            self._done(TRAINING, view.steps.progress, duration(self._clock() - view.steps.began), view.summary)

    def _done(self, name: str, *parts: str) -> None:
        rest = "".join(f", {part}" for part in parts if part)
        self._line(Text.assemble(("✓ ", "green"), sentence(name), (rest, "dim")))

    def _redraw(self) -> None:
        """Starts drawing where there is something to draw, stops where there is not."""
        if (self._tasks or self._training) and self._draws and not self.quiet:
            self._live = self._live or live(self.err, self._render, per_second=5)
        elif self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        tasks = list(self._tasks.values())
        if (training := self._training) is not None:
            return training.render(self.err.width - _MARGIN, self.err.height - _MARGIN, tasks)
        rows: list[RenderableType] = []
        for task in tasks:
            rows.append(task.line(self._clock(), self.err.width))
            if task.detail:
                rows.append(Text(f"  {task.detail}", "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*rows)


def live(on: Console, render: Callable[[], RenderableType], per_second: float) -> Live:
    """Draws what ``render`` returns, again and again, until it is stopped; then clears it."""
    drawing = Live(
        console=on,
        get_renderable=render,
        refresh_per_second=per_second,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    drawing.start()
    return drawing


def console(file: IO[str], plain: bool = False) -> Console:
    """A console that reads no markup; wide and colourless where a program reads its lines."""
    options: dict[str, Any] = {"file": file, "markup": False, "highlight": False, "emoji": False}
    made = _Console(**options, color_system=None if plain else "auto")
    return made if redraws(made) else _Console(**options, color_system=None, width=_COLUMNS)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves a closed pipe to the command line; Rich would exit here."""
        raise BrokenPipeError


def redraws(console: Console) -> bool:
    """Whether lines can be drawn over."""
    return console.is_terminal and not console.is_dumb_terminal
