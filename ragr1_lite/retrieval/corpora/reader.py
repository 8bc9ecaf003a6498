"""Reads a corpus, passage by passage: counts what is bad, numbers what has no id, and accepts no id twice."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.types import Passage
from ragr1_lite.files.hub_rows import HubData, read_hub
from ragr1_lite.files.json_lines import BadLine, BadLines, decompressed, reading
from ragr1_lite.files.keys import Keys
from ragr1_lite.files.reading import READERS
from ragr1_lite.files.rows import Rows
from ragr1_lite.files.sources import DOCUMENTS, File, Source
from ragr1_lite.retrieval.corpora import documents
from ragr1_lite.retrieval.corpora.cutting import cut
from ragr1_lite.retrieval.corpora.rows import PASSAGES, paragraphs_of, to_passage
from ragr1_lite.retrieval.corpora.sources import find_sources


def read_corpus(sources: Sequence[str | Path], report: Report = ignore) -> Corpus:
    """Reads the passages of one or more sources, in order, while they are asked for.

    A source is a file, plain or compressed (``.gz``, ``.zst``, ``.bz2``, ``.xz``). Its form is known by its suffix or
    else by its first bytes:

    - JSON lines: ``id``, ``_id`` or ``docid`` (without one, the passage's running number), ``title`` (may be missing),
      and ``text`` or ``contents``. Without a ``title``, the first line of ``contents`` is the title;
    - a table, ``.tsv``, ``.csv`` or ``.parquet``, with columns of these names; a TSV without a header has the columns
      id, text and, if there are three, title;
    - questions with their contexts, as HotpotQA, 2Wiki and MuSiQue come: an array (``.json``), JSON lines or Parquet;
      a paragraph that several questions have is one passage;
    - a document, ``.txt``, ``.md``, ``.html`` or ``.pdf``: passages of a hundred words with the document's title.

    Or it is a folder, in which such files are looked for, except ``.json`` and ``.csv``, or a data set on the hub,
    ``hub:OWNER/NAME[:CONFIG][:SPLIT]``.

    Rows that cannot be used are skipped and reported in one notice at the end, unless there are too many of them.

    Args:
        sources: Paths, and names that begin with ``hub:``.
        report: Gets the notices.

    Returns:
        An iterator that also knows how many bytes it has read.

    Raises:
        DataError: At once, where a source is missing or of no known form; while reading, where one is binary, cut off
            or without text, too many rows are bad (``BadLines``), an id occurs twice, or
            there is no passage at all.
    """
    return Corpus(find_sources(sources, report), report)


class Corpus(Iterator[Passage]):
    """The passages of some sources, once.

    Attributes:
        bytes_total: The size of all files on disk; ``None`` where a source is on the hub.
    """

    def __init__(self, sources: Sequence[Source], report: Report = ignore) -> None:
        sizes = [source.size for source in sources if isinstance(source, File)]
        self.bytes_total = sum(sizes) if len(sizes) == len(sources) else None
        self._sources = sources
        self._meter = _Meter()
        self._passages = self._unique(report)

    def __iter__(self) -> Iterator[Passage]:
        # Not itself: a loop over the generator needs no call of `__next__` for each passage.
        return self._passages

    def __next__(self) -> Passage:
        return next(self._passages)

    @property
    def bytes_read(self) -> int:
        """The bytes read from disk so far, a buffer ahead of the passages."""
        return self._meter.value

    def _unique(self, report: Report) -> Iterator[Passage]:
        bad, ids = BadLines(_hint(self._sources), "rows"), Keys()
        broken = BadLines(PASSAGES.hint, "documents", math.inf)
        for source, number, passage in _located(self._sources, bad, broken, self._meter):
            if not ids.add(passage.id):
                self._refuse_twice(passage.id, source.place(number))
            yield passage
        if not ids:
            names = ", ".join(map(_name, self._sources)) or "a corpus of no files"
            raise DataError(f"There is no passage in {names}{bad.first or broken.first}", bad.form)
        bad.tell(report)
        if broken.count:
            report(
                Notice(f"{broken.count} of {broken.read} documents could not be read whole: {broken.listed}", "warning")
            )

    def _refuse_twice(self, identifier: str, place: str) -> None:
        """Looks for the passage that has the id already; there is none if two ids only share a hash."""
        again = _located(self._sources, BadLines("", most=math.inf), BadLines("", most=math.inf), _Meter())
        first = next(source.place(number) for source, number, passage in again if passage.id == identifier)
        if first != place:
            raise DataError(
                f"The id {identifier!r} in {place} was already used in {first}",
                "Give every passage an id of its own, or leave the ids out to have passages numbered.",
            )


@dataclass(slots=True)
class _Meter:
    """Bytes read of files that are done and of the one that is open."""

    done: int = 0
    raw: io.BufferedReader | None = None

    @property
    def value(self) -> int:
        return self.done + (self.raw.tell() if self.raw and not self.raw.closed else 0)


def _located(
    sources: Sequence[Source], bad: BadLines, broken: BadLines, meter: _Meter
) -> Iterator[tuple[Source, int, Passage]]:
    """Yields every passage with its source and its row in there."""
    running, paragraphs = 0, Keys()
    for source in sources:
        document = isinstance(source, File) and source.form in DOCUMENTS
        tally = broken if document else bad
        tally.read += document
        for number, row in _rows(source, meter):
            tally.read += not document
            try:
                if isinstance(row, BadLine):
                    raise row
                pairs = paragraphs_of(row)
                passage = to_passage(row, running) if pairs is None else None
            except BadLine as problem:
                tally.add(source.place(number), str(problem))
                continue
            if passage:
                yield source, number, passage
                running += 1
            for title, text in pairs or ():
                if paragraphs.add((title, text)):
                    yield source, number, Passage(str(running), title, text)
                    running += 1


def _rows(source: Source, meter: _Meter) -> Rows:
    if isinstance(source, HubData):
        yield from read_hub(source, PASSAGES)
        return
    try:
        with reading(source.path), source.path.open("rb") as raw:
            meter.raw = raw
            stream = decompressed(raw, source.path)
            if source.form in DOCUMENTS:
                yield from _rows_of_document(stream, source)
            else:
                yield from READERS[source.form](stream, source.path, PASSAGES)
    except DataError as error:
        if source.form not in DOCUMENTS:
            raise
        yield 0, BadLine(error.message.removeprefix(f"{source.path} "))
    meter.raw = None
    meter.done += source.size


def _rows_of_document(stream: io.BufferedReader, file: File) -> Rows:
    """The passages of a document, as rows; and why it cannot be read, or not wholly, as one more."""
    try:
        data = stream.read(documents.MAX_BYTES + 1)
        if len(data) > documents.MAX_BYTES:
            raise BadLine(f"is longer than {documents.MAX_BYTES // 2**20} MiB")
        document = documents.READERS[file.form](data)
    except BadLine as problem:
        yield 0, problem
        return
    if document.lost:
        yield 0, BadLine(document.lost)
    title = " ".join(document.title.split()) or file.title
    for number, text in enumerate(cut(document.paragraphs), start=1):
        yield number, {"id": f"{file.name}#{number}", "title": title, "text": text}


def _name(source: Source) -> str:
    return str(source.path if isinstance(source, File) else source)


def _hint(sources: Sequence[Source]) -> str:
    """How a good row looks, in the form of the first source."""
    form = sources[0].form if sources and isinstance(sources[0], File) else None
    lines, table, hint = PASSAGES.line, PASSAGES.table, PASSAGES.hint
    return {"lines": lines, "json": lines, "tsv": table, "csv": table}.get(form or "", hint)
