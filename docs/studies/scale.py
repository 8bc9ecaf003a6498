"""What an index costs as it grows, measured, and carried on to all of Wikipedia: `python docs/studies/scale.py FOLDER`.

FOLDER takes the corpora and indexes, 1.5 GB for each million passages; further arguments are numbers of passages, by
default 300000 1000000 3000000. What is there already is not built again. Prints the tables of docs/retrieval.md.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

SIZES = (300_000, 1_000_000, 3_000_000)
WIKIPEDIA = (21_000_000, 29_000_000)
"""Its pieces of a hundred words: DPR's, and those of all articles in 2024."""
PART = 100_000
LOT, ROUNDS = 192, 5
HEAPS = 0.63
"""The power of the number of passages with which words grow, from ``corpus.WORDS`` at a million."""

Row = dict[str, float]


def main(folder: Path, sizes: list[int]) -> None:
    """Measures each size in processes of its own, one after the other."""
    rows = [measure(folder, size) for size in sizes]
    table({f"{size:,}": row for size, row in zip(sizes, rows, strict=True)})
    if len(rows) > 1:
        print()
        table({f"{size:,}": carried_on(rows, size) for size in WIKIPEDIA})


def measure(folder: Path, passages: int) -> Row:
    """Everything about one size; seconds of the build are kept next to its index."""
    index, corpus, kept = folder / f"{passages}", folder / f"{passages}.jsonl", folder / f"{passages}.json"
    if not kept.exists():
        subprocess.run([sys.executable, __file__, "write", str(corpus), str(passages)], check=True)
        kept.write_text(json.dumps(build(corpus, index)))
        corpus.unlink()
    files = {path.name: path.stat().st_size for path in index.iterdir()}
    row: Row = {"passages": passages, "words": files["vocabulary.places.npy"] / 8, "bytes": sum(files.values())}
    row["posting_bytes"] = sum(size for name, size in files.items() if ".csc." in name)
    for name in ("cold", "warm"):
        if name == "cold":
            forget(index)
        command = [sys.executable, __file__, "search", str(index), name]
        row |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return row | json.loads(kept.read_text())


def write_corpus(path: Path, passages: int) -> None:
    """Writes synthetic passages: words are numbers, the first two the title."""
    from benchmarks import corpus

    words = [f"{number:04d}" for number in range(corpus.WORDS)]
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, passages, PART):
            ids, lengths = corpus.passages(min(PART, passages - first), seed=first)
            start, numbers = 0, ids.tolist()
            for place, length in enumerate(lengths.tolist(), start=first):
                said = [words[number] for number in numbers[start : start + length]]
                row = {"id": str(place), "title": " ".join(said[:2]), "text": " ".join(said[2:])}
                file.write(json.dumps(row) + "\n")
                start += length


def build(corpus: Path, index: Path) -> Row:
    """Builds an index as a user would; the most memory its process held, and its time.

    Linux counts what the process that starts it held: so corpora are written in another one.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "ragr1_lite", "index", "build", str(corpus), "--out", str(index), "--overwrite"]
    child = subprocess.Popen(command)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"The build of {index} failed")
    seconds, processor = time.perf_counter() - began, used.ru_utime + used.ru_stime
    return {"build_seconds": seconds, "build_processor_seconds": processor, "build_memory": used.ru_maxrss * 1024}


def forget(index: Path) -> None:
    """Has Linux drop what it keeps of these files in memory."""
    os.sync()
    for path in index.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def search(index: Path, name: str) -> Row:
    """Opens an index and searches it; the files' pages in memory are counted apart from the process's own."""
    import numpy as np

    from benchmarks import corpus
    from ragr1_lite.retrieval import Bm25Searcher
    from ragr1_lite.retrieval.bm25 import kernel

    kernel.warm()
    seconds, searcher = timed(lambda: Bm25Searcher.open(index))
    own, mapped = resident()
    asked = corpus.queries(np.linspace(2, 1, corpus.WORDS), (ROUNDS + 1) * LOT)  # By rank: the same for all sizes.
    texts = [" ".join(f"{word:04d}" for word in query) for query in asked]
    lots = [texts[start : start + LOT] for start in range(0, len(texts), LOT)]
    first, *_ = [timed(lambda lot=lot: searcher.search(lot, 3))[0] for lot in lots]
    row = {"open_seconds": seconds, "first_us": first / LOT * 1e6}
    row |= {"own_growth": resident()[0] - own, "mapped_growth": resident()[1] - mapped}
    searcher._memory._results.clear()
    again = [timed(lambda lot=lot: searcher.search(lot, 3), time.process_time)[0] for lot in lots]
    row["us"] = median(again) / LOT * 1e6
    return {f"{name}_{key}": value for key, value in row.items()}


def timed(call: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> tuple[float, Any]:
    """Seconds of a call, and its result."""
    began = clock()
    result = call()
    return clock() - began, result


def resident() -> tuple[int, int]:
    """This process's own memory, and the pages of files it has mapped, in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


def carried_on(rows: list[Row], passages: int) -> Row:
    """A row for more passages, from the smallest and the largest measured.

    Sizes and times of building grow with the passages, what searching takes by the power law through both rows. A build
    holds no more postings than ``ROOM`` at a time, and 40 bytes a word.
    """
    from benchmarks import corpus
    from ragr1_lite.retrieval.bm25.build import ROOM

    first, last = rows[0], rows[-1]
    factor, measured = passages / last["passages"], last["passages"] / first["passages"]
    row: Row = {"passages": passages, "words": corpus.WORDS * (passages / 1e6) ** HEAPS}
    row |= {name: last[name] * factor for name in ("bytes", "posting_bytes")}
    for name in ("warm_first_us", "warm_mapped_growth", "warm_us"):
        row[name] = last[name] * factor ** (math.log(last[name] / first[name]) / math.log(measured))
    row |= {name: last[name] * factor for name in ("build_seconds", "build_processor_seconds")}
    rest = last["build_memory"] - last["posting_bytes"]
    return row | {"build_memory": rest + min(ROOM, row["posting_bytes"]) + 40 * (row["words"] - last["words"])}


def table(columns: dict[str, Row]) -> None:
    """Prints figures in Markdown, a column a size."""
    print(f"| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name in next(iter(columns.values())):
        cells = [row[name] for row in columns.values()]
        if "bytes" in name or "memory" in name or "growth" in name:
            shown = [f"{cell / 1e9:.3f} GB" for cell in cells]
        elif "seconds" in name:
            shown = [f"{cell:.2f} s" if cell < 10 else f"{cell:,.0f} s" for cell in cells]
        else:
            shown = [f"{cell:,.0f}" for cell in cells]
        print(f"| {name} | {' | '.join(shown)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["search"]:
        print(json.dumps(search(Path(sys.argv[2]), sys.argv[3])))
    elif sys.argv[1:2] == ["write"]:
        write_corpus(Path(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) > 1:
        main(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]] or list(SIZES))
    else:
        sys.exit(__doc__)
