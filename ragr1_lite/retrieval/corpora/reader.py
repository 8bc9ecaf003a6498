"""Reads a corpus, passage by passage: counts what is bad, numbers what has no id, and accepts no id twice."""

from __future__ import annotations

import io
import math
from array import array
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import Passage
from ragr1_lite.files.json_lines import BadLine, BadLines, decompressed, reading
from ragr1_lite.files.sources import DOCUMENTS, File, Source, rows_of
from ragr1_lite.retrieval.bm25.origin import IndexedFile, Origin
from ragr1_lite.retrieval.corpora import documents
from ragr1_lite.retrieval.corpora.documents.passages import cut_parts
from ragr1_lite.retrieval.corpora.rows import PASSAGES, LongRows, has_id, paragraphs_of, to_passages
from ragr1_lite.retrieval.corpora.sources import find_sources, indexed

_FIRST = 2**12
_BITS = 2**64 - 1


class Keys:
    """A set that holds 64-bit hashes in open addressing: 12 to 24 bytes a key, where a dict of texts takes some 150.

    Two keys may share a hash, which happens in one of eighty thousand sets of 20 million.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _FIRST))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """The memory it takes."""
        return len(self._slots) * self._slots.itemsize

    def add(self, key: Hashable) -> bool:
        """Adds a key; says whether it is new."""
        value = hash(key) & _BITS or 1
        slots = self._slots
        mask = len(slots) - 1
        at = value & mask
        while found := slots[at]:
            if found == value:
                return False
            at = (at + 1) & mask
        slots[at] = value
        self._count += 1
        if 3 * self._count > 2 * len(slots):
            self._grow()
        return True

    def _grow(self) -> None:
        slots = array("Q", bytes(2 * self.nbytes))
        mask = len(slots) - 1
        for value in self._slots:
            if value:
                at = value & mask
                while slots[at]:
                    at = (at + 1) & mask
                slots[at] = value
        self._slots = slots


def read_corpus(sources: Sequence[str | Path], report: Report = ignore) -> Corpus:
    """Reads the passages of one or more sources, in order, as they are asked for.

    A source is a file, plain or compressed (``.gz``, ``.zst``, ``.bz2``, ``.xz``). Its form is known by its suffix or
    else by its first bytes:

    - JSON lines: ``id``, ``_id`` or ``docid`` (without one, the passage's running number), ``title`` (may be missing),
      and ``text`` or ``contents``. Without a ``title``, the first line of ``contents`` is the title. A text that is
      long, or a list of paragraphs as in KILT's knowledge source, is cut as documents are;
    - a table, ``.tsv``, ``.csv`` or ``.parquet``, with columns of these names; a TSV without a header has the columns
      id, text and, if there are three, title. One with other columns is a document: a sheet;
    - questions with their contexts, as HotpotQA, 2Wiki, MuSiQue and SQuAD come: an array (``.json``), lines or Parquet;
      a paragraph that several questions have is one passage;
    - a document, such as ``.txt``, ``.html``, ``.pdf``, ``.docx`` or ``.eml``: passages of a hundred words with the
      document's title and the place they are from. A mailbox is read message by message.

    Or it is a folder, in which such files are looked for, except ``.json``, or a data set on the hub,
    ``hub:OWNER/NAME[:CONFIG][:SPLIT]``.

    Rows that cannot be used are skipped and reported in one notice at the end, unless there are too many of them.

    Raises:
        DataError: At once, where a source is missing or of no known form; while reading, where one is binary, cut off
            or without text, too many rows are bad (``BadLines``), an id occurs twice, or there is no passage at all.
    """
    folders = [Path(source).resolve() for source in sources if Path(source).is_dir()]
    origin = Origin(folders[0]) if folders and len(sources) == 1 else None
    return Corpus(find_sources(sources, report), report, origin)


class Corpus(Iterator[Passage]):
    """The passages of some sources, once.

    Those of ``kept`` files are known already and not read: what ``ids`` they have, no other passage may have.

    Attributes:
        bytes_total: Size on disk of what is read, ``None`` where some of it is on the hub.
        origin: The folder whose files the sources are, where they are those of one; its files are listed as they are
            read.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        report: Report = ignore,
        origin: Origin | None = None,
        kept: Mapping[str, IndexedFile] = {},
        ids: Iterable[str] = (),
    ) -> None:
        self.origin, self._kept, self._kept_ids = origin, kept, ids
        sizes = [(source.name not in kept) * source.size for source in sources if isinstance(source, File)]
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
        broken, partly = (BadLines(PASSAGES.hint, "documents", math.inf) for _ in range(2))
        long = LongRows()
        for known in self._kept_ids:
            ids.add(known)
        for source, number, passage in self._located(bad, broken, partly, long):
            if not ids.add(passage.id):
                self._refuse_twice(passage.id, source.place(number))
            yield passage
        if not ids and not any(file.passages for file in self._kept.values()):
            names = ", ".join(map(str, self._sources)) or "a corpus of no files"
            raise DataError(f"There is no passage in {names}{bad.first or broken.first or partly.first}", bad.form)
        bad.notify(report)
        partly.read = broken.read
        broken.notify(report, "{} of {} {} could not be read")
        partly.notify(report, "{} of {} {} could not be read whole")
        long.notify(report)

    def _refuse_twice(self, identifier: str, place: str) -> None:
        """Looks for the passage that has the id already; there is none if two ids only share a hash."""
        bad, broken, partly = (BadLines("", most=math.inf) for _ in range(3))
        again = Corpus(self._sources)._located(bad, broken, partly, LongRows())
        first = next(source.place(number) for source, number, passage in again if passage.id == identifier)
        if first != place:
            raise DataError(
                f"The id {identifier!r} in {place} was already used in {first}",
                "Give every passage an id of its own, or leave the ids out to have passages numbered.",
            )

    def _located(
        self, bad: BadLines, broken: BadLines, partly: BadLines, long: LongRows
    ) -> Iterator[tuple[Source, int, Passage]]:
        """Yields every passage with its source and its row in there; counts bad rows and broken documents."""
        running, paragraphs = 0, Keys()
        for source in self._sources:
            if isinstance(source, File) and (kept := self._kept.get(source.name)):
                running += kept.numbers
                if self.origin:
                    self.origin.files.append(kept)
                continue
            file = indexed(source) if self.origin and isinstance(source, File) else None
            first, count, depends = running, 0, False
            if isinstance(source, File) and source.form in DOCUMENTS:
                for passage in self._of_document(source, broken, partly):
                    yield source, 0, passage
                    running += 1
                count = running - first
            else:
                for number, row in rows_of(source, PASSAGES, self._opened):
                    bad.read += 1
                    try:
                        if isinstance(row, BadLine):
                            raise row
                        pairs = paragraphs_of(row)
                        passages = to_passages(row, running, long) if pairs is None else ()
                    except BadLine as problem:
                        bad.add(source.place(number), str(problem))
                        continue
                    for passage in passages:
                        yield source, number, passage
                    running += pairs is None
                    count += len(passages)
                    depends = depends or pairs is not None or not has_id(row)
                    for title, text in pairs or ():
                        if paragraphs.add((title, text)):
                            for passage in to_passages({"id": running, "title": title, "text": text}, running, long):
                                yield source, number, passage
                            running += 1
                            count += 1
            if file and self.origin:
                self.origin.files.append(replace(file, passages=count, numbers=running - first, depends=depends))
            self._open = None
            self._done += source.size if isinstance(source, File) else 0

    def _opened(self, raw: io.BufferedReader) -> None:
        self._open = raw

    def _of_document(self, file: File, broken: BadLines, partly: BadLines) -> Iterator[Passage]:
        """The passages of a document, or of a mailbox's messages; counts what cannot be read, or only partly."""
        number = size = begun = 0
        try:
            with reading(file.path), file.path.open("rb") as raw:
                self._opened(raw)
                for document in documents.read_documents(decompressed(raw, file.path), file.form):
                    broken.read, begun = broken.read + 1, number
                    try:
                        if isinstance(document, BadLine):
                            raise document
                        title = " ".join(document.title.split()) or file.title
                        for text, place in cut_parts(document.parts):
                            number, size = number + 1, size + len(text)
                            yield Passage(f"{file.name}#{number}", title, text, place=place)
                            if size > documents.MAX_CHARACTERS and file.form != "mailbox":
                                raise BadLine(f"has more than {documents.MAX_CHARACTERS:,} characters")
                    except BadLine as problem:
                        (partly if number > begun else broken).add(str(file.path), str(problem))
        except DataError as error:
            broken.read += 1
            (partly if number else broken).add(str(file.path), error.message.removeprefix(f"{file.path} "))


def _hint(sources: Sequence[Source]) -> str:
    """How a good row looks, in the form of the first source."""
    form = sources[0].form if sources and isinstance(sources[0], File) else None
    if form in ("lines", "json"):
        return PASSAGES.line
    return PASSAGES.table if form in ("tsv", "csv") else PASSAGES.hint
