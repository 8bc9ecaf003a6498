"""The engines that our search is measured against, over the same postings: bm25s, and tantivy where it is installed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.corpus import Query
from ragr1_lite.core.events import PhaseAdvanced, PhaseFinished, PhaseStarted, Report, ignore
from ragr1_lite.retrieval.bm25.postings import Postings

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Engine = Callable[[Sequence[Query]], object]

_WRITER_BYTES = 64 * 2**20
_TOLD = 10_000


def bm25s_engines(postings: Postings, k: int) -> dict[str, Engine]:
    """bm25s' own ``retrieve`` over the postings: one call for all queries, and a loop of calls, by its two backends."""
    engines: dict[str, Engine] = {}
    for backend in ("numpy", "numba") if find_spec("numba") else ("numpy",):
        retrieve = _retriever(postings, k, backend)
        engines[f"bm25s_{backend}"] = retrieve
        engines[f"bm25s_{backend}_loop"] = _loop(retrieve)
    return engines


@contextmanager
def tantivy_engine(ids: Array, lengths: Array, k: int, report: Report = ignore) -> Iterator[Engine]:
    """Indexes passages with tantivy on disk and gives a loop of its searches; queries are parsed beforehand.

    Args:
        ids: The words of all passages, one passage after the other.
        lengths: Words of each passage.
        k: Passages per query.
        report: Gets the phase: it takes about a minute per million passages.
    """
    import tantivy

    schema = tantivy.SchemaBuilder().add_text_field("text", tokenizer_name="default", index_option="freq").build()
    with TemporaryDirectory(prefix="ragr1-lite-tantivy-") as folder:
        index = tantivy.Index(schema, path=folder)
        _fill(index, ids, lengths, report)
        searcher = index.searcher()
        parsed: dict[Query, Any] = {}

        def parse(query: Query) -> Any:
            words = [tantivy.Query.term_query(schema, "text", str(word)) for word in query]
            return tantivy.Query.boolean_query([(tantivy.Occur.Should, word) for word in words])

        def search(queries: Sequence[Query]) -> object:
            for query in queries:
                if query not in parsed:
                    parsed[query] = parse(query)
            return [searcher.search(parsed[query], k, count=False).hits for query in queries]

        yield search


def quiet_bm25s() -> Any:
    """bm25s, not logging at DEBUG as it would."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s


def _retriever(postings: Postings, k: int, backend: str) -> Engine:
    model = quiet_bm25s().BM25(method="lucene", backend=backend)
    arrays = {"data": postings.data, "indices": postings.indices, "indptr": postings.indptr}
    model.scores = {**arrays, "num_docs": postings.passages}
    model.vocab_dict, model.nonoccurrence_array = {}, None
    model.unique_token_ids_set = range(len(postings.indptr) - 1)
    k = min(k, postings.passages)

    def retrieve(queries: Sequence[Query]) -> object:
        # Without "numpy" it would take JAX where that is installed.
        lists = [list(query) for query in queries]
        return model.retrieve(lists, k=k, show_progress=False, backend_selection=backend)

    return retrieve


def _loop(retrieve: Engine) -> Engine:
    return lambda queries: [retrieve([query]) for query in queries]


def _fill(index: Any, ids: Array, lengths: Array, report: Report) -> None:
    import tantivy

    name, began = "Indexing with tantivy", time.perf_counter()
    report(PhaseStarted(name, len(lengths), "passages"))
    writer = index.writer(heap_size=_WRITER_BYTES, num_threads=1)
    start = 0
    for done, length in enumerate(lengths.tolist(), start=1):
        writer.add_document(tantivy.Document(text=" ".join(map(str, ids[start : start + length].tolist()))))
        start += length
        if done % _TOLD == 0:
            report(PhaseAdvanced(name, done))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    report(PhaseFinished(name, time.perf_counter() - began))
