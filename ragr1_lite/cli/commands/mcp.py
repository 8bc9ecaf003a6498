"""Tools for other programs, by the Model Context Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

if TYPE_CHECKING:
    from ragr1_lite.assistant import Assistant

app = opt.Group()


@app.add(
    "mcp",
    "ragr1-lite mcp --index indexes/mine",
    "ragr1-lite mcp --index indexes/mine --http",
)
def mcp(
    context: Context,
    index: opt.Indexes = None,
    model: opt.Model = None,
    adapter: opt.Adapter = None,
    mode: opt.AskedMode = None,
    k: opt.K = None,
    max_queries: opt.MaxQueries = None,
    no_log: opt.NoLog = False,
    http: Annotated[bool, Option("--http", help="Serve over HTTP, to this machine alone, not over stdio.")] = False,
    port: Annotated[int, Option(min=0, max=65535, metavar="N", help="Port of --http; 0 takes a free one.")] = 8125,
) -> None:
    """Give other programs the tools `search`, `read` and `answer`, by the Model Context Protocol (MCP).

    A program that knows MCP starts this command and speaks to it over stdin and stdout. The model is loaded when
    `answer` is first called. Needs the extra `mcp`.
    """
    with session(context) as display:
        from dataclasses import replace

        from ragr1_lite.assistant import Assistant, Setup
        from ragr1_lite.config import WORLD
        from ragr1_lite.files.answer_log import AnswerLog
        from ragr1_lite.retrieval import open_searcher
        from ragr1_lite.serving.mcp_server import need_sdk, serve_http, serve_stdio

        need_sdk()
        setup = Setup(model=model, adapter=adapter, index=index, mode=mode, k=k, max_queries=max_queries)
        if index is None:  # a recipe is not read for nothing: the program that started us is waiting
            setup = replace(setup, index=setup.recipe().retrieval.index if adapter else WORLD)
        searcher = open_searcher(setup.index or WORLD, display)

        def opened() -> Assistant:
            assistant = Assistant.open_recipe(setup.recipe(display), searcher=searcher, report=display)
            return replace(assistant, log=None if no_log else AnswerLog.of_user())

        if http:
            serve_http(searcher, opened, k or 3, port, display)
        else:
            serve_stdio(searcher, opened, k or 3, display.stdout)
