"""Reads a corpus, passage by passage: counts what is bad, numbers what has no id, and accepts no id twice."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import Passage
from ragr1_lite.files.json_lines import BadLine, BadLines, decompressed, reading
from ragr1_lite.files.keys import Keys
from ragr1_lite.files.rows import Rows
from ragr1_lite.files.sources import DOCUMENTS, File, Source, rows_of
from ragr1_lite.retrieval.corpora import documents
from ragr1_lite.retrieval.corpora.rows import PASSAGES, paragraphs_of, to_passage
from ragr1_lite.retrieval.corpora.sources import find_sources


def read_corpus(sources: Sequence[str | Path], report: Report = ignore) -> Corpus:
    """Reads the passages of one or more sources, in order, as they are asked for.

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

    Raises:
        DataError: At once, where a source is missing or of no known form; while reading, where one is binary, cut off
            or without text, too many rows are bad (``BadLines``), an id occurs twice, or there is no passage at all.
    """
    return Corpus(find_sources(sources, report), report)


class Corpus(Iterator[Passage]):
    """The passages of some sources, once; ``bytes_total`` is their size on disk, ``None`` where one is on the hub."""

    def __init__(self, sources: Sequence[Source], report: Report = ignore) -> None:
        sizes = [source.size for source in sources if isinstance(source, File)]
        self.bytes_total = sum(sizes) if len(sizes) == len(sources) else None
        self._sources = sources
        self._done = 0
        self._open: io.BufferedReader | None = None
        self._passages = self._unique(report)

    def __iter__(self) -> Iterator[Passage]:
        # Not itself: a loop over the generator needs no call of `__next__` for each passage.
        return self._passages

    def __next__(self) -> Passage:
        return next(self._passages)

    @property
    def bytes_read(self) -> int:
        """The bytes read from disk so far, a buffer ahead of the passages."""
        return self._done + (self._open.tell() if self._open and not self._open.closed else 0)

    def _unique(self, report: Report) -> Iterator[Passage]:
        bad, ids = BadLines(_hint(self._sources), "rows"), Keys()
        broken = BadLines(PASSAGES.hint, "documents", math.inf)
        for source, number, passage in self._located(bad, broken):
            if not ids.add(passage.id):
                self._refuse_twice(passage.id, source.place(number))
            yield passage
        if not ids:
            names = ", ".join(map(str, self._sources)) or "a corpus of no files"
            raise DataError(f"There is no passage in {names}{bad.first or broken.first}", bad.form)
        bad.notify(report)
        broken.notify(report, "{} of {} {} could not be read whole")

    def _refuse_twice(self, identifier: str, place: str) -> None:
        """Looks for the passage that has the id already; there is none if two ids only share a hash."""
        again = Corpus(self._sources)._located(BadLines("", most=math.inf), BadLines("", most=math.inf))
        first = next(source.place(number) for source, number, passage in again if passage.id == identifier)
        if first != place:
            raise DataError(
                f"The id {identifier!r} in {place} was already used in {first}",
                "Give every passage an id of its own, or leave the ids out to have passages numbered.",
            )

    def _located(self, bad: BadLines, broken: BadLines) -> Iterator[tuple[Source, int, Passage]]:
        """Yields every passage with its source and its row in there; counts bad rows and broken documents."""
        running, paragraphs = 0, Keys()
        for source in self._sources:
            document = isinstance(source, File) and source.form in DOCUMENTS
            tally = broken if document else bad
            tally.read += document
            for number, row in self._rows(source):
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

    def _rows(self, source: Source) -> Rows:
        if isinstance(source, File) and source.form in DOCUMENTS:
            yield from self._rows_of_document(source)
        else:
            yield from rows_of(source, PASSAGES, self._opened)
        self._open = None
        self._done += source.size if isinstance(source, File) else 0

    def _opened(self, raw: io.BufferedReader) -> None:
        self._open = raw

    def _rows_of_document(self, file: File) -> Rows:
        """The passages of a document, as rows; and why it cannot be read, or not wholly, as one more."""
        try:
            with reading(file.path), file.path.open("rb") as raw:
                self._opened(raw)
                data = decompressed(raw, file.path).read(documents.MAX_BYTES + 1)
            if len(data) > documents.MAX_BYTES:
                raise BadLine(f"is longer than {documents.MAX_BYTES // 2**20} MiB")
            document = documents.READERS[file.form](data)
        except BadLine as problem:
            yield 0, problem
            return
        except DataError as error:
            yield 0, BadLine(error.message.removeprefix(f"{file.path} "))
            return
        if document.lost:
            yield 0, BadLine(document.lost)
        title = " ".join(document.title.split()) or file.title
        for number, text in enumerate(documents.cut(document.paragraphs), start=1):
            yield number, {"id": f"{file.name}#{number}", "title": title, "text": text}


def _hint(sources: Sequence[Source]) -> str:
    """How a good row looks, in the form of the first source."""
    form = sources[0].form if sources and isinstance(sources[0], File) else None
    if form in ("lines", "json"):
        return PASSAGES.line
    return PASSAGES.table if form in ("tsv", "csv") else PASSAGES.hint
