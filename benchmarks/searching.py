"""Our search against bm25s' and tantivy's, from word ids to the best passages, in one thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import corpus
from benchmarks.corpus import Query
from benchmarks.hardware import machine
from benchmarks.interleave import interleave, process_clock
from benchmarks.peers import Engine, bm25s_engines, tantivy_engine
from ragr1_lite.config import WORLD
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import Notice, PhaseFinished, PhaseStarted, Report, ignore
from ragr1_lite.retrieval.bm25.postings import Postings

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

SIZES = (10_000, 100_000, 1_000_000)
ROUNDS = 7
LEAST = 0.01
"""Seconds a measurement takes at least."""

NUMPY_SCORES = 16_000_000
"""Passages times queries that bm25s' NumPy backend is given in one measurement, some 0.4 s; what it takes for all
queries is scaled from these, its time being each query's by itself."""

TANTIVY_MOST = 1_000_000
"""Passages up to which tantivy is measured: it indexes about a million a minute."""

POSTING_BYTES = 8
_MEMORY_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class _Corpus:
    """What is searched; ``ids`` and ``lengths``, the passages themselves, only where they are needed."""

    postings: Postings
    ids: Array | None = None
    lengths: Array | None = None


def retrieval(
    index: str | None = None,
    *,
    passages: Sequence[int] = SIZES,
    build: int | None = None,
    k: int = 3,
    rounds: int = ROUNDS,
    tantivy: bool = True,
    report: Report = ignore,
) -> dict[str, Any]:
    """Measures search from word ids, all engines over the same postings, interleaved, processor time, medians.

    Three mixes of queries: 24 and 192 different ones, and ``rollout192``, what rollouts of groups ask: 192 queries, 53
    of them different. ``ours`` is ``kernel.best``; what it remembers of words it has met is
    there, as soon after the start of any work; ``ours_cold`` has met none. ``floor`` is what it takes to read the
    postings of the different queries' words from memory once.

    Args:
        index: An index folder, measured instead of synthetic passages.
        passages: How many there are of these, one measurement each. A million take 2.5 GB of memory.
        build: Passages of a build to be measured against bm25s' own ``index()``; minutes for a million.
        k: Passages per query.
        rounds: Measurements of each engine.
        tantivy: Whether it is measured, where it is installed; indexing a million passages takes it minutes.
        report: Gets phases, and a notice of what is left out.

    Returns:
        ``{"machine", "rows": [{"passages", "queries", "mix", "engine", "us_per_query"}], "ratios": {passages: {mix:
        {engine: its time over ours, "floor": ours over the floor}}}}``; with ``build``, also
        :func:`benchmarks.building.build`'s. A row scaled from fewer queries has ``measured_queries``.

    Raises:
        ConfigError: A number of passages is not positive.
        RetrievalIndexError: ``index`` is none.
    """
    if any(count < 1 for count in (*passages, *([build] if build is not None else []))):
        raise ConfigError("A number of passages is not positive", "Give numbers such as 10000,100000.")
    if tantivy and not find_spec("tantivy"):
        report(Notice("tantivy is not measured: it is not installed (pip install tantivy)"))
        tantivy = False
    rows: list[dict[str, Any]] = []
    for count in [None] if index else passages:
        searched = _open(index, report) if index else _synthetic(count or 0, tantivy, report)
        rows += _measure(searched, k, rounds, report)
    result = {
        "machine": machine("numba", "bm25s", "tantivy"),
        "rows": rows,
        "ratios": _ratios(rows),
    }
    if build is not None:
        from benchmarks.building import build as measure_build

        result["build"] = measure_build(build, report)
    return result


