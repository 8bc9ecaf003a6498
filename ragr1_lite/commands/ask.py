"""Asking: one question, or a conversation."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ragr1_lite.commands.options import Adapter, AsJson, Index, MaxQueries, Model, Passages, examples, group
from ragr1_lite.core import Mode
from ragr1_lite.errors import RagR1Error
from ragr1_lite.session import session

if TYPE_CHECKING:
    from ragr1_lite.answer import Assistant
    from ragr1_lite.ui import Conversation, Display

app = group()


@app.command(
    epilog=examples(
        'ragr1-lite ask "Which has the higher highest point, Chad or Niger?"',
        'ragr1-lite ask "Who wrote it?" --index runs/books --json',
        "ragr1-lite ask        (a prompt: an empty line, exit or Ctrl-D ends it)",
    )
)
def ask(
    context: typer.Context,
    question: Annotated[str | None, typer.Argument(help="The question; without one, a prompt asks for them.")] = None,
    index: Index = None,
    model: Model = None,
    adapter: Adapter = None,
    mode: Annotated[Mode, typer.Option(help="How the model may search.")] = "multi",
    k: Passages = None,
    max_queries: MaxQueries = 3,
    as_json: AsJson = False,
    plain: Annotated[bool, typer.Option("--plain", help="No colours and boxes: readable lines.")] = False,
) -> None:
    """Answer a question, showing thoughts, searches and documents.

    JSON, one object on one line per question: {"question", "answer", "turns": [{"queries": [...], "passages":
    [[{"title", "score"} ...] ...]} ...], "rounds", "queries", "seconds"}; "answer" is null where the model gave none.
    """
    with session(context, plain=plain) as display:
        from ragr1_lite.answer import Assistant
        from ragr1_lite.ui import Conversation

        assistant = Assistant.open(
            model=model, adapter=adapter, index=index, mode=mode, k=k, max_queries=max_queries, report=display
        )
        view = None if as_json else Conversation.on(display)
        if question is not None:
            show_answer(assistant, question, display, view)
        else:
            _converse(assistant, display, view)


def show_answer(
    assistant: Assistant, question: str, display: Display, view: Conversation | None, *, echo: bool = True
) -> None:
    """Answers one question on the view, or as JSON where there is none."""
    if view is None:
        display.show_json(assistant.ask(question, report=display).to_json())
        return
    try:
        view.begin(question, echo=echo)
        view.finish(assistant.ask(question, report=view))
    finally:
        view.stop()


def _converse(assistant: Assistant, display: Display, view: Conversation | None) -> None:
    """Answers question after question; Ctrl-C stops an answer, not the conversation."""
    typed = sys.stdin.isatty()
    if typed:
        display.say("Ask a question; an empty line, exit or Ctrl-D ends.", "dim")
    while question := display.ask_question():
        try:
            show_answer(assistant, question, display, view, echo=not typed)
        except KeyboardInterrupt:
            display.say("Stopped.", "yellow")
        except RagR1Error as error:
            display.error(str(error))
