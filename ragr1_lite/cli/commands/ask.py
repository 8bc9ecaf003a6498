"""Asking: one question, a conversation, or a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

from typer import Argument, Context, Exit, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.commands.options import on_terminal
from ragr1_lite.cli.session import exit_code, session
from ragr1_lite.core.errors import ConfigError, RagR1Error
from ragr1_lite.core.follow_up import whole_question
from ragr1_lite.core.types import Mode

if TYPE_CHECKING:
    from ragr1_lite.assistant import Answer, Assistant
    from ragr1_lite.ui import Conversation, Display

app = opt.Group()


@app.add(
    "ask",
    'ragr1-lite ask "Which has the higher highest point, Chad or Niger?"',
    'ragr1-lite ask "Who wrote it?" --index runs/books --json',
    'ragr1-lite ask "Who wrote it?" --index runs/books --index runs/notes',
    "ragr1-lite ask        (a prompt; /help lists its commands, an empty line ends it)",
    "ragr1-lite ask --web  (a page on this machine)",
)
def ask(
    context: Context,
    question: Annotated[str | None, Argument(help="The question; without one, a prompt asks for them.")] = None,
    index: opt.Indexes = None,
    model: opt.Model = None,
    adapter: opt.Adapter = None,
    mode: opt.AskedMode = None,
    k: opt.K = None,
    max_queries: opt.MaxQueries = None,
    as_json: opt.AsJson = False,
    plain: opt.Plain = False,
    no_log: opt.NoLog = False,
    web: Annotated[bool, Option("--web", help="Ask on a web page that only this machine sees.")] = False,
    port: Annotated[int, Option(min=0, max=65535, metavar="N", help="Port of the page; 0 takes a free one.")] = 8123,
) -> None:
    """Answer a question, showing thoughts, searches and documents.

    JSON, one object on one line per question: {"question", "answer", "mode", "model", "sources": [{"title", "id",
    "index", "file", "place", "url", "holds"} ...], "turns": [{"queries": [...], "passages": [[{"title", "score"} ...]
    ...]} ...], "rounds", "queries", "seconds", "phases": {"generate", "search"}}; "answer" is null where the model gave
    none, and a source has what is known of it; "holds" says whether it holds the answer or was merely read. Where the
    model says that the documents do not hold the answer, "refused" is true and there are no sources.
    """
    with session(context, plain=plain) as display:
        if web and (question is not None or as_json):
            given = "--json" if question is None else "a question"
            raise ConfigError(f"--web and {given} do not go together", "Leave one of them out.")
        if question is not None and not (question := opt.whole(question)).strip():
            raise ConfigError("The question is empty", "Write it in quotation marks.")
        from dataclasses import replace

        from ragr1_lite.assistant import Assistant, Setup
        from ragr1_lite.files.answer_log import AnswerLog

        setup = Setup(model=model, adapter=adapter, index=index, mode=mode, k=k, max_queries=max_queries)

        def opened() -> Assistant:
            return replace(Assistant.open(setup, report=display), log=None if no_log else AnswerLog.of_user())

        if web:
            from ragr1_lite.serving.page import serve

            serve(opened, port, report=display)
            return
        from ragr1_lite.ui import Conversation

        first = ""
        if question is None and not on_terminal() and not (first := display.ask_question()):
            raise ConfigError("There was no question to answer", "Give one, or one a line through the pipe.")
        assistant, view = opened(), None if as_json else Conversation.on(display)
        if question is not None:
            show_answer(assistant, question, display, view)
        else:
            _Prompt(assistant, display, view).run(first)


def show_answer(
    assistant: Assistant, question: str, display: Display, view: Conversation | None, *, echo: bool = True
) -> Answer:
    """Answers one question on the view; without one, as JSON."""
    if view is None:
        answer = assistant.ask(question, report=display)
        display.show_json(answer.to_json())
        return answer
    try:
        view.begin(question, echo=echo)
        answer = assistant.ask(question, report=view)
        view.finish(answer)
        return answer
    finally:
        view.stop()


class _Prompt:
    """Answers question after question, on the view or as JSON; lines that begin with a slash are commands."""

    def __init__(self, assistant: Assistant, display: Display, view: Conversation | None) -> None:
        self._assistant, self._display, self._view = assistant, display, view
        self._last = ""
        self._messages: list[dict[str, str]] = []

    def run(self, first: str = "") -> None:
        """Takes line after line, the ``first`` of a pipe given.

        Ctrl-C stops an answer, not a typed conversation. What failed in a pipe is the command's exit code.
        """
        typed, failed = on_terminal(), 0
        if typed:
            self._display.note("Ask a question; /help lists commands; an empty line, exit or Ctrl-D ends.", "dim")
        while line := first or self._display.ask_question():
            first = ""
            try:
                if line.startswith("/"):
                    self._command(*line.split(maxsplit=1))
                else:
                    self._last = whole_question([*self._messages, {"role": "user", "content": line}])
                    self._answer(echo=not typed or self._last != line)
            except KeyboardInterrupt:
                if not typed:
                    raise
                self._display.note("Stopped.", "yellow")
            except RagR1Error as error:
                self._display.error(str(error))
                failed = failed or exit_code(error)
        if failed and not typed:
            raise Exit(failed)

    def _answer(self, *, echo: bool = True) -> None:
        """Answers the last question, and remembers both; ``echo`` shows it, as where it was made whole."""
        answer = show_answer(self._assistant, self._last, self._display, self._view, echo=echo)
        self._messages += [
            {"role": "user", "content": self._last},
            {"role": "assistant", "content": answer.trajectory.answer or ""},
        ]

    def _command(self, name: str, value: str = "") -> None:
        modes = get_args(Mode)
        match name:
            case "/index" if value:
                names = value if Path(value).is_dir() else value.split()
                self._assistant = self._assistant.with_index(names, self._display)
                self._display.note(f"Searching {self._assistant.searched} from here on.", "dim")
            case "/mode" if value in modes:
                self._assistant = self._assistant.with_mode(cast(Mode, value))
                self._display.note(f"Mode {value} from here on.", "dim")
            case "/again" if self._last:
                self._answer()
            case "/new":
                self._messages.clear()
                self._display.note("The next question stands alone.", "dim")
            case "/help":
                for command, purpose in _COMMANDS.items():
                    self._display.note(f"{command:<39}{purpose}")
                now = f"Now: mode {self._assistant.protocol.mode}, index {self._assistant.searched}."
                typed = "An empty line, exit or Ctrl-D ends; Ctrl-C stops an answer or drops a line."
                self._display.note(f"{now} {typed if on_terminal() else 'exit or the end of the pipe ends.'}", "dim")
            case "/index":
                raise ConfigError("/index needs a folder, a URL or `world`", "Write it as in /index world.")
            case "/mode":
                raise ConfigError(f"/mode needs one of {', '.join(modes)}", "Write it as in /mode single.")
            case "/again":
                raise ConfigError("There is no question to ask again", "Ask one first.")
            case _:
                raise ConfigError(f"There is no command {name}", "/help lists them.")


_COMMANDS = {
    "/index FOLDER|world …": "search another index, or several, with the same model",
    f"/mode {'|'.join(get_args(Mode))}": "how the model may search",
    "/again ": "ask the last question once more",
    "/new ": "forget the questions so far",
    "/help ": "this list",
}
