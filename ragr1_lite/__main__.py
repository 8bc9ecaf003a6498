"""``python -m ragr1_lite`` and ``ragr1-lite``."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line; Ctrl-C stops it in one word from its first import on."""
    try:
        from ragr1_lite.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
