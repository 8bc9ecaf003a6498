"""Another process at work in a folder or file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLDS = """
import sys
from pathlib import Path
from ragr1_lite.files.alone import alone
with alone(Path(sys.argv[1])):
    print("at work", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(out: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that works on ``out`` until the block ends, which kills it."""
    command = [sys.executable, "-c", _HOLDS, out]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == "at work\n"
        try:
            yield process
        finally:
            process.kill()
