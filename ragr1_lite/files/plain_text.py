"""Text as other systems write it, as UTF-8 with line feeds: UTF-16, and the line ends of old Macs."""

from __future__ import annotations

import codecs
import io

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CHUNK = 2**16


def plain_text(stream: io.BufferedReader) -> io.BufferedReader:
    """The stream itself or, where its first bytes say that it is otherwise, its text in UTF-8 with line feeds.

    What is not in its encoding stays so: whoever reads it as UTF-8 will find out.
    """
    head = stream.peek(_CHUNK)
    if head.startswith(_UTF16):
        return io.BufferedReader(_Recoded(stream, "utf-16"), _CHUNK)
    if b"\r" in head[:-1] and b"\n" not in head:
        return io.BufferedReader(_Recoded(stream, "utf-8"), _CHUNK)
    return stream


class _Recoded(io.RawIOBase):
    def __init__(self, stream: io.BufferedReader, codec: str) -> None:
        errors = "surrogateescape" if codec == "utf-8" else "replace"
        self._stream, self._held = stream, b""
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(codec)(errors), translate=True)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills the buffer with what comes next, at least a byte before the end."""
        data = b"more"
        while not self._held and data:
            data = self._stream.read(_CHUNK)
            self._held = self._decoder.decode(data, final=not data).encode("utf-8", "surrogateescape")
        count = min(len(buffer), len(self._held))
        buffer[:count], self._held = self._held[:count], self._held[count:]
        return count
