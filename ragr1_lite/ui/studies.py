"""Tables of studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.text import Text

from ragr1_lite.ui.tables import figures_table
from ragr1_lite.ui.text import count, one_line, share

if TYPE_CHECKING:
    from ragr1_lite.evaluation.study import Outcome, Row

FIRST = "–"


def study_cells(outcome: Outcome) -> tuple[list[str], dict[str, list[str]]]:
    """The labels of the arms that were run, and their columns."""
    rows = [row for row in outcome.rows if row.evaluation]
    told = [row.evaluation.to_json() for row in rows if row.evaluation]
    columns = {
        "EM": [share(one["em"]) for one in told],
        "95 %": [f"{share(one['ci']['em'][0])}–{share(one['ci']['em'][1])}" for one in told],
        "EM − first": [_difference(row) for row in rows],
        "rounds": [f"{one['rounds']:.2f}" for one in told],
        "queries": [f"{one['queries']:.2f}" for one in told],
        "read": [f"{one['retrieved_tokens']:.0f}" for one in told],
        "s/question": [f"{one['seconds_per_question']:.2f}" for one in told],
        "fewer rounds": [_saved(row, "rounds") for row in rows],
        "fewer seconds": [_saved(row, "seconds_per_question") for row in rows],
    }
    return [row.label for row in rows], columns


def study_table(outcome: Outcome, console: Console) -> RenderableType:
    """What each arm came to, and how it differs from the first one."""
    labels, columns = study_cells(outcome)
    head = Text(f"{outcome.design.question} {count(outcome.questions, 'question')}, the same for all.", "dim")
    table = figures_table("", [one_line(label) for label in labels], columns, console)
    return Group(head, table, *(Text(line, "yellow") for line in problems(outcome.rows)))


def study_markdown(outcome: Outcome) -> str:
    """The same for a document."""
    labels, columns = study_cells(outcome)
    lines = [f"{outcome.design.question} {count(outcome.questions, 'question')}.", ""]
    lines += [f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for at, label in enumerate(labels):
        cells = [one_line(label).replace("|", "\\|"), *(values[at] for values in columns.values())]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *problems(outcome.rows)]).rstrip() + "\n"


def problems(rows: Sequence[Row]) -> list[str]:
    """Why some arms were not run."""
    return [f"{one_line(row.label)} was not run: {one_line(row.problem)}" for row in rows if row.problem]


def _difference(row: Row) -> str:
    if row.em is None:
        return FIRST
    mean, low, high = row.em.interval.mean, row.em.interval.low, row.em.interval.high
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def _saved(row: Row, name: str) -> str:
    return f"{row.saved[name]:.0%}" if row.saved and name in row.saved else FIRST
