"""Building, searching and checking indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragr1_lite.commands.options import AsJson, IndexFolder, Overwrite, examples, group
from ragr1_lite.session import session

app = group("Build, search and check BM25 indexes of your own passages.")


@app.command("build", epilog=examples("ragr1-lite index build passages.jsonl --out runs/books"))
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


@app.command("search", epilog=examples('ragr1-lite index search runs/books "area of Chad" "area of Niger" -k 3'))
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


@app.command("info")
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


@app.command("verify")
def index_verify(context: typer.Context, index: IndexFolder) -> None:
    """Check every file of an index against its checksum."""
    with session(context) as display:
        from ragr1_lite.retrieval import verify_index
        from ragr1_lite.ui import saved_index

        display.show(f"Whole: {saved_index(verify_index(index))}")
