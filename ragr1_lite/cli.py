"""The command line: parses, calls the library, maps errors to exit codes. Heavy packages are imported by the commands.

Exit codes: 0 done · 1 something the user can mend · 2 wrong usage, option or recipe · 70 a bug of ours ·
130 stopped with Ctrl-C · 141 the reader of our output went away.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import typer

from ragr1_lite import __version__
from ragr1_lite.core import Mode
from ragr1_lite.errors import RagR1Error
from ragr1_lite.session import Options, session

if TYPE_CHECKING:
    from ragr1_lite.answer import Assistant
    from ragr1_lite.training import TrainResult
    from ragr1_lite.ui import Conversation, Display

__all__ = ["app", "main"]

_STYLE: Any = {"rich_markup_mode": None, "no_args_is_help": True, "add_completion": False}
_CONTEXT = {"help_option_names": ["-h", "--help"]}


def _examples(*lines: str) -> str:
    """An epilog whose lines stay as they are."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


app = typer.Typer(
    name="ragr1-lite",
    pretty_exceptions_enable=False,
    context_settings=_CONTEXT,
    epilog="\b\n"
    "Start here:\n"
    '  ragr1-lite ask "Which has the higher highest point, Chad or Niger?"\n'
    "  ragr1-lite quickstart\n"
    "\b\n"
    "Results go to stdout, progress to stderr. Exit codes: 0 done, 1 something you\n"
    "can mend, 2 wrong usage or recipe, 70 a bug of ours, 130 stopped by Ctrl-C.",
    **_STYLE,
)
index_app = typer.Typer(help="Build, search and check BM25 indexes of your own passages.", **_STYLE)
data_app = typer.Typer(help="Make training data.", **_STYLE)
bench_app = typer.Typer(help="Measure this machine: both ways in one run, medians, ratios.", **_STYLE)
recipes_app = typer.Typer(help="The training recipes that come with ragr1-lite.", **_STYLE)
app.add_typer(index_app, name="index")
app.add_typer(data_app, name="data")
app.add_typer(recipes_app, name="recipes")
app.add_typer(bench_app, name="bench")

