"""Counts as bars."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from ragr1_lite.ui.text import clean

_WIDTH = 40
"""Columns of the longest bar."""


def histogram(bins: Mapping[str, int]) -> Table:
    """A line per bin: its name, a bar as long as its count against the largest, and the count."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", justify="right", no_wrap=True)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(justify="right")
    most = max(bins.values(), default=0)
    for name, count in bins.items():
        table.add_row(Text(clean(name)), Text(_bar(count, most)), Text(f"{count:,}"))
    return table


def _bar(count: int, most: int) -> str:
    """Blocks, of which the last may be a half; what is there at all is seen."""
    halves = max(1, round(2 * _WIDTH * count / most)) if count else 0
    return "█" * (halves // 2) + "▌" * (halves % 2)
