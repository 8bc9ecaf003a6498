"""RTF, in one pass over its words, so that no file takes longer than its length."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.retrieval.corpora.documents.passages import Document, sections

_TOKEN = re.compile(
    r"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?"
    r"|\\'(?P<hex>[0-9a-fA-F]{2})|\\(?P<symbol>[^a-zA-Z])|(?P<brace>[{}])|(?P<text>[^\\{}\r\n]+)|[\r\n\\]",
    re.DOTALL,
)
_CHARACTERS = {
    "tab": "\t", "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”",
    "bullet": "•", "emspace": " ", "enspace": " ", "cell": " | ", "nestcell": " | ", "~": " ", "_": "-",
    "\\": "\\", "{": "{", "}": "}",
}  # fmt: skip
_ENDS = frozenset({"par", "line", "row", "nestrow", "sect", "page", "\n", "\r"})
_UNSEEN = frozenset("""
    annotation atnid atnauthor colortbl datastore filetbl fldinst footer footerf footerl footerr header headerf headerl
    headerr info listtable listoverridetable nonesttables nonshppict object pict private revtbl rsidtbl stylesheet
    themedata xe tc
""".split())  # fmt: skip
"""Groups that hold no text of the document, besides those that are marked so by ``\\*``."""
_CHARSETS = {
    77: "mac_roman", 128: "cp932", 129: "cp949", 134: "gbk", 136: "big5", 161: "cp1253", 162: "cp1254", 163: "cp1258",
    177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250",
}  # fmt: skip
"""The encodings of fonts, by RTF's numbers."""
_MOST_DEPTH = 10_000


@dataclass(frozen=True, slots=True)
class _State:
    """What a group may change until it ends: where text goes, its encoding, and what to skip after a character."""

    into: str = "text"
    codec: str = ""
    skipped: int = 1


def read_rtf(data: bytes) -> Document:
    """Rich text; paragraphs with an outline level are headings."""
    if not data.lstrip().startswith(b"{\\rtf"):
        raise BadLine("is not RTF")
    reader = _Reader(data.decode("latin-1"))
    lines = list(reader.lines())
    return Document(_joined(reader.title), sections(((level, _joined(text)) for level, text in lines)))


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self.title = ""
        self._state, self._outer = _State(), list[_State]()
        self._codec, self._fonts, self._font = "cp1252", dict[int, str](), 0
        self._bytes, self._line = bytearray(), list[str]()
        self._level = self._skip = 0
        self._in_table = False

    def lines(self) -> Iterator[tuple[int, str]]:
        """Paragraphs with the levels of headings."""
        at = 0
        while token := _TOKEN.match(self._source, at):
            at = token.end()
            word = token["word"] or token["symbol"]
            if word == "bin":
                at += max(int(token["number"] or 0), 0)
            elif token["text"] or token["hex"]:
                self._take(token["text"].encode("latin-1") if token["text"] else bytes.fromhex(token["hex"]))
            elif word in _ENDS and self._state.into == "text" and not (word == "par" and self._in_table):
                self._flush()
                yield self._level, "".join(self._line).removesuffix(" | ")
                self._line.clear()
            else:
                self._obey(token["brace"] or word or "", int(token["number"] or 0), token["number"] is not None)
        self._flush()
        yield self._level, "".join(self._line)

    def _take(self, some: bytes) -> None:
        left = min(self._skip, len(some))
        self._skip -= left
        if self._state.into != "unseen":
            self._bytes += some[left:]

    def _flush(self, more: str = "") -> None:
        """Decodes what was taken, and puts it and ``more`` where text goes."""
        state = self._state
        text = self._bytes.decode(state.codec or self._codec, "replace") + more
        self._bytes.clear()
        if state.into == "title":
            self.title += text
        elif state.into == "text":
            self._line.append(text)

    def _obey(self, word: str, number: int, numbered: bool) -> None:
        self._flush()
        state = self._state
        if word == "{":
            if len(self._outer) >= _MOST_DEPTH:
                raise BadLine("is nested too deeply")
            self._outer.append(state)
        elif word == "}":
            self._state, self._skip = self._outer.pop() if self._outer else state, 0
        elif word == "u" and numbered and state.into != "unseen":
            self._flush(chr(number % 2**16))
            self._skip = state.skipped
        elif word == "uc":
            self._state = replace(state, skipped=max(number, 0) if numbered else 1)
        elif word in _CHARACTERS:
            self._flush(_CHARACTERS[word])
        elif word == "par":
            self._flush(" ")
        elif word == "title" and state.into == "unseen" and not self.title:
            self._state = replace(state, into="title")
        elif word == "fonttbl":
            self._state = replace(state, into="fonts")
        elif word in _UNSEEN or word == "*":
            self._state = replace(state, into="unseen")
        else:
            self._set(word, number)

    def _set(self, word: str, number: int) -> None:
        """Encodings, and what a paragraph is."""
        if word == "ansicpg" and _known(f"cp{number}"):
            self._codec = f"cp{number}"
        elif word in ("mac", "pc", "pca"):
            self._codec = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}[word]
        elif word == "f" and self._state.into == "fonts":
            self._font = number
        elif word == "fcharset" and number in _CHARSETS:
            self._fonts[self._font] = _CHARSETS[number]
        elif word == "f":
            self._state = replace(self._state, codec=self._fonts.get(number, ""))
        elif word == "plain":
            self._state = replace(self._state, codec="")
        elif word == "pard":
            self._level, self._in_table = 0, False
        elif word == "intbl":
            self._in_table = True
        elif word == "outlinelevel":
            self._level = number + 1 if 0 <= number < 9 else 0


def _known(codec: str) -> bool:
    try:
        codecs.lookup(codec)
    except LookupError:
        return False
    return True


def _joined(text: str) -> str:
    """Characters above 16 bits are spelt as the two halves of a pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", " ")
