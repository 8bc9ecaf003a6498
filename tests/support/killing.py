"""Command lines in processes that are killed at chosen moments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.training.test_resume import ROOT

COMMAND_LINES = """
import json, os, signal, sys
from pathlib import Path
import torch, trl
from trl import GRPOTrainer, SFTTrainer
from tests.training import test_resume as here
from ragr1_lite.cli import main as cli

from ragr1_lite.datagen import generate
from ragr1_lite.evaluation import running
from ragr1_lite.retrieval import updating
from ragr1_lite.training.run_folder import Run

def kill_at(folder, step, accesses):
    log, left = Run.log, [-1 if step else accesses]

    def logged(self, number, metrics):
        log(self, number, metrics)
        if left[0] < 0 and number >= step:
            left[0] = accesses

    def count(event, arguments):
        if (event == "open" or event.startswith("os.")) and str(arguments[:1]).count(folder):
            left[0] -= left[0] >= 0
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    Run.log = logged
    sys.addaudithook(count)

here.untrained()
print("ready", flush=True)
for line in sys.stdin:
    arguments, kill = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["ragr1-lite", "--quiet", *arguments]
        torch.seed()
        if kill:
            kill_at(*kill) if isinstance(kill, list) else signal.setitimer(signal.ITIMER_PROF, kill)
        try:
            cli.main()
        except SystemExit as exit:
            os._exit(exit.code or 0)
    _, status, spent = os.wait4(child, 0)
    print(os.waitstatus_to_exitcode(status), spent.ru_utime + spent.ru_stime, flush=True)
"""
"""Runs a command line per line it reads, each in a process of its own that need not import everything anew, with a
reward that random models earn; prints its exit code and its seconds of the processor. Where asked to, the process is
killed when it has accessed files of a folder so many times after a step, or when it has taken so many seconds of the
processor: neither moment depends on what else the machine does. The latter is by SIGPROF, which nothing handles."""


class Processes:
    """Where :data:`COMMAND_LINES` are run."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._server = subprocess.Popen(
            [sys.executable, "-c", COMMAND_LINES],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"

    def run(self, *arguments: str, kill: tuple[Path, int, int] | float | None = None) -> int:
        """The exit code of a command, killed at this many accesses to files of this folder after this step.

        Or after so many seconds of the processor; :attr:`seconds` are those it took.
        """
        assert self._server.stdin is not None
        reported = (str(kill[0]), *kill[1:]) if isinstance(kill, tuple) else kill
        self._server.stdin.write(json.dumps((arguments, reported)) + "\n")
        self._server.stdin.flush()
        code, seconds = self._read().split()
        self.seconds = float(seconds)
        return int(code)

    def close(self) -> None:
        self._server.communicate(timeout=120)

    def _read(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()
