"""``python -m ragr1_lite`` is ``ragr1-lite``."""

from __future__ import annotations

from ragr1_lite.cli.main import main

if __name__ == "__main__":
    main()
