"""Tables of evaluations, of their comparison, of studies, and of what was published of benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from ragr1_lite.core.safe_text import clean
from ragr1_lite.data.benchmarks import PUBLISHED, SETTING, SMALL_COMPARABLE, SMALL_MODELS, SMALL_SETTING
from ragr1_lite.ui.tables import figures_table, pairs_table
from ragr1_lite.ui.text import count, one_line, share

if TYPE_CHECKING:
    from ragr1_lite.data.benchmarks import Benchmark
    from ragr1_lite.evaluation import Comparison, Evaluation
    from ragr1_lite.evaluation.study import Outcome, Row

_NONE = "–"
_ANY_WIDTH = 1000
_SMALLEST_P = 0.001
_MEASURES = {"em": "EM", "f1": "F1", "cover_em": "cover EM", "seconds": "s/question"}


def evaluation_table(evaluations: Sequence[Evaluation], console: Console) -> RenderableType:
    """One row per evaluation: exact match by kind of question and over all, F1, validity, costs; then the causes.

    How free text was read, what was refused, and what was not asked, is said below. Where the console is too narrow for
    one table, exact match by kind and everything else stand in two.
    """
    figures = [evaluation.to_json() for evaluation in evaluations]
    labels = [clean(evaluation.label) for evaluation in evaluations]
    kinds = dict.fromkeys(kind for one in figures for kind in one["by_kind"])
    by_kind = {
        clean(kind): [share(one["by_kind"][kind]["em"]) if kind in one["by_kind"] else _NONE for one in figures]
        for kind in kinds
    }
    overall = _overall(figures)
    title = f"{' / '.join(f'{number:,}' for number in sorted({one['n'] for one in figures}))} questions"
    if (samples := max((one.get("samples", 1) for one in figures), default=1)) > 1:
        title += f", {samples} answers each"
    if shots := max((one.get("shots", 0) for one in figures), default=0):
        title += f", {count(shots, 'shot')}"
    given_up = [one.given_up for one in evaluations if one.given_up]
    causes = _causes(labels, [one.get("causes") for one in figures], console)
    read = [line for one in evaluations for line in (one.readings, one.refused) if line]
    notes = [*(Text(clean(line), "dim") for line in read), *(Text(clean(line), "yellow") for line in given_up)]
    rest = [*causes, *([Text()] if notes else []), *notes]
    if not by_kind:
        return Group(figures_table(title, labels, overall, console), *rest)
    whole = figures_table(f"{title}: exact match by kind, then over all", labels, by_kind | overall, console)
    if console.measure(whole, options=console.options.update(width=_ANY_WIDTH)).maximum <= console.width:
        return Group(whole, *rest)
    return Group(
        figures_table(f"{title}: exact match by kind", labels, by_kind, console),
        Text(),
        figures_table("All kinds together", labels, overall, console),
        *rest,
    )


def _overall(figures: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The columns over all questions; exact match with its interval where the figures have one."""
    intervals = [_interval(one["ci"]["em"]) if one.get("ci") else _NONE for one in figures]
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


def _causes(
    labels: Sequence[str], causes: Sequence[Mapping[str, int] | None], console: Console
) -> list[RenderableType]:
    """How many errors each evaluation made, by cause, under an empty line; nothing where the causes are unknown."""
    known = [(label, one) for label, one in zip(labels, causes, strict=True) if one is not None]
    if not known:
        return []
    columns = {"errors": [f"{sum(one.values()):,}" for _, one in known]}
    columns |= {name: [f"{one[name]:,}" for _, one in known] for name in known[0][1]}
    return [Text(), figures_table("Wrong answers by cause", [label for label, _ in known], columns, console)]


def comparison_table(found: Comparison, console: Console) -> RenderableType:
    """Two evaluations in columns, the differences with their intervals, and the verdict."""
    one, other = (one_line(str(file)) for file in found.files)
    compared = Text(f"{count(found.questions, 'question')}, A: {one}, B: {other}", "dim")
    first, second = found.figures
    gaps = [found.differences.get(name) for name in first]
    columns = {
        "A": [f"{value:.3f}" for value in first.values()],
        "B": [f"{value:.3f}" for value in second.values()],
        "B − A": [f"{second[name] - first[name]:+.3f}" for name in first],
        "95 %": [f"{gap.interval.low:+.3f} to {gap.interval.high:+.3f}" if gap else "" for gap in gaps],
        "p": [(f"{gap.p:.3f}" if gap.p >= _SMALLEST_P else f"<{_SMALLEST_P}") if gap else "" for gap in gaps],
    }
    alone = [f"{number:,} only in {name}" for name, number in zip("AB", found.alone, strict=True) if number]
    left_out = [Text(f"Left out: {', '.join(alone)}.", "dim")] if alone else []
    labels = [_MEASURES.get(name, name.replace("_", " ")) for name in first]
    table = figures_table("", labels, columns, console)
    refused = [Text(line, "dim") for line in found.refused]
    return Group(compared, table, Text(), *left_out, *refused, Text(f"{found.verdict}.", "bold"))


