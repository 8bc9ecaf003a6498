"""The benchmarks that have a name."""

from __future__ import annotations

import typer

from ragr1_lite.cli.commands.options import AsJson, examples, group
from ragr1_lite.cli.session import session

app = group()


@app.command("benchmarks", epilog=examples("ragr1-lite data benchmarks", "ragr1-lite eval --data hotpotqa --index DIR"))
def data_benchmarks(context: typer.Context, as_json: AsJson = False) -> None:
    """List the benchmarks that `eval --data` takes by name, with what was published of them.

    JSON, a list: [{"name", "title", "source", "questions", "published": {ROW: EM}, "by", "setting", "remark"}].
    """
    with session(context) as display:
        from ragr1_lite.data.benchmarks import BENCHMARKS
        from ragr1_lite.ui.evaluations import benchmarks_table

        if as_json:
            display.show_json([one.to_json() for one in BENCHMARKS.values()])
        else:
            display.show(benchmarks_table(tuple(BENCHMARKS.values()), display.out))
