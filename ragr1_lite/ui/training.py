"""A training run while it goes: its progress, the figures and their course, the last warning, one of its rollouts."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ragr1_lite.core.events import Notice, PhaseAdvanced, PhaseFinished, PhaseStarted, RolloutsFinished, StepFinished
from ragr1_lite.core.types import Reward, Trajectory, Turn
from ragr1_lite.ui.figures import CHARTED, number, rows, sparkline, trend
from ragr1_lite.ui.progress import Task, sentence
from ragr1_lite.ui.text import one_line, share, title_of

TRAINING, ROLLOUTS, UPDATE = "training", "rollouts", "update"
"""Phases of a run: the whole of it, and the two that alternate in each step."""

_SAMPLE_SECONDS = 10.0  # a sample stays at least as long, so that it can be read
_FAILED_EVERY = 3  # every third sample is a failed rollout
_SAMPLE_LINES = 3  # lines a sample needs
_WARNING_LINES = 2
_LABEL = 10  # columns of a row's name
_TWO_CURVES = 64  # columns from which two curves share a line
_CURVE = 40  # columns of the longest curve
_FRAME = 4  # columns of the border and the padding
_TITLES = 3  # documents of a query that are named
_LONGEST = 400  # characters of a foreign text that any terminal's line might show
_NEEDED, _SEARCH, _THOUGHT, _DOCUMENT = range(4)  # kinds of lines, in the order in which they get room


def begins(event: object) -> bool:
    """Whether the event shows that a training run is going on."""
    return isinstance(event, StepFinished | RolloutsFinished) or (
        isinstance(event, PhaseStarted) and event.name in (TRAINING, ROLLOUTS)
    )


class TrainingView:
    """The state of a training run, whose ``steps`` are the run as a whole; :meth:`render` draws it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.steps = Task(TRAINING, None, "steps", clock())
        self._metrics: dict[str, float] = {}
        self._curves: dict[str, list[float]] = {name: [] for name in CHARTED}
        self._best: tuple[float, float, int] | None = None
        self._phase_began = self.steps.began
        self._warning = ""
        self._samples = 0
        self._sample: Sample | None = None
        self._sampled = self.steps.began
        self._tallest = 0
        self._started = False

    def take(self, event: object) -> None:
        """Updates the state; events that do not concern a training run change nothing."""
        now = self._clock()
        match event:
            case PhaseStarted(name, total) if name == TRAINING:
                self.steps.total = total
            case PhaseAdvanced(name, done) if name == TRAINING:
                self.steps.done = self.steps.skipped = done  # by an earlier run
            case PhaseStarted() | PhaseFinished():
                self._phase_began = now
            case StepFinished():
                self._step(event, now)
            case RolloutsFinished():
                self._phase_began = now
                self._choose(event, now)
            case Notice(text, level) if level != "info":
                self._warning = f"Step {self.steps.done + 1}: {one_line(text)}"
            case _:
                return
        self._started = True

    def is_over(self, event: object) -> bool:
        """Whether the event belongs to another run that follows this one."""
        return (isinstance(event, PhaseStarted) and event.name == TRAINING) or (
            isinstance(event, StepFinished) and event.total != (self.steps.total or event.total)
        )

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.steps.total is not None and self.steps.done >= self.steps.total

    @property
    def summary(self) -> str:
        """The course of loss and reward, and the best measurement."""
        best = f"best eval EM {share(self._best[0])} at step {self._best[2]}" if self._best else ""
        return ", ".join(part for part in (trend(self._curves), best) if part)

    def _step(self, event: StepFinished, now: float) -> None:
        if not self._started:  # the run's first event is its first step
            self.steps.began = now - event.metrics.get("seconds", 0.0)
        if not self.steps.total:
            self.steps.total, self.steps.skipped = event.total, event.step - 1
        self.steps.done = event.step
        self.steps.expect(event.left, now)
        self._phase_began = now
        measured = {name: value for name, value in self._metrics.items() if name.startswith("eval_")}
        self._metrics = measured | dict(event.metrics)
        for name in CHARTED:
            if math.isfinite(value := event.metrics.get(name, math.nan)):
                self._curves[name].append(value)
        if "eval_em" in event.metrics:
            figures = event.metrics["eval_em"], event.metrics.get("eval_f1", 0.0)
            if self._best is None or figures > self._best[:2]:
                self._best = *figures, event.step

    def _choose(self, event: RolloutsFinished, now: float) -> None:
        """Shows another rollout once the last one could be read."""
        if self._sample is None or now - self._sampled >= _SAMPLE_SECONDS:
            self._samples += 1
            self._sample = Sample.of(event, failed=self._samples % _FAILED_EVERY == 0) or self._sample
            self._sampled = now
            self._tallest = max(self._tallest, self._sample.height if self._sample else 0)

    def render(self, width: int, height: int, phases: Collection[Task] = ()) -> RenderableType:
        """The run in a frame of ``width`` columns and at most ``height`` lines, with the phases of the present step.

        It grows only where a figure, a warning or a rollout comes for the first time, so that it does not jump.
        """
        inner = width - _FRAME
        bars = self._bars(phases, inner)
        room = max(0, height - 2 - bars.row_count)
        figures = [*self._charts(inner), *self._rows(inner)]
        lines = [*self._warned(inner), *figures][:room] if figures or self._warning else []
        sample, tall = self._sample, min(room - len(lines) - 1, self._tallest)
        if sample is not None and tall >= min(_SAMPLE_LINES, self._tallest):
            shown = sample.lines(tall)
            lines += [Text(), *shown, *(Text() for _ in range(tall - len(shown)))]
        return Panel(
            Group(bars, *lines),
            title=Text("Training", "bold cyan"),
            title_align="left",
            border_style="bright_black",
            box=box.ROUNDED,
            padding=(0, 1),
            width=width,
        )

    def _bars(self, phases: Collection[Task], width: int) -> Table:
        """The steps, and below them the phases of the present one."""
        now = self._clock()
        grid = Table.grid(expand=True, padding=(0, 2, 0, 0), pad_edge=False)
        grid.add_column(no_wrap=True, min_width=_LABEL - 2, max_width=max(_LABEL, width // 5), overflow="ellipsis")
        grid.add_column(ratio=1, min_width=4)
        grid.add_column(no_wrap=True, justify="right")
        grid.add_column(no_wrap=True, justify="right", min_width=14)
        if not phases and self._sample is not None:  # the update reports nothing and follows the rollouts
            phases = [Task(UPDATE, None, "", self._phase_began)]
        for task in (self.steps, *phases):
            name = "Steps" if task is self.steps else sentence(task.name)
            of = f"/{task.total:,}" if task.total else ""
            progress = f"{task.done:,}{of}" if of or task.done else ""
            grid.add_row(Text(name), task.bar(now), Text(progress), Text(task.times(now, rate=False), "dim"))
        return grid

    def _charts(self, width: int) -> Iterator[Text]:
        """Each charted figure: its value and its course."""
        names = [name for name in CHARTED if name in self._metrics]
        columns = 2 if width >= _TWO_CURVES and len(names) > 1 else 1
        room = (width - 2 * (columns - 1)) // columns - _LABEL - 7
        for start in range(0, len(names), columns):
            line = Text(no_wrap=True)
            for name in names[start : start + columns]:
                line.append(f"{name:<{_LABEL}}", "dim")
                line.append(f"{number(name, self._metrics[name]):<6} ", "bold")
                course = sparkline(self._curves[name], min(room, _CURVE))
                line.append(f"{course:<{room}}  ", "magenta" if name == "loss" else "cyan")
            line.rstrip()
            yield line

    def _rows(self, width: int) -> Iterator[Text]:
        """The other figures, a row a group."""
        groups = rows(self._metrics)
        if self._best:
            groups.setdefault("eval", []).append(f"best {share(self._best[0])} at step {self._best[2]}")
        for label, parts in groups.items():
            yield from _wrapped(label, parts, width)

    def _warned(self, width: int) -> Iterator[Text]:
        """The last warning, or an empty line in its place."""
        for line in textwrap.wrap(self._warning, width, max_lines=_WARNING_LINES, placeholder="…") or [""]:
            yield Text(line, "yellow", no_wrap=True, overflow="ellipsis")


def _wrapped(label: str, parts: Sequence[str], width: int) -> Iterator[Text]:
    """A label with its parts, on as many lines as they need."""
    lines: list[str] = []
    for part in parts:
        if lines and _LABEL + cell_len(f"{lines[-1]} · {part}") <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    for place, line in enumerate(lines):
        yield Text.assemble((f"{'' if place else label:<{_LABEL}}", "dim"), line, no_wrap=True, overflow="ellipsis")


@dataclass(frozen=True, slots=True)
class Sample:
    """A trajectory and its reward."""

    trajectory: Trajectory
    reward: Reward

    @property
    def height(self) -> int:
        """Lines of the whole."""
        return sum(1 for _ in self._lines())

    @classmethod
    def of(cls, event: RolloutsFinished, *, failed: bool = False) -> Sample | None:
        """The rollout with the highest reward or, with ``failed``, the lowest; none of the expert's.

        Of equals it is the one with the most queries at once, then with the most queries.
        """
        sign = -1 if failed else 1

        def rank(one: Sample) -> tuple[float, int, int]:
            at_once = max((len(turn.passages) for turn in one.trajectory.turns), default=0)
            return sign * one.reward.total, at_once, one.trajectory.queries

        every = zip(event.trajectories, event.rewards, strict=True)
        rollouts = [cls(trajectory, reward) for trajectory, reward in every if not trajectory.expert]
        return max(rollouts, key=rank, default=None)

    def lines(self, height: int) -> list[Text]:
        """At most ``height`` lines; a narrow screen cuts them.

        Question and answer come first, then the queries, the thoughts and the beginnings of the documents.
        """
        every = list(self._lines())
        kept = sorted(range(len(every)), key=lambda place: every[place][0])[:height]
        return [every[place][1] for place in sorted(kept)]

    def _lines(self) -> Iterator[tuple[int, Text]]:
        right = self.reward.parts.get("em", 0.0) >= 1
        mark = ("✓", "bold green") if right else ("✗", "bold red")
        question = one_line(self.trajectory.example.question, _LONGEST)
        yield _NEEDED, _line(mark, (f" {share(self.reward.total)}  ", "dim"), (question, "bold"))
        for place, turn in enumerate(self.trajectory.turns, start=1):
            if turn.think:
                yield _THOUGHT, _line(("  " + one_line(turn.think, _LONGEST), "dim italic"))
            yield from _searches(turn, place)
        answer, accepted = self.trajectory.answer, one_line(" | ".join(self.trajectory.example.answers), _LONGEST)
        end = f"  No answer ({self.trajectory.stop_reason})" if answer is None else f"  Answer: {one_line(answer, 80)}"
        correction = "" if right or not accepted else f" · accepted: {accepted}"
        yield _NEEDED, _line((end, "green" if right else "red"), (correction, "dim"))


def _searches(turn: Turn, turn_number: int) -> Iterator[tuple[int, Text]]:
    """A line a query, with the titles of what it found, and the beginning of the first document."""
    for place, query in enumerate(turn.queries):
        found = turn.passages[place] if turn.passages else ()
        titles = " · ".join(title_of(passage, 60) for passage in found[:_TITLES]) or "nothing found"
        head = (f"{'' if place else turn_number:>3} ", "dim")
        yield _SEARCH, _line(head, (f"› {one_line(query, 60)}", "cyan"), (f" → {titles}", "dim"))
        if found:
            yield _DOCUMENT, _line((f"      {one_line(found[0].text, _LONGEST)}", "dim"))


def _line(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
