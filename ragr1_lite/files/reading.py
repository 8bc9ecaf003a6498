"""Reads the rows of any file or hub data set, whatever its form."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from ragr1_lite.files import json_arrays, tables
from ragr1_lite.files.hub_rows import HubData, read_hub
from ragr1_lite.files.json_lines import decompressed, reading
from ragr1_lite.files.rows import Rows, Wanted
from ragr1_lite.files.sources import Form, Source

_PEEKED = 2**16

READERS: dict[Form, Callable[[io.BufferedReader, Path, Wanted], Rows]] = {
    "lines": json_arrays.read_lines,
    "json": json_arrays.read_json,
    "tsv": tables.read_tsv,
    "csv": tables.read_csv,
    "parquet": tables.read_parquet,
}


def rows_of(source: Source, wanted: Wanted) -> Rows:
    """The rows of a source that :func:`~ragr1_lite.files.sources.find_rows` found."""
    if isinstance(source, HubData):
        yield from read_hub(source, wanted)
        return
    with reading(source.path), source.path.open("rb") as raw:
        stream = decompressed(raw, source.path)
        form = source.form
        if form == "csv" and b"\t" in stream.peek(_PEEKED).partition(b"\n")[0]:
            form = "tsv"  # DPR's .csv files have tabs
        yield from READERS[form](stream, source.path, wanted)
