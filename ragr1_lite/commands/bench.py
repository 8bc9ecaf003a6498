"""Measuring this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from ragr1_lite.commands.options import AsJson, Index, Model, group
from ragr1_lite.session import session

if TYPE_CHECKING:
    from ragr1_lite.ui import Display

app = group("Measure this machine: both ways in one run, medians, ratios.")


@app.command("retrieval")
def bench_retrieval(context: typer.Context, index: Index = None, as_json: AsJson = False) -> None:
    """One search call for a turn's queries against one call per query.

    JSON: {"machine", "rows": [{"engine", "us_per_query"}], "ratios": {"loop", "repeats"}}
    """
    with session(context) as display:
        from ragr1_lite import bench
        from ragr1_lite.config import WORLD

        _show_bench(display, bench.retrieval(index or WORLD, report=display), as_json)


@app.command("sampling")
def bench_sampling(context: typer.Context, model: Model = None, as_json: AsJson = False) -> None:
    """Our sampler against transformers' generate: the same prompts, greedy.

    JSON: {"machine", "rows": [{"engine", "tokens_per_second"}], "ratio", "equal_outputs"}
    """
    with session(context) as display:
        from ragr1_lite import bench

        _show_bench(display, bench.sampling(model, report=display), as_json)


def _show_bench(display: Display, result: dict[str, Any], as_json: bool) -> None:
    from ragr1_lite.ui import counts_table

    if as_json:
        display.show_json(result)
        return
    flat = {row["engine"]: value for row in result["rows"] for key, value in row.items() if key != "engine"}
    unit = next(key for key in result["rows"][0] if key != "engine").replace("_", " ")
    rest = {key: value for key, value in result.items() if key not in ("rows", "machine")}
    display.show(counts_table({f"{name} ({unit})": value for name, value in flat.items()} | rest))
