"""``python -m benchmarks NAME``: both ways in one run, medians, ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragr1_lite.cli.commands.options import AsJson, Group, Model
from ragr1_lite.cli.session import Options, session

Rounds = Annotated[int, typer.Option(min=1, metavar="N", help="How often each way is measured; medians count.")]

app = Group("Measure this machine: both ways in one run, medians, ratios.")


@app.callback()
def _root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and other libraries' messages.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress: only results, warnings and errors.")] = False,
) -> None:
    context.obj = Options(debug, quiet)


@app.add(
    "retrieval",
    "python -m benchmarks retrieval --passages 10000,100000",
    "python -m benchmarks retrieval --index runs/books",
)
def bench_retrieval(
    context: typer.Context,
    passages: Annotated[
        str, typer.Option(metavar="N,N", help="Synthetic corpora of these sizes; a million takes 2.5 GB of memory.")
    ] = "10000,100000,1000000",
    index: Annotated[str | None, typer.Option(metavar="FOLDER", help="Measure this index instead.")] = None,
    build: Annotated[bool, typer.Option("--build", help="Also measure building, minutes for a million.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search against bm25s' own and tantivy's: the same queries, one thread.

    JSON: {"machine": {...}, "rows": [{"passages", "queries", "mix", "engine", "us_per_query"} ...], "ratios":
    {PASSAGES: {MIX: {ENGINE: its time over ours, "floor": ours over the memory's}}}}, with --build {"build":
    {"seconds_ratio", "memory_ratio", ...}}.
    """
    with session(context, as_json=as_json) as display:
        import benchmarks
        from ragr1_lite.ui.tables import counts_table

        sizes = benchmarks.sizes(passages)
        result = benchmarks.retrieval(index, passages=sizes, build=max(sizes) if build else None, report=display)
        display.show(counts_table(benchmarks.figures(result)), json=result)


@app.add("update", "python -m benchmarks update --files 1000 --rounds 1 --json")
def bench_update(
    context: typer.Context,
    files: Annotated[int, typer.Option(min=2, metavar="N", help="Small text files in the folder.")] = 10_000,
    rounds: Rounds = 5,
    as_json: AsJson = False,
) -> None:
    """Following a folder: one file changes, then `index update` against building anew.

    JSON: {"machine", "files", "passages", "index_bytes", "seconds": {"update", "rebuild"}, "wall_seconds": {the same},
    "bytes_written": {the same}, "seconds_ratio", "bytes_ratio"}; seconds are of processor time.
    """
    with session(context, as_json=as_json) as display:
        from benchmarks.updating import updating
        from ragr1_lite.ui.tables import counts_table

        result = updating(files, rounds=rounds, report=display)
        display.show(counts_table({key: result[key] for key in result if key != "machine"}), json=result)


@app.add("sampling", "python -m benchmarks sampling --temperature 1 --rows 24")
def bench_sampling(
    context: typer.Context,
    model: Model = None,
    temperature: Annotated[float, typer.Option(min=0, metavar="T", help="Draws tokens; 0 takes the likeliest.")] = 0.0,
    rows: Annotated[int, typer.Option(min=1, metavar="N", help="Prompts at once.")] = 16,
    as_json: AsJson = False,
) -> None:
    """Our sampler against transformers' generate: the same prompts.

    JSON: {"machine", "rows": [{"engine", "tokens_per_second"}], "ratio", "equal_outputs" of greedy sampling}
    """
    with session(context, as_json=as_json) as display:
        import benchmarks
        from ragr1_lite.ui.tables import counts_table

        result = benchmarks.sampling(model, temperature=temperature, rows=rows, report=display)
        speeds = {f"{row['engine']} (tokens per second)": row["tokens_per_second"] for row in result["rows"]}
        figures = {key: result[key] for key in ("ratio", "equal_outputs") if key in result}
        display.show(counts_table(speeds | figures), json=result)


