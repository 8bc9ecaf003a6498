"""A question being answered: thoughts as they come, parallel queries side by side, the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ragr1_lite.core.events import RolloutFinished, Searched, TextSampled
from ragr1_lite.core.types import Passage
from ragr1_lite.ui.display import Display, lively
from ragr1_lite.ui.speech import NO_ANSWER, figures, read
from ragr1_lite.ui.text import clean, one_line

if TYPE_CHECKING:
    from ragr1_lite.assistant import Answer

_NARROWEST = 24
"""Columns of a terminal that a query with its documents needs at least."""
_FIRST_WORDS = 240


class Conversation:
    """Shows questions being answered; give it as ``report`` of ``Assistant.ask``.

    Args:
        display: Where to draw; it also takes the events that are not of the conversation.
    """

    def __init__(self, display: Display) -> None:
        self.display = display
        self._text = ""
        self._searches = 0

    @staticmethod
    def on(display: Display) -> Conversation:
        """The view that fits the display."""
        pretty = lively(display.out) and not display.plain
        return PrettyConversation(display) if pretty else PlainConversation(display)

    def __call__(self, event: object) -> None:
        """Draws an event of the one rollout."""
        match event:
            case TextSampled(text=text):
                self._text += text
                self._stream()
            case Searched(queries=queries, passages=passages):
                self._turn(read(self._text).think, queries, passages)
            case RolloutFinished():
                pass
            case _:
                self.stop()
                self.display(event)

    def begin(self, question: str, *, echo: bool = True) -> None:
        """A new question; ``echo`` shows it, unless it was just typed."""
        self.display.close()
        self._text, self._searches = "", 0
        if echo:
            self._question(question)
        else:
            self.display.out.print()
        self._stream()

    def finish(self, answer: Answer) -> None:
        """The end of the rollout; shows what was not reported on the way, then the answer."""
        trajectory = answer.trajectory
        searched = [turn for turn in trajectory.turns if turn.passages]
        for turn in searched[self._searches :]:
            self._turn(turn.think, turn.queries, turn.passages)
        self.stop()
        last = trajectory.turns[-1] if trajectory.turns and not trajectory.turns[-1].passages else None
        thought = read(self._text).think or (last.think if last else "")
        if thought:
            self._thought(clean(thought))
        if trajectory.answer is None:
            self._no_answer(NO_ANSWER[trajectory.stop_reason], figures(answer))
        else:
            self._answer(clean(trajectory.answer), figures(answer))

    def stop(self) -> None:
        """Stops drawing, as after Ctrl-C."""

    def _turn(self, thought: str, queries: Sequence[str], passages: Sequence[Sequence[Passage]]) -> None:
        self.stop()
        if thought:
            self._thought(clean(thought))
        self._search(queries, passages)
        self._text, self._searches = "", self._searches + 1
        self._stream()

    def _stream(self) -> None:
        """The model is about to speak, or has spoken."""

    def _question(self, question: str) -> None:
        raise NotImplementedError

    def _thought(self, text: str) -> None:
        raise NotImplementedError

    def _search(self, queries: Sequence[str], passages: Sequence[Sequence[Passage]]) -> None:
        raise NotImplementedError

    def _answer(self, text: str, figures: Sequence[str]) -> None:
        raise NotImplementedError

    def _no_answer(self, reason: str, figures: Sequence[str]) -> None:
        raise NotImplementedError


class PlainConversation(Conversation):
    """Readable lines, one a thought, document or answer."""

    def _question(self, question: str) -> None:
        self._line(f"Question: {one_line(question)}")

    def _thought(self, text: str) -> None:
        self._line(f"Thought: {one_line(text)}")

    def _search(self, queries: Sequence[str], passages: Sequence[Sequence[Passage]]) -> None:
        for query, found in zip(queries, passages, strict=True):
            self._line(f"Search: {one_line(query)}")
            for number, passage in enumerate(found, start=1):
                self._line(f"  {number}. {_title(passage)} ({passage.score:.2f}): {_beginning(passage)}")
            if not found:
                self._line("  nothing found")

    def _answer(self, text: str, figures: Sequence[str]) -> None:
        self._line(f"Answer: {one_line(text)}")
        self._line(f"({', '.join(figures)})")

    def _no_answer(self, reason: str, figures: Sequence[str]) -> None:
        self._line(f"No answer: {reason}")
        self._line(f"({', '.join(figures)})")

    def _line(self, text: str) -> None:
        self.display.out.print(Text(text), soft_wrap=True)


class PrettyConversation(Conversation):
    """Thoughts dimmed while they grow, queries as columns, the answer in a panel."""

    def __init__(self, display: Display) -> None:
        super().__init__(display)
        self._live: Live | None = None

    def stop(self) -> None:
        """Takes away what is still growing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _stream(self) -> None:
        if self._live is None:
            self._live = Live(
                console=self.display.out,
                get_renderable=self._growing,
                refresh_per_second=10,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def _growing(self) -> RenderableType:
        """The turn so far; of a long thought the end."""
        spoken = read(self._text)
        if not spoken.think and not spoken.content:
            return _indented(Spinner("dots", Text("thinking", "dim"), style="cyan"))
        width, height = self.display.out.width - 4, max(3, self.display.out.height - 6)
        lines = Text(spoken.think, _THOUGHT).wrap(self.display.out, width)[-height:]
        parts: list[RenderableType] = [Text("\n").join(lines)]
        if spoken.content:
            style = _QUERY if spoken.action == "search" else _ANSWER
            parts.append(Text(f"\n{_MARK}{one_line(spoken.content, 2 * width)}", style))
        return _indented(Group(*parts))

    def _question(self, question: str) -> None:
        self.display.out.print()
        self.display.out.print(_indented(Text(one_line(question), "bold"), left=0))
        self.display.out.print()

    def _thought(self, text: str) -> None:
        self.display.out.print(_indented(Text(text, _THOUGHT)))
        self.display.out.print()

    def _search(self, queries: Sequence[str], passages: Sequence[Sequence[Passage]]) -> None:
        self.display.out.print(_indented(query_columns(queries, passages, self.display.out.width - 4)))
        self.display.out.print()

    def _answer(self, text: str, figures: Sequence[str]) -> None:
        self._panel(Text(text, _ANSWER), "Answer", "green", figures)

    def _no_answer(self, reason: str, figures: Sequence[str]) -> None:
        self._panel(Text(reason), "No answer", "yellow", figures)

    def _panel(self, body: Text, title: str, colour: str, figures: Sequence[str]) -> None:
        self.display.out.print(
            Panel(
                body,
                title=Text(title, f"bold {colour}"),
                title_align="left",
                subtitle=Text(" · ".join(figures), "dim"),
                subtitle_align="right",
                border_style=colour,
                box=box.ROUNDED,
                padding=(0, 2),
            )
        )


_THOUGHT, _QUERY, _ANSWER = "dim italic", "cyan", "bold"
_MARK = "› "


def query_columns(queries: Sequence[str], passages: Sequence[Sequence[Passage]], width: int) -> RenderableType:
    """A turn's queries side by side, each over its documents; one below the other where the terminal is narrow."""
    blocks = [_block(query, found) for query, found in zip(queries, passages, strict=True)]
    if width < _NARROWEST * len(blocks):
        return Group(*blocks)
    grid = Table.grid(expand=True, padding=(0, 3, 0, 0), pad_edge=False)
    for _ in blocks:
        grid.add_column(ratio=1)
    grid.add_row(*blocks)
    return grid


def _block(query: str, found: Sequence[Passage]) -> RenderableType:
    """One query over its documents: titles with scores, and their first words."""
    documents = Table.grid(expand=True, padding=(0, 1, 0, 0), pad_edge=False)
    documents.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    documents.add_column(justify="right", no_wrap=True)
    for passage in found:
        documents.add_row(Text(_title(passage)), Text(f"{passage.score:.1f}", "dim"))
        documents.add_row(Text(_beginning(passage), "dim"), Text())
    return Group(Text(f"{_MARK}{one_line(query)}", _QUERY), documents if found else Text("nothing found", "dim italic"))


def _title(passage: Passage) -> str:
    return one_line(passage.title) or one_line(passage.id)


def _beginning(passage: Passage) -> str:
    return one_line(passage.text, _FIRST_WORDS)


def _indented(body: RenderableType, left: int = 2) -> Padding:
    return Padding(body, (0, 2, 0, left))
