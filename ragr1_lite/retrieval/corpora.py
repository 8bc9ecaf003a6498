"""Reads corpora: JSON lines, plain or gzip'd, as they come from BEIR, Pyserini, Search-R1 or a script of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ragr1_lite.core import Passage
from ragr1_lite.errors import DataError
from ragr1_lite.events import Report, ignore
from ragr1_lite.jsonlines import BadLine, BadLines, numbered_lines, to_row

SUFFIXES = (".jsonl", ".jsonl.gz")
FORM = 'A corpus has one JSON object a line, such as {"id": "1", "title": "Chad", "text": "Chad is …"}.'
_LONGEST_TITLE = 200


def read_corpus(paths: Sequence[Path], report: Report = ignore) -> Iterator[Passage]:
    """Yields the passages of one or more corpus files, in order, one line at a time.

    The keys of a line: ``id``, ``_id`` or ``docid`` (without one, the passage's running number), ``title`` (may be
    missing), and ``text`` or ``contents``. Without a ``title``, the first line of ``contents`` is the title.

    Lines that cannot be used are skipped and reported in one notice at the end, unless there are too many of them.

    Args:
        paths: Files ending in ``.jsonl`` or ``.jsonl.gz``.
        report: Gets the notice.

    Raises:
        DataError: A file is missing, binary, cut off or of another kind; too many lines are bad
            (:class:`~ragr1_lite.jsonlines.BadLines`); an id occurs twice; there is no passage at all.
    """
    for path in paths:
        _check_file(path)
    bad = BadLines(FORM)
    places: dict[str, str] = {}
    for path in paths:
        for number, line in numbered_lines(path, FORM):
            place = f"{path}:{number}"
            bad.read += 1
            try:
                passage = _parse(line, running=len(places))
            except BadLine as problem:
                bad.add(place, str(problem))
                continue
            if passage.id in places:
                raise DataError(
                    f"The id {passage.id!r} in {place} was already used in {places[passage.id]}",
                    "Give every passage an id of its own, or leave the ids out to have passages numbered.",
                )
            places[passage.id] = place
            yield passage
    if not places:
        raise DataError(
            f"There is no passage in {', '.join(map(str, paths)) or 'a corpus of no files'}{bad.first}", FORM
        )
    bad.tell(report)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise DataError(f"There is no corpus {path}", "Check the path.")
    if path.is_dir():
        raise DataError(f"The corpus {path} is a folder", f"Name its files, which must end in {' or '.join(SUFFIXES)}.")
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"The corpus {path} does not end in {' or '.join(SUFFIXES)}", FORM)


def _parse(line: bytes, running: int) -> Passage:
    row = to_row(line)
    identifier = _first(row, "id", "_id", "docid")
    if identifier is None:
        identifier = running
    if not isinstance(identifier, str | int) or isinstance(identifier, bool) or identifier == "":
        raise BadLine("has an id that is neither text nor a whole number")
    title, text = _first(row, "title"), _first(row, "text", "contents")
    if text is None:
        raise BadLine(f"has no `text` or `contents`, only {', '.join(f'`{key}`' for key in row) or 'nothing'}")
    if not isinstance(text, str) or not isinstance(title, str | None):
        raise BadLine("has a title or text that is not a string")
    if "text" not in row:
        title, text = _split_contents(title, text)
    title, text = (title or "").strip(), text.strip()
    if not title and not text:
        raise BadLine("has an empty text")
    return Passage(str(identifier), title, text)


def _first(row: dict[str, Any], *keys: str) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _split_contents(title: str | None, contents: str) -> tuple[str, str]:
    """Takes the title off the first line of ``contents``, where it stands in quotes or is short enough for one."""
    head, newline, rest = contents.strip().partition("\n")
    head = head.strip()
    quoted = len(head) > 1 and head[0] == head[-1] == '"'
    head = head[1:-1] if quoted else head
    if title:
        return title, rest if newline and head == title.strip() else contents
    return (head, rest) if newline and (quoted or len(head) <= _LONGEST_TITLE) else ("", contents)
