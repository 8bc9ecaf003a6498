"""`data inspect`: being written."""

from __future__ import annotations

from ragr1_lite.commands.options import group

app = group()
