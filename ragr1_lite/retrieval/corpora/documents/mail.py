"""E-mail: single messages and mailboxes, with what is attached to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import default
from io import BufferedReader
from pathlib import Path

from ragr1_lite.core.errors import first_line
from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.retrieval.corpora.documents import html
from ragr1_lite.retrieval.corpora.documents.passages import Document, Part, sections
from ragr1_lite.retrieval.corpora.documents.text import BLANK_LINES

_MOST_NESTED, _LONGEST_HEADER = 5, 2**18
_QUOTED = re.compile(r"^(?:> ?)+", re.MULTILINE)
_ESCAPED = re.compile(rb">+From ")

_MEANT = {
    "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949", "iso-8859-1": "cp1252", "us-ascii": "utf-8",
}  # fmt: skip
"""What mail programs write under a narrower name, and all others read so."""
_ENDS = (("From", "From"), ("to", "To"), ("on", "Date"))

Attached = Callable[[str, bytes], Document | None]
"""Reads an attached file by its name; ``None`` where it is of no known form."""


def read_mail(data: bytes, attached: Attached) -> Document:
    """A message; its subject is the title. ``attached`` may raise BadLine for what it cannot read."""
    unread: list[str] = []
    try:
        message = message_from_bytes(data, _class=EmailMessage, policy=default)
        if not any(name in message for name in ("From", "To", "Subject", "Date", "Message-ID")):
            raise BadLine("is no e-mail: it has none of its headers")
        if any(len(value) > _LONGEST_HEADER for part in message.walk() for _, value in part.raw_items()):
            # Reading it would take the square of its length.
            raise BadLine(f"has a header of more than {_LONGEST_HEADER:,} characters")
        parts = list(_parts(message, attached, unread, 0))
    except BadLine:
        raise
    except Exception as error:  # of broken headers and parts the standard library raises whatever Python did
        raise BadLine(f"is no e-mail that can be read ({first_line(error)})") from None
    return Document(_header(message, "Subject"), _then_lost(parts, unread))


def messages_of(stream: BufferedReader, most: int) -> Iterator[bytes | BadLine]:
    """The messages of a mailbox, one by one; BadLine in the place of one that is longer than ``most`` bytes."""
    held: list[bytes] = []
    size, blank, begun = 0, True, False
    while line := stream.readline(most + 1):
        if blank and line.startswith(b"From "):
            if begun:
                yield _whole(held, size, most)
            held, size, begun = [], 0, True
            continue
        blank = not line.strip()
        size += len(line)
        if size <= most:
            held.append(line[1:] if _ESCAPED.match(line) else line)
        else:
            held.clear()
    if held or begun:
        yield _whole(held, size, most)


def _whole(lines: list[bytes], size: int, most: int) -> bytes | BadLine:
    return b"".join(lines) if size <= most else BadLine(f"has a message that is longer than {most // 2**20} MiB")


def _then_lost(parts: list[Part], unread: list[str]) -> Iterator[Part]:
    yield from parts
    if unread:
        kinds = ", ".join(sorted({Path(name).suffix or "without a suffix" for name in unread})[:5])
        raise BadLine(f"has attachments that are not read ({kinds})")


def _parts(message: EmailMessage, attached: Attached, unread: list[str], depth: int) -> Iterator[Part]:
    subject = _header(message, "Subject")
    ends = ", ".join(f"{word} {value}" for word, name in _ENDS if (value := _header(message, name)))
    yield Part([subject, ends] if depth else [ends])
    body = message.get_body(("plain", "html"))
    if body is not None and body.get_content_type() == "text/html":
        yield from sections(html.lines_of(_text(body).encode(errors="replace"))[1], subject)
    elif body is not None:
        yield Part(BLANK_LINES.split(_QUOTED.sub("", _text(body))), "", subject)
    for one in message.iter_attachments():
        name = " ".join((one.get_filename() or "").split())
        if one.get_content_type() == "message/rfc822" and depth < _MOST_NESTED:
            yield from _parts(one.get_content(), attached, unread, depth + 1)
        else:
            lettered = one.get_content_maintype() == "text" and one.get_content_charset() is not None
            data = _text(one).encode(errors="replace") if lettered else _payload(one)
            yield from _attached_parts(name, data, attached, unread)


def _attached_parts(name: str, data: bytes, attached: Attached, unread: list[str]) -> Iterator[Part]:
    try:
        document = attached(name, data)
        for part in document.parts if document else ():
            yield Part(part.paragraphs, "; ".join(filter(None, (f"attachment {name}", part.place))), part.heading)
    except BadLine:
        document = None
    if document is None:
        unread.append(name)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except Exception:  # as above
        return ""


def _payload(part: Message) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _text(body: Message) -> str:
    """A part's text, with a line feed at the ends of its lines."""
    data, named = _payload(body), body.get_content_charset() or "utf-8"
    text = ""
    for charset, errors in ((_MEANT.get(named, named), "strict"), ("utf-8", "strict"), ("cp1252", "replace")):
        try:
            text = data.decode(charset, errors)
            break
        except (LookupError, UnicodeDecodeError):
            continue
    return text.replace("\r\n", "\n").replace("\0", " ")
