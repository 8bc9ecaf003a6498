"""Results as tables: evaluations, search results, an index, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ragr1_lite.core.types import Passage
from ragr1_lite.data.benchmarks import PUBLISHED, SETTING
from ragr1_lite.ui.text import clean, count, one_line, share, size

if TYPE_CHECKING:
    from ragr1_lite.data.benchmarks import Benchmark
    from ragr1_lite.evaluation import Comparison
    from ragr1_lite.retrieval import IndexInfo

_ANY_WIDTH = 1000


class Evaluated(Protocol):
    """What a row of figures needs; :class:`ragr1_lite.evaluation.Evaluation` has it."""

    @property
    def label(self) -> str:
        """What was evaluated."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The figures, those by kind under ``by_kind``."""
        ...


class Found(Protocol):
    """What a line about this machine needs; :class:`ragr1_lite.cli.doctor.Finding` has it."""

    @property
    def name(self) -> str:
        """What was looked at."""
        ...

    @property
    def ok(self) -> bool:
        """Whether it is as it should be."""
        ...

    @property
    def detail(self) -> str:
        """What was found."""
        ...

    @property
    def mend(self) -> str:
        """How to mend it; empty where nothing is to be mended."""
        ...


def evaluation_table(evaluations: Sequence[Evaluated], console: Console) -> RenderableType:
    """One row per evaluation: exact match by kind of question and over all, F1, validity, costs; then the causes.

    Where the console is too narrow for one table, exact match by kind and everything else stand in two.
    """
    figures = [(clean(evaluation.label), evaluation.to_json()) for evaluation in evaluations]
    kinds = list(dict.fromkeys(kind for _, one in figures for kind in one["by_kind"]))
    by_kind = {clean(kind): [_share_of(one["by_kind"].get(kind), "em") for _, one in figures] for kind in kinds}
    overall = _overall([one for _, one in figures])
    labels = [label for label, _ in figures]
    title = f"{' / '.join(f'{number:,}' for number in sorted({one['n'] for _, one in figures}))} questions"
    if (samples := max((one.get("samples", 1) for _, one in figures), default=1)) > 1:
        title += f", {samples} answers each"
    causes = _causes(labels, [one.get("causes") for _, one in figures], console)
    if not by_kind:
        return Group(figures_table(title, labels, overall, console), *causes)
    whole = figures_table(f"{title}: exact match by kind, then over all", labels, by_kind | overall, console)
    if console.measure(whole, options=console.options.update(width=_ANY_WIDTH)).maximum <= console.width:
        return Group(whole, *causes)
    return Group(
        figures_table(f"{title}: exact match by kind", labels, by_kind, console),
        Text(),
        figures_table("All kinds together", labels, overall, console),
        *causes,
    )


