"""Serving the assistant to other programs."""

from __future__ import annotations

from typing import Annotated

from typer import Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session

_TOKEN = "What clients must send as their API key; else the variable RAGR1_LITE_TOKEN, which other users do not see."

app = opt.Group()


@app.add(
    "serve",
    "ragr1-lite serve --index indexes/mine --adapter runs/sft-own-data/adapter",
    "ragr1-lite serve --host 0.0.0.0  (with RAGR1_LITE_TOKEN set)",
)
def serve(
    context: Context,
    index: opt.Indexes = None,
    model: opt.Model = None,
    adapter: opt.Adapter = None,
    mode: opt.AskedMode = None,
    k: opt.K = None,
    max_queries: opt.MaxQueries = None,
    no_log: opt.NoLog = False,
    host: Annotated[str, Option(help="Where to listen; other machines can connect to 0.0.0.0.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, metavar="N", help="Port; 0 takes a free one.")] = 8124,
    token: Annotated[str, Option(envvar="RAGR1_LITE_TOKEN", show_envvar=False, metavar="TOKEN", help=_TOKEN)] = "",
    batch_size: opt.BatchSize = 8,
    waiting: Annotated[int, Option(min=0, metavar="N", help="Questions that may wait; others are refused.")] = 32,
    timeout: Annotated[float, Option(min=1, metavar="SECONDS", help="How long an answer may take.")] = 300,
) -> None:
    """Answer questions over HTTP, in the form of OpenAI's chat completions.

    For chat clients and programs: the base URL is http://127.0.0.1:8124/v1, the model ragr1-lite. Questions that come
    together are answered in one batch. A host that other machines reach needs a token.
    """
    with session(context) as display:
        from dataclasses import replace

        from ragr1_lite.assistant import Assistant, Setup
        from ragr1_lite.files.answer_log import AnswerLog
        from ragr1_lite.serving import api

        setup = Setup(
            model=model, adapter=adapter, index=index, mode=mode, k=k, max_queries=max_queries, batch_size=batch_size
        )

        def opened() -> Assistant:
            return replace(Assistant.open(setup, report=display), log=None if no_log else AnswerLog.of_user())

        api.serve(
            opened,
            host,
            port,
            token=opt.whole(token).strip(),
            rows=batch_size,
            waiting=waiting,
            timeout=timeout,
            report=display,
        )
