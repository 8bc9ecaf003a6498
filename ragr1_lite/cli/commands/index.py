"""Building, searching and checking indexes."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from ragr1_lite.cli.commands import options as opt
from ragr1_lite.cli.session import session
from ragr1_lite.core.errors import ConfigError, DataError

_MORE = "Another one that is searched as well; may be repeated."
AnyIndex = Annotated[str, Argument(metavar="INDEX", help="A folder, `world` or a URL.")]
MoreIndexes = Annotated[list[str] | None, Option("--index", metavar="INDEX", help=_MORE)]
IndexFolder = Annotated[str, Argument(metavar="INDEX", help="The index's folder, or `world`.")]
_CORPUS = "Files (JSON lines, TSV, CSV, Parquet, documents), folders or hub:OWNER/NAME."
_LANGUAGE = "Whose endings Snowball's stemmer cuts off: german, hindi, ...; none. [default: english]"
_FOLDER = "The folder of documents. [default: the folder that it was built from]"
_QUERIES_FILE = "More queries, one a line; - reads them from stdin."
_TITLE_WEIGHT = "How many times a title's words count. [default: 3]"
K = Annotated[int, Option("--k", "-k", min=1, metavar="N", help="Passages per query.")]

app = opt.Group()


@app.add(
    "build",
    "ragr1-lite index build passages.jsonl --out runs/books",
    "ragr1-lite index build notes/ papers/ --out runs/notes",
    "ragr1-lite index build passages.jsonl --language german --out runs/buecher",
    "ragr1-lite index build passages.jsonl --out opensearch://localhost:9200/books",
)
def index_build(
    context: Context,
    corpus: Annotated[list[str], Argument(help=_CORPUS)],
    out: Annotated[str, Option(metavar="FOLDER", help="The folder to make, or opensearch://HOST/INDEX.")],
    language: Annotated[str | None, Option("--language", "--stemmer", metavar="NAME", help=_LANGUAGE)] = None,
    title_weight: Annotated[int | None, Option(min=0, max=100, metavar="N", help=_TITLE_WEIGHT)] = None,
    overwrite: opt.Overwrite = False,
) -> None:
    """Build an index from a corpus.

    JSON lines and tables have the columns id, title and text (or contents); bad rows are counted and skipped. HotpotQA,
    2Wiki, MuSiQue and SQuAD give their contexts. Documents (text, Markdown, HTML, PDF, Word, PowerPoint, Excel,
    OpenDocument, EPUB, RTF, e-mail) and long rows are cut into passages of 100 words. Any file may be compressed (gz,
    zst, bz2, xz).
    """
    with session(context) as display:
        from ragr1_lite.files.writing import refuse_input
        from ragr1_lite.retrieval import build_index, index_passages, read_corpus
        from ragr1_lite.retrieval.bm25.build import TITLE_WEIGHT
        from ragr1_lite.ui.tables import saved_index

        if "://" not in out:
            refuse_input(Path(out), corpus)
        passages = read_corpus(corpus, report=display)
        if "://" in out:
            count = index_passages(out, passages, overwrite=overwrite, report=display)
            display.show(f"{count:,} passages in {out}")
            return
        weight = TITLE_WEIGHT if title_weight is None else title_weight
        info = build_index(
            passages, Path(out), overwrite=overwrite, stemmer=language, title_weight=weight, report=display
        )
        display.show(saved_index(info))


@app.add("update", "ragr1-lite index update runs/notes", "ragr1-lite index update runs/notes notes/")
def index_update(
    context: Context,
    index: Annotated[Path, Argument(metavar="DIR", help="The index's folder.")],
    folder: Annotated[Path | None, Argument(metavar="FOLDER", help=_FOLDER)] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Read what changed in the folder that an index was built from.

    Only files that were added or changed are read; the index is replaced in one step, and keeps the ids of all other
    passages. Tokenizer and weights stay as they were when it was built.

    JSON: {"added", "changed", "removed", "unchanged", "passages", "bytes", "seconds"}; the first four count files.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.retrieval import update_index
        from ragr1_lite.ui.tables import updated_index

        update = update_index(index, folder, report=display)
        display.show(updated_index(update), json=update.to_json())


@app.add(
    "search",
    'ragr1-lite index search runs/books "area of Chad" "area of Niger" -k 3',
    'ragr1-lite index search runs/books "area of Chad" --index runs/notes',
)
def index_search(
    context: Context,
    index: AnyIndex,
    queries: Annotated[
        list[str] | None, Argument(help="All of them are searched at once.", callback=opt.all_whole)
    ] = None,
    queries_file: Annotated[Path | None, Option(metavar="FILE", help=_QUERIES_FILE)] = None,
    more: MoreIndexes = None,
    k: K = 3,
    as_json: opt.AsJson = False,
) -> None:
    """Search an index.

    JSON: {"results": [{"query", "passages": [{"title", "id", "place", "index", "file", "url", "text", "score"} ...]}
    ...]}, in the queries' order; of a passage's place in its document, file and URL what is known, and its index where
    there are several.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.assistant import source_of
        from ragr1_lite.retrieval import open_searcher
        from ragr1_lite.ui.tables import search_results

        asked = [*(queries or ()), *(_lines(queries_file) if queries_file else ())]
        if not asked:
            raise ConfigError("There is no query", "Write one after the index, or give a file with --queries-file.")
        results = open_searcher([index, *(more or ())], display).search(asked, k)
        rows = [
            [{**source_of(one), "text": one.text, "score": round(one.score, 4)} for one in passages]
            for passages in results
        ]
        found = [{"query": query, "passages": passages} for query, passages in zip(asked, rows, strict=True)]
        display.show(search_results(asked, results), json={"results": found})