@app.add("startup")
def bench_startup(context: typer.Context, as_json: AsJson = False) -> None:
    """``ragr1-lite --help`` against a Python that does nothing.

    JSON: {"machine", "rounds", "seconds": {"help", "python"}, "ratio"}
    """
    with session(context, as_json=as_json) as display:
        from benchmarks.startup import startup
        from ragr1_lite.ui.tables import counts_table

        result = startup(report=display)
        display.show(counts_table({key: result[key] for key in result if key != "machine"}), json=result)


@app.add("rollout", "python -m benchmarks rollout --rows 8 --json")
def bench_rollout(
    context: typer.Context,
    model: Model = None,
    rows: Annotated[int, typer.Option(min=1, metavar="N", help="Rollouts at once.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Our rollouts against TRL's way, which prefills everything anew in each turn: three turns, greedy.

    JSON: {"machine", "model", "turns", "rows", "ratio", "tokens_per_second": {"ours", "reprefill"}, "shares":
    {"prefill", "decode", "retrieval", "other"}, "equal_outputs", "distinct": {"ratio", "tokens_per_second", "shares",
    "equal_outputs"}}: a group of one question, and as many distinct questions. Shares are those of our time.
    """
    with session(context, as_json=as_json) as display:
        from benchmarks.rollout import rollout
        from ragr1_lite.ui.tables import counts_table

        result = rollout(model, rows=rows, report=display)
        cases = {f"a group of {rows}": result, f"{rows} distinct questions": result["distinct"]}
        keys = ("ratio", "tokens_per_second", "shares", "equal_outputs")
        shown = {f"{name}: {key}": case[key] for name, case in cases.items() for key in keys}
        display.show(counts_table(shown), json=result)


@app.add("phases", "python -m benchmarks phases --model qwen2.5-coder-0.5b --rounds 1 --json")
def bench_phases(
    context: typer.Context,
    model: Model = None,
    rounds: Rounds = 3,
    as_json: AsJson = False,
) -> None:
    """Prefill of 8 rows, decoding of 1, 8 and 32, against what this machine can do at most.

    JSON: {"machine", "model", "limit": {"gflops", "gigabytes"}, "phases": {NAME: {"seconds", "tokens_per_second",
    "floor", "share"}}}: the share is the floor over the seconds, see benchmarks/limit.py.
    """
    with session(context, as_json=as_json) as display:
        from benchmarks.phases import phases
        from ragr1_lite.ui.tables import counts_table

        result = phases(model, rounds=rounds, report=display)
        display.show(counts_table({"limit": result["limit"]} | result["phases"]), json=result)


@app.add(
    "training", "python -m benchmarks training sft", "python -m benchmarks training grpo --rows 6 --rounds 1 --json"
)
def bench_training(
    context: typer.Context,
    task: Annotated[Literal["sft", "grpo"], typer.Argument(help="Whose step is measured.")],
    model: Model = None,
    rows: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Trajectories in a step. [default: the recipe's]")
    ] = None,
    rounds: Rounds = 3,
    as_json: AsJson = False,
) -> None:
    """A step of the quickstart's training against plain TRL's, and against what this machine can do at most.

    JSON: {"machine", "model", "task", "rows", "tokens", "distinct_tokens", "limit", "loss_difference", "parts": {NAME:
    {"ratio": TRL's seconds over ours, "plain_seconds", "seconds", "tokens_per_second", "floor", "share"}}} with names
    "step", and for grpo "rollouts" and "update"; see benchmarks/limit.py for floor and share.
    """
    with session(context, as_json=as_json) as display:
        from benchmarks.training import training
        from ragr1_lite.ui.tables import counts_table

        result = training(task, model, rows=rows, rounds=rounds, report=display)
        shown = {key: result[key] for key in ("rows", "tokens", "distinct_tokens", "limit")}
        if task == "sft":
            shown["loss_difference"] = f"{result['loss_difference']:.1e}"
        display.show(counts_table(shown | result["parts"]), json=result)


@app.add("eval", "python -m benchmarks eval --questions 32 --batch-size 16 --json")
def bench_eval(
    context: typer.Context,
    model: Model = None,
    questions: Annotated[int, typer.Option(min=1, metavar="N", help="Of the embedded world.")] = 16,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Questions answered together.")] = 16,
    as_json: AsJson = False,
) -> None:
    """Evaluating in batches against one question after the other: greedy, the same answers.

    JSON: {"machine", "model", "questions", "batch_size", "ratio", "seconds": {"batched", "one_by_one"},
    "equal_answers", "em"}.
    """
    with session(context, as_json=as_json) as display:
        from benchmarks.evaluation import evaluation
        from ragr1_lite.ui.tables import counts_table

        result = evaluation(model, questions=questions, batch_size=batch_size, report=display)
        display.show(counts_table({key: result[key] for key in result if key != "machine"}), json=result)


@app.add("serving", "python -m benchmarks serving --questions 8 --json")
def bench_serving(
    context: typer.Context,
    model: Model = None,
    questions: Annotated[int, typer.Option(min=1, metavar="N", help="Of the embedded world, each by a client.")] = 8,
    rounds: Rounds = 3,
    as_json: AsJson = False,
) -> None:
    """Questions side by side at a server of `ragr1-lite serve` against one after the other.

    JSON: {"machine", "model", "questions", "ratio", "questions_per_minute": {"side_by_side", "one_by_one"},
    "equal_answers"}.
    """
    with session(context, as_json=as_json) as display:
        from benchmarks.serving import serving
        from ragr1_lite.ui.tables import counts_table

        result = serving(model, questions=questions, rounds=rounds, report=display)
        display.show(counts_table({key: result[key] for key in result if key != "machine"}), json=result)


@app.add("soak", "python -m benchmarks soak --rollouts 200 --requests 1000 --rounds 8 --json")
def bench_soak(
    context: typer.Context,
    rollouts: Annotated[int, typer.Option(min=8, metavar="N", help="By a tiny model, with retrieval.")] = 2_000,
    requests: Annotated[int, typer.Option(min=50, metavar="N", help="To `serve`, and to `index serve`.")] = 10_000,
    clients: Annotated[int, typer.Option(min=1, max=200, metavar="N", help="That ask at once.")] = 50,
    rounds: Annotated[int, typer.Option(min=4, metavar="N", help="Parts; memory is read after each of them.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Thousands of rollouts and of requests to both servers: what grows, what is lost, what is mixed up.

    JSON: {"machine", "rollouts": {"done", "lost", "mixed_up", "hung_up", "mib", "mib_per_1000", "interval",
    "handles": [after the warm-up, at the end], "threads": [the same], "slow_down"}, "serve": {the same}, "index serve":
    {the same}}; the interval is the slope's of resident memory, slow_down a ratio of processor times.
    """
    with session(context, as_json=as_json) as display:
        from benchmarks.soak import soak
        from ragr1_lite.ui.tables import counts_table

        result = soak(rollouts=rollouts, requests=requests, clients=clients, rounds=rounds, report=display)
        display.show(counts_table({key: result[key] for key in result if key != "machine"}), json=result)


@app.add("segments", "python -m benchmarks segments gold.jsonl --limit 8")
def bench_segments(
    context: typer.Context,
    trajectories: Annotated[Path, typer.Argument(help="From `data generate`, in multi mode.")],
    model: Model = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The first N trajectories.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Loss and gradient of whole masked trajectories against one sample per turn: equal, for fewer tokens.

    JSON: {"machine", "trajectories", "samples", "tokens_whole", "tokens_separate", "ratio", "seconds_whole",
    "seconds_separate", "seconds_ratio", "loss_difference", "gradient_difference"}; ratios are whole over separate,
    differences relative.
    """
    with session(context, as_json=as_json) as display:
        from benchmarks.segments import segments
        from ragr1_lite.ui.tables import counts_table

        result = segments(trajectories, model, limit=limit, report=display)
        differences = {key: f"{result[key]:.1e}" for key in ("loss_difference", "gradient_difference")}
        shown = {key: result[key] for key in result if key != "machine"} | differences
        display.show(counts_table(shown), json=result)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
