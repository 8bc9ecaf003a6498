"""Results as tables: search results, an index, counts, records, an answer, findings, and figures of evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from ragr1_lite.core.safe_text import clean
from ragr1_lite.core.types import Passage
from ragr1_lite.ui.text import count, one_line, size

if TYPE_CHECKING:
    from ragr1_lite.retrieval import IndexInfo
    from ragr1_lite.retrieval.updating import Update

_BAR = 40  # columns of a histogram's longest bar


def search_results(queries: Sequence[str], results: Sequence[Sequence[Passage]]) -> RenderableType:
    """Each query over its passages, uncut."""
    parts: list[RenderableType] = []
    for query, found in zip(queries, results, strict=True):
        parts.append(Text(f"› {one_line(query)}", "bold cyan"))
        for number, passage in enumerate(found, start=1):
            title = one_line(passage.title) or "(no title)"
            known = map(one_line, (passage.index, passage.file, passage.id, passage.place))
            rest = "  ".join(["", f"{passage.score:.2f}", *filter(None, known)])
            head = Text.assemble(f"{number}. {title}", (rest, "dim"))
            parts.append(Padding(head, (0, 0, 0, 2)))
            parts.append(Padding(Text(one_line(passage.text), "dim"), (0, 0, 0, 5)))
        if not found:
            parts.append(Padding(Text("nothing found", "dim italic"), (0, 0, 0, 2)))
    return Group(*parts)


def index_table(info: IndexInfo, files: int = 0, empty_files: int = 0) -> Table:
    """What an index is made of, and how many files of its folder are in it and gave nothing."""
    empty = f", and {empty_files:,} that gave nothing" if empty_files else ""
    return pairs_table(
        {
            "Index": str(info.path or "in memory"),
            "Passages": f"{info.passages:,}",
            "Words": f"{info.words:,}",
            "Size": size(info.bytes),
            "BM25": f"k1 {info.k1:g}, b {info.b:g}",
            "Titles": f"counted {count(info.title_weight, 'time')}",
            "Tokenizer": f"version {info.tokenizer.get('version', '1')}",
            "Stemmer": info.tokenizer.get("stemmer", "none"),
            "Built by": f"ragr1-lite {info.package}",
            **({"Built from": info.folder} if info.folder else {}),
            **({"Files": f"{files:,}{empty}"} if files else {}),
        }
    )


def saved_index(info: IndexInfo) -> str:
    """The sentence that ends a build."""
    return f"{count(info.passages, 'passage')} ({size(info.bytes)}) in {info.path}"


def updated_index(update: Update) -> str:
    """The sentence that ends an update."""
    counts = (f"{getattr(update, name):,} {name}" for name in ("added", "changed", "removed", "unchanged"))
    return f"{saved_index(update.info)}: files {', '.join(counts)}; {update.seconds:.1f} s"


def counts_table(counts: Mapping[str, Any]) -> Table:
    """Counts by name; a mapping among them is a line of its own counts."""
    rows = {}
    for name, value in counts.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {_number(number)}" for key, number in value.items()) or "none"
        rows[name.replace("_", " ").capitalize()] = _number(value)
    return pairs_table(rows)


def histogram(bins: Mapping[str, int]) -> Table:
    """A line per bin: its name, a bar as long as its count against the largest, and the count."""
    name_column = Column(style="dim", justify="right", no_wrap=True)
    table = Table.grid(name_column, Column(width=_BAR), Column(justify="right"), padding=(0, 2, 0, 0))
    most = max(bins.values(), default=0)
    for name, number in bins.items():
        shown = max(number, most / (2 * _BAR)) if number else 0  # a small count is seen, too
        table.add_row(Text(clean(name)), Bar(max(most, 1), 0, shown, color="cyan"), Text(f"{number:,}"))
    return table


def findings_table(findings: Sequence[Mapping[str, Any]]) -> Table:
    """The doctor's findings: ``name``, ``ok``, ``detail`` and, where something is broken, its ``fix``."""
    name_column = Column(style="dim", no_wrap=True)
    table = Table.grid(Column(no_wrap=True), name_column, Column(overflow="fold"), padding=(0, 2, 0, 0))
    for finding in findings:
        mark = Text("ok", "green") if finding["ok"] else Text("BAD", "bold red")
        table.add_row(mark, Text(clean(finding["name"])), Text(clean(finding["detail"])))
        if finding["fix"]:
            table.add_row("", "", Text(f"→ {clean(finding['fix'])}", "bold"))
    return table


def records_table(records: Sequence[Mapping[str, str]], console: Console) -> Table:
    """Records with the same keys, which head the columns."""
    table = _headed("", console)
    for name in records[0] if records else ():
        table.add_column(Text(name), overflow="fold")
    for record in records:
        table.add_row(*(Text(clean(value)) for value in record.values()))
    return table


def figures_table(title: str, labels: Sequence[str], columns: Mapping[str, Sequence[str]], console: Console) -> Table:
    """Columns of figures, a row for each label; ``title`` may be empty."""
    table = _headed(title, console)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(Text(name), justify="right", style="bold green" if name == "EM" else "", overflow="fold")
    for number, label in enumerate(labels):
        table.add_row(Text(label), *(Text(cells[number]) for cells in columns.values()))
    return table


def pairs_table(rows: Mapping[str, str]) -> Table:
    """Names, each with its value."""
    table = Table.grid(Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for name, value in rows.items():
        table.add_row(Text(clean(name)), Text(clean(value)))
    return table


def answer_table(row: Mapping[str, Any]) -> Table:
    """An answer of the log in full."""
    searches = [", ".join(map(str, turn.get("queries", []))) for turn in row["turns"]]
    shown = ("title", "file", "url", "place")
    sides: dict[bool, list[str]] = {True: [], False: []}
    for one in row["sources"]:  # older answers do not say which of them hold the answer
        sides[one.get("holds") is not False].append(", ".join(str(one[key]) for key in shown if one.get(key)))
    values = {
        "Question": row["question"],
        "Answer": row["answer"] or "(none)",
        "Time": row["time"],
        "Model": row.get("model"),
        "Index": row.get("index"),
        "Mode": row.get("mode"),
        "Searches": "\n".join(searches),
        "Sources": "\n".join(sides[True]),
        "Read": "\n".join(sides[False]),
    }
    return pairs_table({name: str(value) for name, value in values.items() if value})


def title_grid() -> Table:
    """Rows of a passage's title, cut where the width ends, and its score."""
    title, score = Column(ratio=1, no_wrap=True, overflow="ellipsis"), Column(justify="right", no_wrap=True)
    return Table.grid(title, score, expand=True, padding=(0, 1, 0, 0))


def _headed(title: str, console: Console) -> Table:
    return Table(
        title=Text(title, "dim") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        header_style="bold",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0) if console.is_terminal else (0, 2, 0, 0),
    )


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
