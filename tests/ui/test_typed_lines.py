"""A question that is typed on a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

ASKING = """
from ragr1_lite.ui import Display
while line := Display(plain=True).ask_question():
    print(f"<{line}>", flush=True)
"""


def test_ctrl_c_drops_a_half_typed_line_and_ends_at_an_empty_one() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ASKING],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in the background
    ) as asking:
        os.close(theirs)
        _until("› ", ours)
        os.write(ours, b"half")
        _until("half", ours)
        asking.send_signal(signal.SIGINT)
        _until("› ", ours)
        os.write(ours, b"whole\n")
        _until("<whole>\r\n\r\n› ", ours)
        asking.send_signal(signal.SIGINT)
    os.close(ours)
    assert asking.returncode == 0


def _until(end: str, terminal: int) -> None:
    """Reads what a terminal shows up to this; raises OSError where the program ends without it."""
    shown = b""
    while end.encode() not in shown:
        shown += os.read(terminal, 1000)