def _lines(file: Path) -> list[str]:
    if file.is_char_device():  # it may be endless
        raise DataError(f"{file} is a device, not a text file", "Give a file, or - for stdin.")
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}", "Check the path.") from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise DataError(f"{file} is not a text file", "Write one query a line, in UTF-8.") from error
    return [opt.whole(line.strip()) for line in text.splitlines() if line.strip()]


@app.add(
    "serve",
    "ragr1-lite index serve runs/books --port 8000",
    "ragr1-lite index serve runs/books --index runs/notes",
)
def index_serve(
    context: Context,
    index: AnyIndex,
    more: MoreIndexes = None,
    host: Annotated[str, Option(help="Where to listen; 0.0.0.0 lets other machines connect.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, metavar="N", help="Port; 0 takes a free one.")] = 8000,
    k: Annotated[int, Option("--k", "-k", min=1, metavar="N", help="Passages of a request without topk.")] = 3,
    max_k: Annotated[int, Option(min=1, metavar="N", help="The largest topk.")] = 100,
) -> None:
    """Serve an index over HTTP, in the /retrieve form of Search-R1 and RAG-R1."""
    with session(context) as display:
        from ragr1_lite.retrieval import open_searcher
        from ragr1_lite.retrieval.remote.server import Limits, serve

        serve(lambda: open_searcher([index, *(more or ())], display), host, port, Limits(k, max_k), display)


@app.add("ceiling", "ragr1-lite index ceiling runs/books questions.jsonl -k 3")
def index_ceiling(
    context: Context,
    index: AnyIndex,
    questions: opt.Questions,
    k: K = 3,
    as_json: opt.AsJson = False,
) -> None:
    """Count the questions whose answer can be found at all, before you train.

    JSON: {"k", "questions", "yes_no", "answer": {"question": {"n", "mean", "low", "high"}, "gold_queries": {...}},
    "titles": {...}, "all_titles": {...}, "by_kind": {KIND: {the same}}}; intervals are of 95 %.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.data.questions import read_questions
        from ragr1_lite.evaluation.ceiling import ceiling
        from ragr1_lite.retrieval import open_searcher
        from ragr1_lite.ui.tables import counts_table

        asked = read_questions(questions, report=display)
        result = ceiling(open_searcher(index, display), asked, k, report=display)
        display.show(counts_table(result.rows()), json=result.to_json())


@app.add("info")
def index_info(context: Context, index: IndexFolder, as_json: opt.AsJson = False) -> None:
    """Show what an index is made of.

    JSON: {"path", "passages", "words", "k1", "b", "tokenizer": {...}, "bytes", "package", "title_weight", "folder",
    "files", "empty_files"}; the last two only of an index of a folder: files in it, and those that gave no passage.
    """
    with session(context, as_json=as_json) as display:
        from ragr1_lite.retrieval.bm25.origin import read_files
        from ragr1_lite.retrieval.searchers import info_of
        from ragr1_lite.ui.tables import index_table

        info, counts = info_of(index), dict[str, int]()
        if info.path and info.folder:
            given = [file.passages > 0 for file in read_files(info.path, info)]
            counts = {"files": sum(given), "empty_files": len(given) - sum(given)}
        display.show(index_table(info, **counts), json=asdict(info) | {"path": str(info.path or index)} | counts)


@app.add("verify")
def index_verify(context: Context, index: IndexFolder) -> None:
    """Check every file of an index against its checksum."""
    with session(context) as display:
        from ragr1_lite.config import WORLD
        from ragr1_lite.retrieval import verify_index
        from ragr1_lite.ui.tables import saved_index

        known = f"{WORLD} comes with ragr1-lite and has no files of its own"
        display.show(f"Whole: {known if index == WORLD else saved_index(verify_index(Path(index), display))}")
