"""A question that is typed on a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

import psutil

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
        try:
            _until("› ", ours)
            os.write(ours, b"half")
            _until("half", ours)
            _interrupt(asking.pid)
            _until("› ", ours)
            os.write(ours, b"whole\n")
            _until("<whole>\r\n\r\n› ", ours)
            _interrupt(asking.pid)
            assert asking.wait(60) == 0
        finally:
            os.close(ours)  # it ends without its terminal


def _until(end: str, terminal: int) -> None:
    """Reads what a terminal shows up to this; raises OSError where the program ends without it."""
    shown = b""
    while end.encode() not in shown:
        assert select.select([terminal], [], [], 60)[0], shown
        shown += os.read(terminal, 1000)


def _interrupt(program: int) -> None:
    """Ctrl-C for a program that waits: just before it waits, CPython would not notice until the next key."""
    while psutil.Process(program).status() != psutil.STATUS_SLEEPING:
        time.sleep(0.01)
    os.kill(program, signal.SIGINT)
