"""A sentence where a file that is mapped into memory, an index or weights, is lost while it is in use.

The system then ends the process by SIGBUS in the middle of a read, where no exception can be raised.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

_SAID = (
    b"Error: A file in use can no longer be read: its disk or network share fails, or it was cut off. "
    b"Check it, and run the command again; what was begun goes on with --resume.\n"
)
_SHOW_CURSOR = b"\n\x1b[?25h"
_kept: list[object] = []


def explain_lost_pages() -> None:
    """From now on such an end of this process is explained, with exit code 1."""
    number = getattr(signal, "SIGBUS", None)
    if number is None:
        return
    with suppress(ImportError, OSError, MemoryError):  # A hardened system may allow no such function.
        import ctypes

        handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_end)
        ctypes.CDLL(None).signal(int(number), handler)
        _kept.append(handler)


def _end(_: int) -> None:
    os.write(2, _SHOW_CURSOR + _SAID if os.isatty(2) else _SAID)
    os._exit(1)
