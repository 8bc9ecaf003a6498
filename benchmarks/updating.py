"""`index update` against building anew, when one of many small files has changed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.hardware import machine
from benchmarks.interleave import process_clock, take_turns
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.retrieval import build_index, read_corpus, update_index

FILES = 10_000
_OTHERS = 1000
"""Texts that a changed file is given, one after the other."""


def updating(files: int = FILES, *, rounds: int = 5, report: Report = ignore) -> dict[str, Any]:
    """Changes one of ``files`` text files, of one synthetic passage each, then updates its index or builds it anew.

    Returns:
        ``{"machine", "files", "passages", "index_bytes", "seconds": {"update", "rebuild"}, "wall_seconds": {…},
        "bytes_written": {…}, "seconds_ratio", "bytes_ratio"}``: seconds of processor time and of wall time, medians;
        ratios are the rebuild's over the update's. Bytes are what the process handed to the system to be written in
        its last run, null where the system does not count them.
    """
    with tempfile.TemporaryDirectory() as place:
        folder, index = Path(place, "documents"), Path(place, "index")
        folder.mkdir()
        texts = list(_texts(files + _OTHERS))
        for number, text in enumerate(texts[:files]):
            (folder / f"{number:06}.txt").write_text(text, encoding="utf-8")
        info = build_index(read_corpus([folder]), index)
        others, changed = iter(texts[files:]), folder / f"{files // 2:06}.txt"
        wall: dict[str, float] = {}
        written: dict[str, int | None] = {}

        def measured(name: str, run: Callable[[], object]) -> Callable[[], float]:
            def turn() -> float:
                changed.write_text(next(others), encoding="utf-8")
                before, began, start = _written(), time.perf_counter(), clock()
                run()
                seconds, wall[name], after = clock() - start, time.perf_counter() - began, _written()
                written[name] = None if before is None or after is None else after - before
                return seconds

            return turn

        clock, anew = process_clock(), Path(place, "anew")
        ways = {
            "update": measured("update", lambda: update_index(index)),
            "rebuild": measured("rebuild", lambda: build_index(read_corpus([folder]), anew, overwrite=True)),
        }
        seconds = take_turns(ways, rounds, report, name=f"Following {files:,} files")
    counted = {name: count for name, count in written.items() if count}
    return {
        "machine": machine("numba", "bm25s"),
        "files": files,
        "passages": info.passages,
        "index_bytes": info.bytes,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "wall_seconds": {name: round(value, 3) for name, value in wall.items()},
        "bytes_written": written,
        "seconds_ratio": round(seconds["rebuild"] / seconds["update"], 2),
        "bytes_ratio": round(counted["rebuild"] / counted["update"], 2) if len(counted) == 2 else None,
    }


def _texts(count: int) -> Iterator[str]:
    ids, lengths = corpus.passages(count)
    words, end = [f"w{word}" for word in ids.tolist()], 0
    for length in lengths.tolist():
        start, end = end, end + length
        yield " ".join(words[start:end])


def _written() -> int | None:
    """Bytes that this process has written so far, as Linux counts them."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))