Model = Annotated[
    str | None,
    typer.Option(help="A built-in name, a folder or a hub id. [default: what fits this machine]", metavar="MODEL"),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        help="An adapter folder, or `none` for the base model alone. [default: the one shipped for the model]",
        metavar="FOLDER",
    ),
]
Index = Annotated[str | None, typer.Option(help="An index folder. [default: the embedded world's]", metavar="FOLDER")]
Passages = Annotated[
    int | None, typer.Option("--k", "-k", min=1, metavar="N", help="Passages per query. [default: the recipe's]")
]
MaxQueries = Annotated[int, typer.Option(min=1, metavar="N", help="Parallel queries per search, at most.")]
Modes = Annotated[
    list[str] | None,
    typer.Option(
        callback=lambda names: _known_modes(names),
        metavar="|".join(get_args(Mode)),
        help="How the model may search; may be repeated. [default: multi]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or a name from `recipes list`.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as train.steps=200. May be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def main() -> None:
    """The entry point. ``--debug`` and ``--quiet`` may stand anywhere before a ``--``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    hoisted = [argument for argument in arguments[:end] if argument in ("--debug", "--quiet")]
    rest = [argument for argument in arguments[:end] if argument not in hoisted]
    app(hoisted + rest + arguments[end:], prog_name="ragr1-lite")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ragr1-lite {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and what other libraries say.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress: only results, warnings and errors.")] = False,
) -> None:
    """Train a small model to think, search several things at once, and answer right."""
    context.obj = Options(debug, quiet)


@app.command(
    epilog=_examples(
        'ragr1-lite ask "Which has the higher highest point, Chad or Niger?"',
        'ragr1-lite ask "Who wrote it?" --index runs/books --json',
        "ragr1-lite ask        (a prompt: an empty line, exit or Ctrl-D ends it)",
    )
)
def ask(
    context: typer.Context,
    question: Annotated[str | None, typer.Argument(help="The question; without one, a prompt asks for them.")] = None,
    index: Index = None,
    model: Model = None,
    adapter: Adapter = None,
    mode: Annotated[Mode, typer.Option(help="How the model may search.")] = "multi",
    k: Passages = None,
    max_queries: MaxQueries = 3,
    as_json: AsJson = False,
    plain: Annotated[bool, typer.Option("--plain", help="No colours and boxes: readable lines.")] = False,
) -> None:
    """Answer a question, showing thoughts, searches and documents.

    JSON, one object on one line per question: {"question", "answer", "turns": [{"queries": [...], "passages":
    [[{"title", "score"} ...] ...]} ...], "rounds", "queries", "seconds"}; "answer" is null where the model gave none.
    """
    with session(context, plain=plain) as display:
        from ragr1_lite.answer import Assistant
        from ragr1_lite.ui import Conversation

        assistant = Assistant.open(
            model=model, adapter=adapter, index=index, mode=mode, k=k, max_queries=max_queries, report=display
        )
        view = None if as_json else Conversation.on(display)
        if question is not None:
            _answer(assistant, question, display, view)
        else:
            _converse(assistant, display, view)


def _answer(
    assistant: Assistant, question: str, display: Display, view: Conversation | None, *, echo: bool = True
) -> None:
    """Answers one question on the view, or as JSON where there is none."""
    if view is None:
        display.show_json(assistant.ask(question, report=display).to_json())
        return
    try:
        view.begin(question, echo=echo)
        view.finish(assistant.ask(question, report=view))
    finally:
        view.stop()


def _converse(assistant: Assistant, display: Display, view: Conversation | None) -> None:
    """Answers question after question; Ctrl-C stops an answer, not the conversation."""
    typed = sys.stdin.isatty()
    if typed:
        display.say("Ask a question; an empty line, exit or Ctrl-D ends.", "dim")
    while question := display.ask_question():
        try:
            _answer(assistant, question, display, view, echo=not typed)
        except KeyboardInterrupt:
            display.say("Stopped.", "yellow")
        except RagR1Error as error:
            display.error(str(error))


@app.command(
    epilog=_examples(
        "ragr1-lite sft sft-smollm2-135m",
        "ragr1-lite sft sft-smollm2-135m --set train.steps=50 --set output=runs/short",
        "ragr1-lite sft sft-smollm2-135m --resume",
    )
)
def sft(
    context: typer.Context,
    recipe: RecipeName,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train an adapter on gold trajectories (stage 1).

    JSON: {"run", "adapter", "steps", "seconds"}; run and adapter are folders.
    """
    with session(context) as display:
        from ragr1_lite.config import load_recipe

        settings = load_recipe(recipe, overrides or (), task="sft")
        from ragr1_lite.sft import train

        _show_run(train(settings, resume=resume, overwrite=overwrite, report=display), display, as_json)


@app.command(
    epilog=_examples(
        "ragr1-lite grpo grpo-smollm2-135m --set model.adapter=runs/sft/adapter",
        "ragr1-lite grpo grpo-smollm2-135m --resume",
    )
)
def grpo(
    context: typer.Context,
    recipe: RecipeName,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train an adapter by reinforcement on its own searches (stage 2).

    JSON: {"run", "adapter", "steps", "seconds"}; run and adapter are folders.
    """
    with session(context) as display:
        from ragr1_lite.config import load_recipe

        settings = load_recipe(recipe, overrides or (), task="grpo")
        from ragr1_lite.grpo import train

        _show_run(train(settings, resume=resume, overwrite=overwrite, report=display), display, as_json)


def _show_run(result: TrainResult, display: Display, as_json: bool) -> None:
    fields = {"run": str(result.run.folder), "adapter": str(result.adapter), "steps": result.steps}
    if as_json:
        display.show_json({**fields, "seconds": round(result.seconds, 3)})
    else:
        display.show(f"{result.steps} steps in {result.seconds:.0f} s. The adapter is in {result.adapter}.")
        display.say(f'Try it: ragr1-lite ask --adapter {result.adapter} "…"', "dim")


@app.command(
    "eval",
    epilog=_examples(
        "ragr1-lite eval --questions 100",
        "ragr1-lite eval --mode multi --mode single --adapter runs/sft/adapter",
        "ragr1-lite eval --data questions.jsonl --index runs/books --out runs/books.jsonl",
    ),
)
def evaluate(
    context: typer.Context,
    data: Annotated[
        str, typer.Option(metavar="world|FILE", help="The embedded world, or JSON lines: question, answers.")
    ] = "world",
    split: Annotated[Literal["test", "dev"], typer.Option(help="Of the embedded world.")] = "test",
    index: Index = None,
    model: Model = None,
    adapter: Adapter = None,
    mode: Modes = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only questions of this kind; may be repeated.")
    ] = None,
    questions: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most this many. [default: all]")] = None,
    k: Passages = None,
    max_queries: MaxQueries = 3,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Questions answered side by side.")] = 32,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the draw of questions.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="Keep the trajectories here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on questions with known answers.

    JSON: {"n", "em", "f1", "valid", "rounds", "queries", "seconds_per_question", "by_kind": {KIND: {the same}}}; with
    several modes, an object with one such object per mode.
    """
    with session(context) as display:
        from ragr1_lite.evaluate import run
        from ragr1_lite.ui import evaluation_table

        modes = cast("list[Mode]", list(dict.fromkeys(mode or ["multi"])))
        evaluations = run(
            data=data,
            split=split,
            index=index,
            model=model,
            adapter=adapter,
            modes=modes,
            kinds=kind or None,
            questions=questions,
            k=k,
            max_queries=max_queries,
            batch_size=batch_size,
            seed=seed,
            out=out,
            report=display,
        )
        figures = {name: one.to_json() for name, one in zip(modes, evaluations, strict=True)}
        if as_json:
            display.show_json(figures if len(modes) > 1 else figures[modes[0]])
        else:
            display.show(evaluation_table(evaluations, display.out))


def _known_modes(names: list[str] | None) -> list[str] | None:
    """Typer cannot check a list of literals itself."""
    for name in names or ():
        if name not in get_args(Mode):
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(get_args(Mode))}.")
    return names


@app.command(
    "quickstart", epilog=_examples("ragr1-lite quickstart", "ragr1-lite quickstart --seed 1 --folder runs/second")
)
def start(
    context: typer.Context,
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.")] = 0,
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="For both runs.")] = Path("runs/quickstart"),
    as_json: AsJson = False,
) -> None:
    """From a bare machine to a model that searches: SFT, GRPO, what each brought, and a question answered.

    JSON: {"rows": {"base": {as `eval` prints}, "SFT": {...}, "SFT + GRPO": {...}}, "adapter", "model", "seconds":
    {STAGE: seconds}, "versions": {PACKAGE: version}}.
    """
    with session(context) as display:
        from ragr1_lite import quickstart
        from ragr1_lite.answer import Assistant
        from ragr1_lite.config import load_recipe
        from ragr1_lite.ui import Conversation, evaluation_table

        result = quickstart.run(seed=seed, folder=folder, report=display)
        if as_json:
            display.show_json(result.to_json())
            return
        display.show(evaluation_table(result.evaluations, display.out))
        recipe = load_recipe(quickstart.SFT)
        assistant = Assistant.open_recipe(recipe, adapter=str(result.adapter), report=display)
        _answer(assistant, quickstart.QUESTION, display, Conversation.on(display))
        display.say(f'Ask your own: ragr1-lite ask --adapter {result.adapter} "…"', "dim")


