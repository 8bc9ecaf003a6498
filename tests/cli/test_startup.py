"""The command line answers at once: nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).parents[2]
HEAVY = set("accelerate bitsandbytes bm25s datasets gguf numba numpy peft pydantic torch transformers trl yaml".split())
HELP = ("-m", "ragr1_lite", "--help")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)


def test_help_imports_nothing_heavy() -> None:
    done = run("-X", "importtime", *HELP)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "Usage" in done.stdout
    assert "ragr1_lite" in imported
    assert imported & HEAVY == set()


def test_the_help_lists_every_command_by_its_own_first_sentence() -> None:
    from ragr1_lite.cli.main import COMMANDS, app

    found = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {name: command.get_short_help_str(200) for name, command in found.items()} == {
        name: sentence for name, (_, sentence) in COMMANDS.items()
    }


def test_the_help_imports_no_command() -> None:
    done = run("-X", "importtime", *HELP)
    assert "ragr1_lite.cli.main" in done.stderr and "ragr1_lite.cli.commands.train" not in done.stderr


def test_ctrl_c_stops_the_imports_too() -> None:
    code = (
        "import sys, types\n"
        "class Stopped(types.ModuleType):\n"
        "    def __getattr__(self, name):\n"
        "        raise KeyboardInterrupt\n"
        "sys.modules['ragr1_lite.cli.main'] = Stopped('main')\n"
        "from ragr1_lite.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (130, "Stopped.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_help_that_cannot_be_written_is_a_sentence() -> None:
    for option in ("--help", "--version"):
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            command = [sys.executable, "-m", "ragr1_lite", option]
            done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "Error: The output cannot be written (No space left on device).\n")


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
def test_streams_that_are_closed() -> None:
    """Nobody can be asked, and no file gets the number of a stream, into which libraries print."""
    code = "import os, sys; from ragr1_lite.cli.main import main; sys.argv[1:] = ['log', '--clear']\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n    os._exit(end.code + 10 * (os.open('.', 0) < 3))"
    command = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code]
    environment = os.environ | {"RAGR1_LITE_LOG": "none.jsonl"}
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=300, check=False).returncode == 2
