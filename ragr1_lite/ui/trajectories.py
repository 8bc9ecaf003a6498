"""A trajectory as it is trained: what the model writes and what it is given, queries next to their documents.

Trained text has a heavy bar at its left, masked text a dotted one, so that it shows without colours too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment as Cells
from rich.table import Column, Table
from rich.text import Text

from ragr1_lite.core.safe_text import clean
from ragr1_lite.core.types import Passage, Source, Turn
from ragr1_lite.ui.tables import title_grid
from ragr1_lite.ui.text import count, one_line, title_of

if TYPE_CHECKING:
    from ragr1_lite.data.viewing import Viewed

_TRAINED, _MASKED = "green", "yellow"
_BARS = {_TRAINED: "┃ ", _MASKED: "┊ "}
_SOURCES: dict[Source, str] = {"prompt": "prompt", "model": "model", "env": "information"}
_TWO_COLUMNS = 72  # columns from which documents stand next to their query, not below it
_RAGGED = 10  # columns that a line loses to a word that does not fit, about
_PLACED = ("id", "kind", "question", "answers", "answer", "stop_reason", "turns")
"""Keys of a line that have a place of their own; the others are listed."""
_STOPPED = {
    "answer": "it answered",
    "invalid": "it wrote neither a search nor an answer",
    "length": "what it wrote was cut at the limit",
    "budget": "it searched once more than it may",
    "context": "the sequence was full",
}


class _Barred:
    """A body with a bar down its left side that shows whether it is trained."""

    def __init__(self, body: RenderableType, style: str) -> None:
        self._body, self._style = body, style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style = console.get_style(self._style)
        bar = Cells(_BARS[self._style], style)
        for line in console.render_lines(self._body, options.update(width=options.max_width - 2), style=style):
            yield bar
            yield from line
            yield Cells.line()


def trajectories_view(viewed: Sequence[Viewed], *, masks: bool = False, tokens: bool = False) -> RenderableType:
    """Trajectories one below the other, under a legend; with the ``tokens`` of each part.

    With ``masks``, each is the one sequence that is trained, with the whole prompt and the tags.
    """
    parts: list[RenderableType] = [
        Text.assemble(
            (f"{_BARS[_TRAINED]}trained: what the model writes", _TRAINED),
            "   ",
            (f"{_BARS[_MASKED]}masked: what it is given", _MASKED),
        )
    ]
    for one in viewed:
        parts += [Text(), *_heading(one), *(_sequence(one, tokens) if masks else _turns(one, tokens)), _end(one)]
    return Group(*parts)


def _heading(one: Viewed) -> Iterator[RenderableType]:
    example = one.trajectory.example
    yield Text(one_line(example.question), "bold")
    facts = {"id": example.id, "kind": example.kind, "accepted": " | ".join(example.answers)}
    facts |= {
        name: str(value) for name, value in one.row.items() if name not in _PLACED and isinstance(value, str | int)
    }
    yield Text(" · ".join(f"{one_line(name)} {one_line(value)}" for name, value in facts.items() if value), "dim")


def _end(one: Viewed) -> Text:
    answer, reason = one.trajectory.answer, one.trajectory.stop_reason
    why = "" if reason in ("answer", "") else _STOPPED.get(reason, one_line(reason))
    if answer is None:
        return Text.assemble(("✗ no answer", "bold red"), f": {why}" if why else "")
    verdict = ("✓ right", "bold green") if one.right else ("✗ wrong", "bold red")
    return Text.assemble(verdict, f": {one_line(answer)}", (f" · {why}" if why else "", "dim"))


def _sequence(one: Viewed, tokens: bool) -> Iterator[RenderableType]:
    """The whole text, segment by segment."""
    for segment, text in zip(one.trajectory.segments, one.texts, strict=True):
        if tokens:
            yield Text(f"{_SOURCES[segment.source]}, {count(len(segment.token_ids), 'token')}", "dim")
        yield _Barred(Text(clean(text.strip("\n"))), _TRAINED if segment.source == "model" else _MASKED)


def _turns(one: Viewed, tokens: bool) -> Iterator[RenderableType]:
    """The prompt, then each turn under its category."""
    from ragr1_lite.data.targets import CATEGORIES

    lengths = iter([len(segment.token_ids) for segment in one.trajectory.segments])
    yield _head("Prompt", "", [0, next(lengths)] if tokens else [])
    yield _Barred(_Opening(one_line(one.texts[0]), 1), _MASKED)
    for number, (turn, category) in enumerate(zip(one.trajectory.turns, one.categories, strict=True)):
        written = number >= one.trajectory.first_written
        counted = [next(lengths) for _ in range(written + bool(written and turn.passages))]
        retrieved = "not understood" if written else "retrieved first"
        label = f"({category}) {CATEGORIES[category]}" if category else retrieved
        yield _head(f"Turn {number + 1}", label, counted if tokens else [])
        if turn.think:
            yield _Barred(Text(clean(turn.think)), _TRAINED)
        if turn.answer is not None:
            yield _Barred(Text(f"Answer: {one_line(turn.answer)}", "bold"), _TRAINED)
        if turn.queries:
            yield _Searches(turn, _TRAINED if written else _MASKED)


def _head(name: str, label: str, tokens: Sequence[int]) -> Text:
    """A turn's name, its category, and its tokens: first those that are trained, then those that are masked."""
    counted = [f"{number:,} {what}" for number, what in zip(tokens, ("trained", "masked"), strict=False) if number]
    parts = [part for part in (label, f"tokens: {', '.join(counted)}" if counted else "") if part]
    return Text.assemble((name, "bold"), *((f" · {part}", "dim") for part in parts))


class _Searches:
    """A turn's queries, each next to its documents, or above them where the width is small."""

    def __init__(self, turn: Turn, style: str) -> None:
        self._turn, self._style = turn, style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        turn = self._turn
        found: Sequence[Sequence[Passage] | None] = turn.passages or [None] * len(turn.queries)
        rows = [
            (_Barred(Text(f"› {one_line(query)}", "bold"), self._style), _Barred(_documents(passages), _MASKED))
            for query, passages in zip(turn.queries, found, strict=True)
        ]
        if options.max_width < _TWO_COLUMNS:
            yield Group(*(part for row in rows for part in row))
            return
        grid = Table.grid(Column(ratio=1), Column(ratio=2), expand=True, padding=(0, 1, 0, 0))
        for row in rows:
            grid.add_row(*row)
        yield grid


def _documents(passages: Sequence[Passage] | None) -> RenderableType:
    """Titles with scores, and the first lines of the texts."""
    if not passages:
        return Text("not searched" if passages is None else "nothing found", "italic")
    parts: list[RenderableType] = []
    for number, passage in enumerate(passages, start=1):
        head = title_grid()
        head.add_row(Text(f"{number}. {title_of(passage)}"), Text(f"{passage.score:.2f}"))
        parts += [head, Padding(_Opening(one_line(passage.text)), (0, 0, 0, len(f"{number}. ")))]
    return Group(*parts)


class _Opening:
    """The first words of a text of one line, as many as fit on about ``lines`` lines."""

    def __init__(self, text: str, lines: int = 2) -> None:
        self._text, self._lines = text, lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = self._lines * options.max_width - _RAGGED * (self._lines - 1)
        yield Text(one_line(self._text, max(room, _RAGGED)), "dim")