@index_app.command("build", epilog=_examples("ragr1-lite index build passages.jsonl --out runs/books"))
def index_build(
    context: typer.Context,
    corpus: Annotated[list[Path], typer.Argument(help="JSON lines (.jsonl, .jsonl.gz): id, title, text.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to make.")],
    stemmer: Annotated[
        Literal["none", "english"] | None, typer.Option(help="How words are stemmed. [default: english]")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Build an index from corpus files."""
    with session(context) as display:
        from ragr1_lite.retrieval import build_index, read_corpus
        from ragr1_lite.ui import saved_index

        passages = read_corpus(corpus, report=display)
        info = build_index(passages, out, overwrite=overwrite, stemmer=stemmer, report=display)
        display.show(saved_index(info))


IndexFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The index's folder.")]


@index_app.command("search", epilog=_examples('ragr1-lite index search runs/books "area of Chad" "area of Niger" -k 3'))
def index_search(
    context: typer.Context,
    index: Annotated[str, typer.Argument(metavar="FOLDER", help="The index's folder, or `world`.")],
    queries: Annotated[list[str], typer.Argument(help="All of them are searched at once.")],
    k: Annotated[int, typer.Option("--k", "-k", min=1, metavar="N", help="Passages per query.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Search an index.

    JSON: {"results": [{"query", "passages": [{"id", "title", "text", "score"} ...]} ...]}, in the queries' order.
    """
    with session(context) as display:
        from dataclasses import asdict

        from ragr1_lite.retrieval import open_searcher
        from ragr1_lite.ui import search_results

        results = open_searcher(index, display).search(queries, k)
        if as_json:
            rows = zip(queries, results, strict=True)
            display.show_json({"results": [{"query": q, "passages": [asdict(p) for p in found]} for q, found in rows]})
        else:
            display.show(search_results(queries, results))


@index_app.command("info")
def index_info(context: typer.Context, index: IndexFolder, as_json: AsJson = False) -> None:
    """Say what an index is made of.

    JSON: {"path", "passages", "words", "k1", "b", "tokenizer": {...}, "bytes", "package"}.
    """
    with session(context) as display:
        from dataclasses import asdict

        from ragr1_lite.retrieval import Bm25Searcher
        from ragr1_lite.ui import index_table

        info = Bm25Searcher.open(index, display).info
        if as_json:
            display.show_json(asdict(info) | {"path": str(info.path)})
        else:
            display.show(index_table(info))


@index_app.command("verify")
def index_verify(context: typer.Context, index: IndexFolder) -> None:
    """Check every file of an index against its checksum."""
    with session(context) as display:
        from ragr1_lite.retrieval import verify_index
        from ragr1_lite.ui import saved_index

        display.show(f"Whole: {saved_index(verify_index(index))}")


@data_app.command(
    "generate",
    epilog=_examples("ragr1-lite data generate questions.jsonl --index runs/books --out gold.jsonl"),
)
def data_generate(
    context: typer.Context,
    questions: Annotated[Path, typer.Argument(help="JSON lines: question, answers, supporting facts.")],
    index: Annotated[str, typer.Option(metavar="FOLDER", help="An index folder, or `world`.")],
    out: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="The trajectory file to write.")],
    teacher: Annotated[Literal["gold"], typer.Option(help="Who writes the trajectories.")] = "gold",
    mode: Annotated[Literal["multi", "single"], typer.Option(help="How the trajectories search.")] = "multi",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most this many questions. [default: all]")
    ] = None,
    k: Passages = None,
    as_json: AsJson = False,
) -> None:
    """Write gold trajectories for `sft`, with real retrieval results.

    JSON: {"questions", "kept", "rejected": {REASON: n}, "rounds", "queries", "by_kind"}.
    """
    with session(context) as display:
        from ragr1_lite.data.generate import generate
        from ragr1_lite.ui import counts_table

        counts = generate(questions, index=index, teacher=teacher, mode=mode, out=out, limit=limit, k=k, report=display)
        if as_json:
            display.show_json(counts)
        else:
            display.show(counts_table(counts))