def sizes(text: str) -> list[int]:
    """The numbers of passages in a text such as ``10000,100000``.

    Raises:
        ConfigError: It is another text.
    """
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ConfigError(f"{text!r} is not a list of numbers", "Give numbers such as 10000,100000.") from None


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of :func:`retrieval` by name, for a table: microseconds per query, then ratios."""
    named: dict[str, Any] = {}
    for row in result["rows"]:
        named.setdefault(f"{row['passages']:,} passages, {row['mix']}, us", {})[row["engine"]] = row["us_per_query"]
    for count, mixes in result["ratios"].items():
        for mix, ratios in mixes.items():
            named[f"{int(count):,} passages, {mix}, over ours"] = ratios
    build = {name: value for name, value in result.get("build", {}).items() if not isinstance(value, Mapping)}
    return named | ({"build, bm25s over ours": build} if build else {})


def _open(index: str, report: Report) -> _Corpus:
    from ragr1_lite.retrieval.bm25.postings import load_postings
    from ragr1_lite.retrieval.bm25.store import open_manifest

    if index == WORLD:
        raise ConfigError("The embedded world is too small to be measured", "Name an index folder, or leave it out.")
    open_manifest(Path(index))
    report(Notice("tantivy is not measured on an index, which has no words in their order"))
    return _Corpus(load_postings(Path(index)))


def _synthetic(count: int, keep: bool, report: Report) -> _Corpus:
    from ragr1_lite.retrieval.bm25.build import count_postings

    name, began = f"Making {count:,} passages", time.perf_counter()
    report(PhaseStarted(name))
    ids, lengths = corpus.passages(count)
    postings = count_postings(ids, lengths, corpus.WORDS)
    report(PhaseFinished(name, time.perf_counter() - began))
    if keep and count > TANTIVY_MOST:
        report(Notice(f"tantivy is not measured on {count:,} passages: indexing them would take many minutes"))
        keep = False
    return _Corpus(postings, ids, lengths) if keep else _Corpus(postings)


def _measure(searched: _Corpus, k: int, rounds: int, report: Report) -> list[dict[str, Any]]:
    """The rows of one corpus."""
    import numpy as np

    postings = searched.postings
    frequencies = np.diff(postings.indptr)
    asked = corpus.queries(frequencies, 192)
    mixes = {"distinct24": asked[:24], "distinct192": asked, "rollout192": corpus.rollouts(asked[:53], 192)}
    memory = np.ones(_MEMORY_BYTES // 4, np.int32)
    rows = []
    with ExitStack() as stack:
        engines = _ours(postings, k) | bm25s_engines(postings, k)
        if searched.ids is not None and searched.lengths is not None:
            engines["tantivy"] = stack.enter_context(tantivy_engine(searched.ids, searched.lengths, k, report))
        for mix, queries in mixes.items():
            given = {name: _given(name, queries, frequencies, postings.passages) for name in engines}
            ways: dict[str, Callable[[], object]] = {
                name: partial(engine, given[name]) for name, engine in engines.items()
            }
            ways["memory"] = memory.max
            title = f"Measuring {postings.passages:,} passages, {mix}"
            seconds = interleave(ways, rounds, report, clock=process_clock(), least=LEAST, name=title)
            touched = sum(int(frequencies[list(query)].sum()) for query in set(queries)) * POSTING_BYTES
            row = {"passages": postings.passages, "queries": len(queries), "mix": mix}
            for name in engines:
                some = {"measured_queries": len(given[name])} if len(given[name]) < len(queries) else {}
                rows.append(row | {"engine": name, "us_per_query": _us(seconds[name], len(given[name]))} | some)
            floor = seconds["memory"] * touched / memory.nbytes
            speed = {"bytes": touched, "gb_per_s": round(memory.nbytes / seconds["memory"] / 1e9, 1)}
            rows.append(row | {"engine": "floor", "us_per_query": _us(floor, len(queries))} | speed)
    return rows


def _ours(postings: Postings, k: int) -> dict[str, Engine]:
    from ragr1_lite.retrieval.bm25.kernel import best

    def cold(queries: Sequence[Query]) -> object:
        # What is remembered hangs on the array: a new view of it has met no word.
        unknown = Postings(postings.data.view(), postings.indices, postings.indptr, postings.passages)
        return best(unknown, queries, k)

    return {"ours": lambda queries: best(postings, queries, k), "ours_cold": cold}


def _given(engine: str, queries: list[Query], frequencies: Array, passages: int) -> list[Query]:
    """The queries an engine is measured with: all, or as many as it can do soon, of every cost."""
    most = max(8, math.ceil(NUMPY_SCORES / passages))
    if not engine.startswith("bm25s_numpy") or len(queries) <= most:
        return queries
    by_cost = sorted(queries, key=lambda query: int(frequencies[list(query)].sum()))
    return [by_cost[int((place + 0.5) * len(by_cost) / most)] for place in range(most)]


def _ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    ratios: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row["engine"] == "ours":
            ours = row["us_per_query"]
        elif not row["engine"].startswith("ours"):
            ratio = ours / row["us_per_query"] if row["engine"] == "floor" else row["us_per_query"] / ours
            ratios.setdefault(str(row["passages"]), {}).setdefault(row["mix"], {})[row["engine"]] = round(ratio, 2)
    return ratios


def _us(seconds: float, queries: int) -> float:
    return float(f"{seconds / queries * 1e6:.4g}")
