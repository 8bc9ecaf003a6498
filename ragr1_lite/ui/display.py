"""Progress on stderr, results on stdout: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ragr1_lite.events import CheckpointSaved, Notice, PhaseAdvanced, PhaseFinished, PhaseStarted, StepFinished
from ragr1_lite.ui.text import clean, duration, one_line, share, to_json

_TRAINING = "Training"
_BARELY = 0.5
"""Phases of fewer seconds pass without a word."""
_PATIENCE = 5.0
"""Seconds between two lines of a phase where nothing can be redrawn."""
_MANY = 100
"""Units a second from which their rate is worth telling."""
_ROOMY = 80
"""Columns from which a bar has room for the rate."""
_STEP_LINES = 20
"""Lines of a training run, about, where nothing can be redrawn."""
_WIDE = 160
"""Columns where no terminal says how many it has."""
_SHARES = ("reward", "em", "f1", "format", "signal")
_UNTOLD = {"grad_norm", "lr", "kl", "entropy", "tokens", "rollout_seconds", "seconds"}


@dataclass(slots=True)
class _Task:
    """A piece of work on the display."""

    name: str
    total: int | None
    unit: str
    began: float
    done: int = 0
    skipped: int = 0
    detail: str = ""
    share: float | None = None
    history: list[Mapping[str, float]] = field(default_factory=list)
    told: float = field(init=False)

    def __post_init__(self) -> None:
        self.told = self.began

    @property
    def progress(self) -> str:
        """Units done, such as ``1,200/25,531 passages``."""
        if self.total is None and not self.done:
            return ""
        of = "" if self.total in (None, self.done) else f"/{self.total:,}"
        return f"{self.done:,}{of} {self.unit}".rstrip()

    def times(self, now: float, *, rate: bool = True) -> str:
        """Time spent and, once they can be told, time left and, with ``rate``, units a second where they are many."""
        spent, here = now - self.began, self.done - self.skipped
        share = here / (self.total - self.skipped) if self.total else self.share
        told = [duration(spent)]
        if share and here > 0 and share < 1:
            told.append(f"{duration(spent / share * (1 - share))} left")
        if rate and spent >= _BARELY and here / spent >= _MANY:
            told.append(f"{here / spent:,.0f}/s")
        return " · ".join(told)


class Display:
    """Draws what library code reports; give it as ``report``.

    Args:
        quiet: Only warnings and errors.
        plain: No colours, boxes or redrawing, even on a terminal.
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
        out: Console | None = None,
        err: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quiet, self.plain = quiet, plain
        self.stdout = sys.stdout
        self.out = out or console(self.stdout, plain)
        self.err = err or console(sys.stderr, plain)
        self.checkpoint: CheckpointSaved | None = None
        self._clock = clock
        self._tasks: dict[str, _Task] = {}
        self._live: Live | None = None
        self._draws = lively(self.err) and not plain

    def __call__(self, event: object) -> None:
        """Draws an event; those of single rollouts belong to a :class:`~ragr1_lite.ui.Conversation`."""
        match event:
            case Notice(text, level):
                self._notice(text, level)
            case PhaseStarted(name, total, unit):
                self._begin(_Task(name, total, unit, self._clock()))
            case PhaseAdvanced(name):
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
        self._redraw()

    def show(self, result: RenderableType) -> None:
        """Prints a result."""
        self.close()
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
        self.show_raw(to_json(value) + "\n")

    def show_raw(self, text: str) -> None:
        """Prints a text as it stands, for a file."""
        self.close()
        self.out.file.write(text)
        self.out.file.flush()

    def error(self, text: str) -> None:
        """Prints what went wrong."""
        self.failed("Error:", text)

    def failed(self, what: str, text: str = "") -> None:
        """Prints a coloured word and what follows it, on stderr, even when quiet."""
        self.err.print(Text.assemble((what, "bold red"), " ", clean(text)), soft_wrap=True)

    def ask_question(self) -> str:
        """A question from the keyboard or, line by line, from a pipe; empty at the end."""
        self.close()
        if not sys.stdin.isatty():
            return next((line for line in map(str.strip, sys.stdin) if line), "")
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  # gives input() its history and line editing
        try:
            with contextlib.redirect_stdout(self.stdout):
                question = input("\n› ").strip()
        except (EOFError, KeyboardInterrupt):
            self.err.print()
            return ""
        return "" if question.lower() in ("exit", "quit") else question

    def say(self, text: str, style: str = "") -> None:
        """Prints a line beside the results, unless quiet."""
        if not self.quiet:
            self.err.print(Text(clean(text), style))

    def _notice(self, text: str, level: str) -> None:
        if level == "info":
            self._line(Text.assemble(("· ", "cyan"), (clean(text), "dim")))
        else:
            self.err.print(Text.assemble((f"{level.capitalize()}: ", "yellow"), clean(text)))

    def _line(self, line: Text) -> None:
        """A line that stays, unless quiet."""
        if not self.quiet:
            self.err.print(line if self._draws else Text(line.plain), soft_wrap=not self._draws)

    def _begin(self, task: _Task) -> None:
        self._tasks[task.name] = task
        self._redraw()

    def _advance(self, event: PhaseAdvanced) -> None:
        task = self._tasks.get(event.name)
        if task is None:
            return
        task.done, task.detail, task.share = event.done, one_line(event.detail), event.share
        now = self._clock()
        if not self._draws and now - task.told >= _PATIENCE:
            task.told = now
            parts = (task.progress, task.times(now), task.detail)
            self._line(Text(f"  {_sentence(task.name)}: {', '.join(part for part in parts if part)}"))

    def _end(self, name: str, seconds: float) -> None:
        task = self._tasks.pop(name, None)
        self._redraw()
        if seconds >= _BARELY:
            told = [task.progress, duration(seconds), trend(task.history)] if task else [duration(seconds)]
            rest = "".join(f", {part}" for part in told if part)
            self._line(Text.assemble(("✓ ", "green"), _sentence(name), (rest, "dim")))

    def _step(self, event: StepFinished) -> None:
        task, seconds = self._tasks.get(_TRAINING), event.metrics.get("seconds", 0.0)
        if task is None or event.step <= task.done:
            task = _Task(_TRAINING, event.total, "steps", self._clock() - seconds, skipped=event.step - 1)
            self._begin(task)
        task.done, task.detail = event.step, step_line(event.metrics)
        task.history.append(event.metrics)
        every = max(1, event.total // _STEP_LINES)
        if not self._draws and (event.step % every == 0 or event.step in (1, event.total)):
            self._line(Text(f"  Step {event.step}/{event.total}: {task.detail}"))
        if event.step >= event.total:
            self._end(_TRAINING, self._clock() - task.began)

    def _redraw(self) -> None:
        """Starts or stops drawing, as there is something to draw."""
        if self._tasks and self._draws and not self.quiet:
            if self._live is None:
                self._live = Live(
                    console=self.err,
                    get_renderable=self._render,
                    refresh_per_second=8,
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start()
        elif self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        rows: list[RenderableType] = []
        for task in list(self._tasks.values()):
            rows.append(_bar(task, self._clock(), self.err.width))
            if task.detail:
                rows.append(Text(f"  {task.detail}", "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*rows)


def console(file: IO[str], plain: bool = False) -> Console:
    """A console that takes nothing it is given for markup; wide where lines are read by programs."""
    made = _Console(file=file, markup=False, highlight=False, emoji=False, color_system=None if plain else "auto")
    if not lively(made):
        made = _Console(file=file, markup=False, highlight=False, emoji=False, color_system=None, width=_WIDE)
    return made


class _Console(Console):
    """A console that leaves a closed pipe to the command line."""

    def on_broken_pipe(self) -> None:
        """Rich would leave the program here."""
        raise BrokenPipeError


def lively(console: Console) -> bool:
    """Whether what was drawn can be drawn anew."""
    return console.is_terminal and not console.is_dumb_terminal


def step_line(metrics: Mapping[str, float]) -> str:
    """A step's figures: seconds, loss, reward and its parts.

    >>> step_line({"loss": 0.4131, "reward": 0.5, "em": 0.5, "lr": 1e-4, "seconds": 3.21})
    '3.2 s/step · loss 0.413 · reward .50 · em .50'
    """
    parts = [f"{metrics['seconds']:.1f} s/step"] if "seconds" in metrics else []
    parts += [f"{name} {_figure(name, value)}" for name, value in metrics.items() if name not in _UNTOLD]
    return " · ".join(parts)


def trend(history: Sequence[Mapping[str, float]]) -> str:
    """What loss and reward were over the first and the last tenth of the steps.

    >>> trend([{"loss": 2.0, "reward": 0.1}, {"loss": 0.5, "reward": 0.7}])
    'loss 2.000 → 0.500, reward .10 → .70'
    """
    tenth = max(1, len(history) // 10)
    ends = (history[:tenth], history[-tenth:])
    told = []
    for name in ("loss", "reward"):
        if history and all(name in metrics for end in ends for metrics in end):
            first, last = (_figure(name, fmean(metrics[name] for metrics in end)) for end in ends)
            told.append(f"{name} {first} → {last}")
    return ", ".join(told)


def _figure(name: str, value: float) -> str:
    return share(value) if name in _SHARES else f"{value:.3f}" if name == "loss" else f"{value:.1f}"


def _sentence(name: str) -> str:
    """A phase's name as the beginning of a line."""
    name = one_line(name)
    return name[:1].upper() + name[1:]


def _bar(task: _Task, now: float, width: int) -> Table:
    """One task: name, bar, units, times."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="ellipsis")
    for _ in range(3):
        grid.add_column(no_wrap=True)
    known = task.total or task.share is not None
    bar = ProgressBar(
        total=task.total or 1,
        completed=task.done if task.total else task.share or 0,
        width=min(24, max(8, width // 5)),
        pulse=not known,
        style="bright_black",
        complete_style="cyan",
        finished_style="green",
        pulse_style="cyan",
        animation_time=now,
    )
    times = task.times(now, rate=width >= _ROOMY)
    grid.add_row(Text(_sentence(task.name)), bar, Text(task.progress), Text(times, "dim"))
    return grid