@recipes_app.command("list")
def recipes_list(context: typer.Context) -> None:
    """List the shipped recipes."""
    with session(context) as display:
        from ragr1_lite.config import recipes_folder
        from ragr1_lite.ui import pairs_table

        files = sorted(recipes_folder().glob("*.yaml"))
        display.show(pairs_table({file.stem: _opening(file.read_text(encoding="utf-8")) for file in files}))


def _opening(recipe: str) -> str:
    """The first sentence of a recipe's opening comment, after its launch line."""
    _, *comments = (line.lstrip("# ") for line in recipe.splitlines() if line.startswith("#"))
    return " ".join(filter(None, comments)).partition(". ")[0].rstrip(".") + "."


@recipes_app.command("show", epilog=_examples("ragr1-lite recipes show sft-smollm2-135m > mine.yaml"))
def recipes_show(context: typer.Context, recipe: RecipeName) -> None:
    """Print a recipe, to read or to start your own from."""
    with session(context) as display:
        from ragr1_lite.config import find_recipe

        display.show_raw(find_recipe(recipe).read_text(encoding="utf-8"))


@bench_app.command("retrieval")
def bench_retrieval(context: typer.Context, index: Index = None, as_json: AsJson = False) -> None:
    """One search call for a turn's queries against one call per query.

    JSON: {"machine", "rows": [{"engine", "us_per_query"}], "ratios": {"loop", "repeats"}}
    """
    with session(context) as display:
        from ragr1_lite import bench
        from ragr1_lite.config import WORLD

        _show_bench(display, bench.retrieval(index or WORLD, report=display), as_json)


@bench_app.command("sampling")
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
