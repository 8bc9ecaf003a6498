"""Our counting of postings against bm25s' ``index()``: the same word ids, each in a process of its own.

Run as ``python -m benchmarks.building ours|bm25s PASSAGES``, it prints one measurement as JSON.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import corpus
from benchmarks.interleave import process_clock
from ragr1_lite.core.errors import StorageError
from ragr1_lite.core.events import PhaseFinished, PhaseStarted, Report, ignore
from ragr1_lite.evaluation.resources import forget_peak, most_held

WARM_UP = 20_000
"""Passages that are built unmeasured first, so that nothing is compiled while it is measured."""
_PART = 40_000
"""Passages that are read at a time."""


def build(passages: int, report: Report = ignore) -> dict[str, Any]:
    """Builds the postings of synthetic passages by both ways, in memory, from word ids.

    Word ids are 32-bit numbers: for us in a file, as ``index build`` has them, and for bm25s, which takes no other, in
    one array per passage.

    Returns:
        ``{"passages", "seconds_ratio", "memory_ratio", "process_memory_ratio", "ours": {"seconds", "build_bytes",
        "process_bytes"}, "bm25s": {…}}``, the ratios being bm25s' over ours. ``process_bytes`` is the most that the
        process held while it built; ``build_bytes`` is without what it held before: Python, packages and word ids.

    Raises:
        StorageError: A build failed, mostly for want of memory: bm25s takes some 4 GB for a million passages.
    """
    measured: dict[str, dict[str, float]] = {}
    for engine in ("ours", "bm25s"):
        name, began = f"Building {passages:,} passages: {engine}", time.perf_counter()
        report(PhaseStarted(name))
        command = [sys.executable, "-m", __name__, engine, str(passages)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.splitlines() or ["its process was killed"])[-1]
            raise StorageError(
                f"Building {passages:,} passages with {engine} failed ({why})", "Measure fewer passages."
            )
        measured[engine] = json.loads(done.stdout)
        report(PhaseFinished(name, time.perf_counter() - began))
    ours, theirs = measured["ours"], measured["bm25s"]
    return {
        "passages": passages,
        "seconds_ratio": round(theirs["seconds"] / ours["seconds"], 2),
        "memory_ratio": round(theirs["build_bytes"] / max(1, ours["build_bytes"]), 2),
        "process_memory_ratio": round(theirs["process_bytes"] / ours["process_bytes"], 2),
        **measured,
    }


def measure(engine: str, passages: int) -> dict[str, float]:
    """Builds once, in this process, after a small build that is not measured."""
    prepare = {"ours": _ours, "bm25s": _bm25s}[engine]
    prepare(min(passages, WARM_UP))()
    run, clock = prepare(passages), process_clock()
    gc.collect()
    held = most_held("cpu") if forget_peak("cpu") else 0
    start = clock()
    run()
    seconds, peak = clock() - start, most_held("cpu")
    return {"seconds": round(seconds, 3), "build_bytes": peak - held, "process_bytes": peak}


def _ours(passages: int) -> Callable[[], object]:
    import numpy as np

    from ragr1_lite.retrieval.bm25.build import K1, B, fill, indptr_of, weights_of
    from ragr1_lite.retrieval.bm25.passes import Block, Range, add_frequencies

    ids, lengths, words = _passages(passages)
    file = tempfile.TemporaryFile()  # noqa: SIM115  # Closed with this process.
    ids.tofile(file)

    def blocks() -> Iterator[Block]:
        file.seek(0)
        for first in range(0, passages, _PART):
            part = lengths[first : first + _PART]
            yield Block(first, part, np.fromfile(file, np.int32, int(part.sum())))

    def build() -> Range:
        frequencies = np.zeros(words, np.int64)
        for block in blocks():
            add_frequencies(block, frequencies)
        weights = weights_of(frequencies, passages, len(ids), K1, B)
        return fill(blocks(), weights, indptr_of(frequencies), 0, words)

    return build


def _bm25s(passages: int) -> Callable[[], object]:
    import numpy as np

    from benchmarks.peers import quiet_bm25s

    ids, lengths, words = _passages(passages)
    pieces = [array("i", piece.tobytes()) for piece in np.split(ids, np.cumsum(lengths)[:-1])]
    vocabulary = {word: word for word in range(words)}
    model = quiet_bm25s().BM25(method="lucene", backend="numpy")
    return lambda: model.index((pieces, vocabulary), create_empty_token=False, show_progress=False)


def _passages(count: int) -> tuple[Any, Any, int]:
    """Synthetic passages whose words are numbered without gaps, and how many words there are."""
    import numpy as np

    ids, lengths = corpus.passages(count)
    numbers = np.cumsum(np.bincount(ids) > 0, dtype=np.int32)
    return numbers[ids] - 1, lengths, int(numbers[-1])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
