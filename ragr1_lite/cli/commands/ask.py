"""Asking: one question, a conversation, or a page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, cast, get_args

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session
from ragr1_lite.core.errors import ConfigError, RagR1Error
from ragr1_lite.core.types import Mode

if TYPE_CHECKING:
    from ragr1_lite.assistant import Assistant
    from ragr1_lite.ui import Conversation, Display

app = opt.group()


@app.command(
    epilog=opt.examples(
        'ragr1-lite ask "Which has the higher highest point, Chad or Niger?"',
        'ragr1-lite ask "Who wrote it?" --index runs/books --json',
        "ragr1-lite ask        (a prompt; /help lists its commands, an empty line ends it)",
        "ragr1-lite ask --web  (a page on this machine)",
    )
)
def ask(
    context: Context,
    question: Annotated[str | None, Argument(help="The question; without one, a prompt asks for them.")] = None,
    index: opt.Index = None,
    model: opt.Model = None,
    adapter: opt.Adapter = None,
    mode: opt.AskedMode = None,
    k: opt.K = None,
    max_queries: opt.MaxQueries = None,
    as_json: opt.AsJson = False,
    plain: opt.Plain = False,
    web: Annotated[bool, Option("--web", help="Ask on a web page that only this machine sees.")] = False,
    port: Annotated[int, Option(min=0, max=65535, metavar="N", help="Of the page; 0 takes a free one.")] = 8123,
) -> None:
    """Answer a question, showing thoughts, searches and documents.

    JSON, one object on one line per question: {"question", "answer", "turns": [{"queries": [...], "passages":
    [[{"title", "score"} ...] ...]} ...], "rounds", "queries", "seconds", "phases": {"generate", "search"}}; "answer" is
    null where the model gave none.
    """
    with session(context, plain=plain) as display:
        if web:
            _only_the_page(question, as_json)
        from ragr1_lite.assistant import Assistant, Setup

        setup = Setup(model=model, adapter=adapter, index=index, mode=mode, k=k, max_queries=max_queries)

        def opened() -> Assistant:
            return Assistant.open(setup, report=display)

        if web:
            from ragr1_lite.serving.page import serve

            serve(opened, port, report=display)
            return
        from ragr1_lite.ui import Conversation

        assistant, view = opened(), None if as_json else Conversation.on(display)
        if question is not None:
            show_answer(assistant, question, display, view)
        else:
            _converse(Prompt(assistant, display, view))


def show_answer(
    assistant: Assistant, question: str, display: Display, view: Conversation | None, *, echo: bool = True
) -> None:
    """Answers one question on the view; without one, as JSON."""
    if view is None:
        display.show_json(assistant.ask(question, report=display).to_json())
        return
    try:
        view.begin(question, echo=echo)
        view.finish(assistant.ask(question, report=view))
    finally:
        view.stop()


class Prompt:
    """Answers question after question; lines that begin with a slash are commands.

    Args:
        assistant: Answers; commands may replace it.
        display: Where commands report what they did.
        view: Where answers are shown; without one they are JSON.
    """

    def __init__(self, assistant: Assistant, display: Display, view: Conversation | None) -> None:
        self.assistant, self.display, self._view = assistant, display, view
        self._last = ""

    def take(self, line: str, *, echo: bool) -> None:
        """Answers a question, which ``echo`` shows again, or runs a command.

        Raises:
            RagR1Error: The command or the answer failed.
        """
        if not line.startswith("/"):
            self._last = line
            show_answer(self.assistant, line, self.display, self._view, echo=echo)
            return
        name, _, rest = line.partition(" ")
        if name not in _COMMANDS:
            raise ConfigError(f"There is no command {name}", "/help lists them.")
        _COMMANDS[name][0](self, rest.strip())

    def _index(self, name: str) -> None:
        if not name:
            raise ConfigError(
                "/index needs a folder, a URL or `world`", "Write it after the command, as in /index world."
            )
        self.assistant = self.assistant.with_index(name, self.display)
        self.display.say(f"Searching {name} from here on.", "dim")

    def _mode(self, name: str) -> None:
        modes = get_args(Mode)
        if name not in modes:
            raise ConfigError(
                f"/mode needs one of {', '.join(modes)}", "Write it after the command, as in /mode single."
            )
        self.assistant = self.assistant.with_mode(cast(Mode, name))
        self.display.say(f"Mode {name} from here on.", "dim")

    def _again(self, _: str) -> None:
        if not self._last:
            raise ConfigError("There is no question to ask again", "Ask one first.")
        show_answer(self.assistant, self._last, self.display, self._view)

    def _help(self, _: str) -> None:
        for name, (_do, arguments, purpose) in _COMMANDS.items():
            self.display.say(f"{name + ' ' + arguments:<31}{purpose}")
        now = [f"mode {self.assistant.protocol.mode}", f"index {self.assistant.index}"]
        self.display.say(f"Now: {', '.join(now)}. An empty line, exit or Ctrl-D ends; Ctrl-C stops an answer.", "dim")


_COMMANDS: Mapping[str, tuple[Callable[[Prompt, str], None], str, str]] = {
    "/index": (Prompt._index, "FOLDER|world", "search another index, with the same model"),
    "/mode": (Prompt._mode, "|".join(get_args(Mode)), "how the model may search"),
    "/again": (Prompt._again, "", "ask the last question once more"),
    "/help": (Prompt._help, "", "this list"),
}


def _converse(prompt: Prompt) -> None:
    """Takes line after line; Ctrl-C stops an answer, not the conversation."""
    display, typed = prompt.display, sys.stdin.isatty()
    if typed:
        display.say("Ask a question; /help lists commands; an empty line, exit or Ctrl-D ends.", "dim")
    while line := display.ask_question():
        try:
            prompt.take(line, echo=not typed)
        except KeyboardInterrupt:
            display.say("Stopped.", "yellow")
        except RagR1Error as error:
            display.error(str(error))


def _only_the_page(question: str | None, as_json: bool) -> None:
    if question is not None or as_json:
        given = "a question" if question is not None else "--json"
        raise ConfigError(f"--web and {given} do not go together", "Leave one of them out.")