def _overall(figures: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The columns over all questions; exact match with its interval where the figures have one."""
    intervals = [_interval(one["ci"]["em"]) if one.get("ci") else "–" for one in figures]
    return {
        "EM": [share(one["em"]) for one in figures],
        **({"95 %": intervals} if any(one.get("ci") for one in figures) else {}),
        **({"±": [share(one["spread"]["em"]) for one in figures]} if all("spread" in one for one in figures) else {}),
        "F1": [share(one["f1"]) for one in figures],
        "valid": [f"{one['valid']:.0%}" for one in figures],
        "rounds": [f"{one['rounds']:.2f}" for one in figures],
        "queries": [f"{one['queries']:.2f}" for one in figures],
        "s/question": [f"{one['seconds_per_question']:.2f}" for one in figures],
    }


def _interval(bounds: Sequence[float]) -> str:
    return f"{share(bounds[0])}–{share(bounds[1])}"


def _causes(
    labels: Sequence[str], causes: Sequence[Mapping[str, int] | None], console: Console
) -> list[RenderableType]:
    """How many errors each evaluation made, and why, under an empty line; nothing where no evaluation tells."""
    told = [(label, one) for label, one in zip(labels, causes, strict=True) if one is not None]
    if not told:
        return []
    columns = {"errors": [f"{sum(one.values()):,}" for _, one in told]}
    columns |= {name: [f"{one[name]:,}" for _, one in told] for name in told[0][1]}
    return [Text(), figures_table("Wrong answers by cause", [label for label, _ in told], columns, console)]


def benchmarks_table(benchmarks: Sequence[Benchmark], console: Console) -> RenderableType:
    """Their size and what was published, and what to know of each."""
    rows = [one.to_json()["published"] for one in benchmarks]
    columns = {"questions": [f"{one.questions:,}" for one in benchmarks]}
    columns |= {name: [_published(row[name]) for row in rows] for name in rows[0]}
    told = Text(f"EM of {PUBLISHED}: {SETTING}.", "dim")
    remarks = pairs_table({one.name: one.remark for one in benchmarks})
    return Group(told, figures_table("", [one.name for one in benchmarks], columns, console), Text(), remarks)


def published_line(benchmark: Benchmark, here: str) -> RenderableType:
    """What was published of a benchmark, and what differs.

    Args:
        benchmark: It.
        here: The setting of our own figures.
    """
    rows = benchmark.to_json()["published"]
    figures = ", ".join(f"{row} {_published(em)}" for row, em in rows.items())
    theirs = f"Published for {benchmark.title}: {figures}, by {PUBLISHED}: {SETTING}."
    return Text(f"{theirs} Here: {here}. {benchmark.remark}", "dim")


def _published(em: float) -> str:
    return f"{em:.3f}".removeprefix("0")


def comparison_table(found: Comparison, console: Console) -> RenderableType:
    """Two evaluations side by side, the differences with their intervals, and what can be said."""
    one, other = (one_line(str(file)) for file in found.files)
    compared = Text(f"{count(found.questions, 'question')}, A: {one}, B: {other}", "dim")
    first, second = found.figures
    gaps = [found.differences.get(name) for name in first]
    columns = {
        "A": [f"{value:.3f}" for value in first.values()],
        "B": [f"{value:.3f}" for value in second.values()],
        "B − A": [f"{second[name] - first[name]:+.3f}" for name in first],
        "95 %": [f"{gap.interval.low:+.3f} to {gap.interval.high:+.3f}" if gap else "" for gap in gaps],
        "p": [_chance(gap.p) if gap else "" for gap in gaps],
    }
    alone = [f"{number:,} only in {name}" for name, number in zip("AB", found.alone, strict=True) if number]
    left_out = [Text(f"Left out: {', '.join(alone)}.", "dim")] if alone else []
    labels = [_MEASURES.get(name, name.replace("_", " ")) for name in first]
    table = figures_table("", labels, columns, console)
    return Group(compared, table, Text(), *left_out, Text(f"{found.verdict}.", "bold"))


def _chance(p: float) -> str:
    return f"{p:.3f}" if p >= _LEAST else f"<{_LEAST}"


_LEAST = 0.001
_MEASURES = {"em": "EM", "f1": "F1", "cover_em": "cover EM", "seconds": "s/question"}


def search_results(queries: Sequence[str], results: Sequence[Sequence[Passage]]) -> RenderableType:
    """Each query over its passages, whole."""
    parts: list[RenderableType] = []
    for query, found in zip(queries, results, strict=True):
        parts.append(Text(f"› {one_line(query)}", "bold cyan"))
        for number, passage in enumerate(found, start=1):
            title = one_line(passage.title) or "(no title)"
            head = Text.assemble(f"{number}. {title}", (f"  {passage.score:.2f}  {one_line(passage.id)}", "dim"))
            parts.append(Padding(head, (0, 0, 0, 2)))
            parts.append(Padding(Text(one_line(passage.text), "dim"), (0, 0, 0, 5)))
        if not found:
            parts.append(Padding(Text("nothing found", "dim italic"), (0, 0, 0, 2)))
    return Group(*parts)


def index_table(info: IndexInfo) -> Table:
    """What an index is made of."""
    return pairs_table(
        {
            "Index": str(info.path or "in memory"),
            "Passages": f"{info.passages:,}",
            "Words": f"{info.words:,}",
            "Size": size(info.bytes),
            "BM25": f"k1 {info.k1:g}, b {info.b:g}",
            "Titles": f"counted {count(info.title_weight, 'time')}",
            "Stemmer": info.tokenizer.get("stemmer", "none"),
            "Built by": f"ragr1-lite {info.package}",
        }
    )


def counts_table(counts: Mapping[str, Any]) -> Table:
    """Counts by name; a mapping among them is a line of its own counts."""
    rows = {}
    for name, value in counts.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {_number(number)}" for key, number in value.items()) or "none"
        rows[name.replace("_", " ").capitalize()] = _number(value)
    return pairs_table(rows)


def saved_index(info: IndexInfo) -> str:
    """The sentence that ends a build."""
    return f"{count(info.passages, 'passage')} ({size(info.bytes)}) in {info.path}"


def findings_table(findings: Sequence[Found]) -> Table:
    """What was looked at, each with what was found and, where something is broken, how to mend it."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark = Text("ok", "green") if finding.ok else Text("BAD", "bold red")
        table.add_row(mark, Text(clean(finding.name)), Text(clean(finding.detail)))
        if finding.mend:
            table.add_row("", "", Text(f"→ {clean(finding.mend)}", "bold"))
    return table


def records_table(records: Sequence[Mapping[str, str]], console: Console) -> Table:
    """Records with the same keys, which stand over their columns."""
    table = Table(
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        header_style="bold",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0) if console.is_terminal else (0, 2, 0, 0),
    )
    for name in records[0] if records else ():
        table.add_column(Text(name), overflow="fold")
    for record in records:
        table.add_row(*(Text(clean(value)) for value in record.values()))
    return table


def figures_table(title: str, labels: Sequence[str], columns: Mapping[str, Sequence[str]], console: Console) -> Table:
    """Columns of figures, a row for each label; ``title`` may be empty."""
    table = Table(
        title=Text(title, "dim"),
        title_justify="left",
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        header_style="bold",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0) if console.is_terminal else (0, 2, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(Text(name), justify="right", style="bold green" if name == "EM" else "", overflow="fold")
    for number, label in enumerate(labels):
        table.add_row(Text(label), *(Text(cells[number]) for cells in columns.values()))
    return table


def _share_of(figures: Mapping[str, float] | None, name: str) -> str:
    return share(figures[name]) if figures else "–"


def pairs_table(rows: Mapping[str, str]) -> Table:
    """Names, each with its value."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(clean(name)), Text(clean(value)))
    return table


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
