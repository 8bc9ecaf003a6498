"""The log of answers: listed, searched, shown in full, emptied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Context, Option, confirm

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.commands.options import on_terminal
from ragr1_lite.cli.session import session
from ragr1_lite.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ragr1_lite.files.answer_log import AnswerLog
    from ragr1_lite.ui import Display

app = opt.Group()


@app.add(
    "log",
    "ragr1-lite log",
    "ragr1-lite log highest point",
    "ragr1-lite log --show 12",
    "ragr1-lite log --clear",
)
def log(
    context: Context,
    words: Annotated[
        list[str] | None,
        Argument(help="Only answers with all of these in question, answer or titles.", callback=opt.all_whole),
    ] = None,
    last: Annotated[int, Option("--last", "-n", min=1, metavar="N", help="At most this many, the newest.")] = 20,
    show: Annotated[int | None, Option("--show", min=1, metavar="NUMBER", help="One answer, in full.")] = None,
    clear: Annotated[bool, Option("--clear", help="Remove all of them, after a question.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """List, search and empty the log of what was answered.

    Every answer of `ask`, of its prompt and its page, of `serve` and of `mcp` is kept on this machine: question,
    answer, time, model, index, mode, sources, queries and the titles found; no text of documents, and of an index's URL
    the host alone. RAGR1_LITE_LOG names another file, or is `off`; --no-log leaves answers out.

    JSON: {"log": FILE, "answers": [{"number", "time", ... as `ask --json` ..., "model", "index", "mode"} ...]}.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.files.answer_log import OFF, VARIABLE, AnswerLog

        kept = AnswerLog.of_user()
        if kept is None:
            raise ConfigError(f"There is no log: {VARIABLE} is {OFF}", "Unset it, or set it to a file.")
        if clear:
            _clear(kept, display)
            return
        rows = kept.read(words or (), display)
        if show is not None:
            rows = [row for row in rows if row["number"] == show]
            if not rows:
                raise DataError(f"No answer has the number {show}", "`ragr1-lite log` lists them with their numbers.")
        full = show is not None
        _show(rows if full else rows[-last:], display, str(kept.path), full=full, searched=bool(words))


def _clear(kept: AnswerLog, display: Display) -> None:
    if not on_terminal():
        raise ConfigError("--clear asks first, and nobody can be asked here", f"Remove the file: {kept.path}")
    from ragr1_lite.ui.text import count

    if confirm(f"Remove {count(len(kept.read()), 'answer')} from {kept.path}?", err=True):
        kept.clear()
        display.show("The log is empty.")


def _show(rows: list[dict[str, Any]], display: Display, path: str, *, full: bool, searched: bool) -> None:
    from ragr1_lite.ui.tables import answer_table, records_table

    found = {"log": path, "answers": rows}
    if full:
        display.show(answer_table(rows[0]), json=found)
    elif rows:
        display.show(records_table([_line(row) for row in rows], display.out), json=found)
    else:
        display.show("No answer has these words." if searched else "No answer is in the log.", json=found)


def _line(row: dict[str, Any]) -> dict[str, str]:
    from ragr1_lite.ui.text import one_line

    when = row["time"][:16].replace("T", " ")
    answer = one_line(row["answer"], 60) if row["answer"] else "(none)"
    return {"number": str(row["number"]), "time": when, "question": one_line(row["question"], 80), "answer": answer}
