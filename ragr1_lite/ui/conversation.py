"""A question being answered: thoughts as they come, parallel queries in columns, the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from ragr1_lite.core.events import RolloutFinished, Searched, TextSampled
from ragr1_lite.core.safe_text import clean
from ragr1_lite.core.types import Passage
from ragr1_lite.ui.display import Display, live, redraws
from ragr1_lite.ui.tables import title_grid
from ragr1_lite.ui.text import one_line, title_of
from ragr1_lite.ui.turns import NO_ANSWER, REFUSED, cited, costs, last_thought, read_partial

if TYPE_CHECKING:
    from ragr1_lite.assistant import Answer

_QUERY_COLUMNS = 24  # columns of a terminal that a query with its documents needs at least
_TEXT_CHARACTERS = 240  # characters of a document that are shown at most
_THOUGHT, _QUERY, _ANSWER = "dim italic", "cyan", "bold"
_MARK = "› "

Found = Sequence[Sequence[Passage]]


class Conversation:
    """Shows questions being answered, a line for each thought, document and answer.

    Give it as ``report`` of ``Assistant.ask``.
    """

    def __init__(self, display: Display) -> None:
        self.display = display
        self._text = ""
        self._searches = 0

    @staticmethod
    def on(display: Display) -> Conversation:
        """The view that fits the display."""
        return PrettyConversation(display) if redraws(display.out) and not display.plain else Conversation(display)

    def __call__(self, event: object) -> None:
        """Draws an event of the one rollout."""
        match event:
            case TextSampled(text=text):
                self._text += text
                self._stream()
            case Searched(queries=queries, passages=passages):
                self._turn(read_partial(self._text).think, queries, passages)
            case RolloutFinished():
                pass
            case _:
                self.stop()
                self.display(event)

    def begin(self, question: str, *, echo: bool = True) -> None:
        """Starts a new question; ``echo`` shows it, unless it was just typed."""
        self.display.close()
        self._text, self._searches = "", 0
        if echo:
            self._question(one_line(question))
        else:
            self.display.out.print()
        self._stream()

    def finish(self, answer: Answer) -> None:
        """Shows the turns that were not reported on the way, then the answer."""
        trajectory = answer.trajectory
        searched = [turn for turn in trajectory.turns if turn.passages]
        for turn in searched[self._searches :]:
            self._turn(turn.think, turn.queries, turn.passages)
        self.stop()
        if thought := read_partial(self._text).think or last_thought(trajectory):
            self._thought(thought)
        if trajectory.answer is None:
            self._result("No answer", NO_ANSWER[trajectory.stop_reason], costs(answer))
        elif answer.refused:
            self._result("No answer", REFUSED, costs(answer))
        else:
            self._result("Answer", clean(trajectory.answer), costs(answer))
            if sources := " · ".join(source["text"] for source in cited(answer)):
                self._cite(f"{'Sources' if answer.held else 'Read'}: {sources}")

    def stop(self) -> None:
        """Stops drawing, as after Ctrl-C."""

    def _turn(self, thought: str, queries: Sequence[str], passages: Found) -> None:
        self.stop()
        if thought:
            self._thought(clean(thought))
        self._search(queries, passages)
        self._text, self._searches = "", self._searches + 1
        self._stream()

    def _stream(self) -> None:
        """The model is about to write, or has written."""

    def _question(self, text: str) -> None:
        self._line(f"Question: {text}")

    def _thought(self, text: str) -> None:
        self._line(f"Thought: {one_line(text)}")

    def _search(self, queries: Sequence[str], passages: Found) -> None:
        for query, found in zip(queries, passages, strict=True):
            self._line(f"Search: {one_line(query)}")
            for number, passage in enumerate(found, start=1):
                text = one_line(passage.text, _TEXT_CHARACTERS)
                self._line(f"  {number}. {title_of(passage)} ({passage.score:.2f}): {text}")
            if not found:
                self._line("  nothing found")

    def _result(self, title: str, text: str, costs: Sequence[str]) -> None:
        self._line(f"{title}: {one_line(text)}")
        self._line(f"({', '.join(costs)})")

    def _cite(self, text: str) -> None:
        self._line(text)

    def _line(self, text: str) -> None:
        self.display.out.print(Text(text), soft_wrap=True)


class PrettyConversation(Conversation):
    """Thoughts dimmed while they grow, queries as columns, the answer in a panel."""

    def __init__(self, display: Display) -> None:
        super().__init__(display)
        self._live: Live | None = None

    def stop(self) -> None:
        """Clears the growing turn."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _stream(self) -> None:
        self._live = self._live or live(self.display.out, self._growing, per_second=10)

    def _growing(self) -> RenderableType:
        """The turn so far; of a long thought the end."""
        turn = read_partial(self._text)
        if not turn.think and not turn.content:
            return _indented(Spinner("dots", Text("thinking", "dim"), style="cyan"))
        width, height = self.display.out.width - 4, max(3, self.display.out.height - 6)
        lines = Text(turn.think, _THOUGHT).wrap(self.display.out, width)[-height:]
        parts: list[RenderableType] = [Text("\n").join(lines)]
        if turn.content:
            style = _QUERY if turn.action == "search" else _ANSWER
            parts.append(Text(f"\n{_MARK}{one_line(turn.content, 2 * width)}", style))
        return _indented(Group(*parts))

    def _question(self, text: str) -> None:
        self.display.out.print()
        self._block(Text(text, "bold"), left=0)

    def _thought(self, text: str) -> None:
        self._block(Text(text, _THOUGHT))

    def _search(self, queries: Sequence[str], passages: Found) -> None:
        self._block(_query_columns(queries, passages, self.display.out.width - 4))

    def _block(self, body: RenderableType, left: int = 2) -> None:
        self.display.out.print(_indented(body, left))
        self.display.out.print()

    def _result(self, title: str, text: str, costs: Sequence[str]) -> None:
        style, colour = (_ANSWER, "green") if title == "Answer" else ("", "yellow")
        self.display.out.print(
            Panel(
                Text(text, style),
                title=Text(title, f"bold {colour}"),
                title_align="left",
                subtitle=Text(" · ".join(costs), "dim"),
                subtitle_align="right",
                border_style=colour,
                box=box.ROUNDED,
                padding=(0, 2),
            )
        )

    def _cite(self, text: str) -> None:
        width = self.display.out.width - 4
        lines = Text(one_line(text, 2 * width), "dim").wrap(self.display.out, width)
        self.display.out.print(_indented(Text("\n").join(lines[:2])))


def _query_columns(queries: Sequence[str], passages: Found, width: int) -> RenderableType:
    """A turn's queries in columns, each over its documents; one below the other where the terminal is narrow."""
    blocks = [_query_block(query, found) for query, found in zip(queries, passages, strict=True)]
    if width < _QUERY_COLUMNS * len(blocks):
        return Group(*blocks)
    grid = Table.grid(*(Column(ratio=1) for _ in blocks), expand=True, padding=(0, 3, 0, 0))
    grid.add_row(*blocks)
    return grid


def _query_block(query: str, found: Sequence[Passage]) -> RenderableType:
    """One query over its documents: titles with scores, and their first words."""
    documents = title_grid()
    for passage in found:
        documents.add_row(Text(title_of(passage)), Text(f"{passage.score:.1f}", "dim"))
        documents.add_row(Text(one_line(passage.text, _TEXT_CHARACTERS), "dim"), Text())
    return Group(Text(f"{_MARK}{one_line(query)}", _QUERY), documents if found else Text("nothing found", "dim italic"))


def _indented(body: RenderableType, left: int = 2) -> Padding:
    return Padding(body, (0, 2, 0, left))