def benchmarks_table(benchmarks: Sequence[Benchmark], console: Console) -> RenderableType:
    """The benchmarks' size, published results and remarks."""
    rows = [one.to_json()["published"] for one in benchmarks]
    columns = {"questions": [f"{one.questions:,}" for one in benchmarks]}
    columns |= {name: [_published(row[name]) for row in rows] for name in rows[0]}
    source = Text(f"EM of {PUBLISHED}: {SETTING}.", "dim")
    remarks = pairs_table({one.name: one.remark for one in benchmarks})
    table = figures_table("", [one.name for one in benchmarks], columns, console)
    return Group(source, table, Text(), remarks, Text(), *_small_models(console))


def _small_models(console: Console) -> Iterator[RenderableType]:
    """What was published of small models, and what that can be compared with."""
    names = dict.fromkeys(name for one in SMALL_MODELS for name in one.em)
    columns = {name: [_published(one.em[name]) if name in one.em else _NONE for one in SMALL_MODELS] for name in names}
    yield Text(f"EM of small models: {SMALL_SETTING}.", "dim")
    yield figures_table("", [f"{one.method}, {one.model}" for one in SMALL_MODELS], columns, console)
    yield Text()
    yield pairs_table({one.method: one.by for one in SMALL_MODELS} | {"Comparable": SMALL_COMPARABLE})


def published_line(benchmark: Benchmark, here: str) -> RenderableType:
    """The published results of a benchmark, and how the setting ``here`` differs."""
    rows = benchmark.to_json()["published"]
    figures = ", ".join(f"{row} {_published(em)}" for row, em in rows.items())
    theirs = f"Published for {benchmark.title}: {figures}, by {PUBLISHED}: {SETTING}."
    return Text(f"{theirs} Here: {here}. {benchmark.remark}", "dim")


def _published(em: float) -> str:
    return f"{em:.3f}".removeprefix("0")


def study_table(outcome: Outcome, console: Console) -> RenderableType:
    """The figures of each variant, and how it differs from the first one."""
    labels, columns = _study_cells(outcome)
    head = Text(f"{outcome.design.question} {count(outcome.questions, 'question')}, the same for all.", "dim")
    table = figures_table("", labels, columns, console)
    return Group(head, table, *(Text(line, "yellow") for line in _problems(outcome.rows)))


def study_markdown(outcome: Outcome) -> str:
    """The same in Markdown."""
    labels, columns = _study_cells(outcome)
    lines = [f"{outcome.design.question} {count(outcome.questions, 'question')}.", ""]
    lines += [f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for at, label in enumerate(labels):
        cells = [label.replace("|", "\\|"), *(values[at] for values in columns.values())]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_problems(outcome.rows)]).rstrip() + "\n"


def _study_cells(outcome: Outcome) -> tuple[list[str], dict[str, list[str]]]:
    """The labels of the variants that were run, and their columns."""
    rows = [row for row in outcome.rows if row.evaluation]
    figures = [row.evaluation.to_json() for row in rows if row.evaluation]
    columns = {
        "EM": [share(one["em"]) for one in figures],
        "95 %": [_interval(one["ci"]["em"]) for one in figures],
        "EM − first": [_difference(row) for row in rows],
        "rounds": [f"{one['rounds']:.2f}" for one in figures],
        "queries": [f"{one['queries']:.2f}" for one in figures],
        "read": [f"{one['retrieved_tokens']:.0f}" for one in figures],
        "s/question": [f"{one['seconds_per_question']:.2f}" for one in figures],
        "fewer rounds": [_saved(row, "rounds") for row in rows],
        "fewer seconds": [_saved(row, "seconds_per_question") for row in rows],
    }
    return [one_line(row.label) for row in rows], columns


def _problems(rows: Sequence[Row]) -> list[str]:
    return [f"{one_line(row.label)} was not run: {one_line(row.problem)}" for row in rows if row.problem]


def _difference(row: Row) -> str:
    if row.em is None:
        return _NONE
    mean, low, high = row.em.interval.mean, row.em.interval.low, row.em.interval.high
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def _saved(row: Row, name: str) -> str:
    return f"{row.saved[name]:.0%}" if row.saved and name in row.saved else _NONE


def _interval(bounds: Sequence[float]) -> str:
    return f"{share(bounds[0])}–{share(bounds[1])}"
