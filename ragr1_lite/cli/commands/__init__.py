"""The commands, a group to a file: each parses, calls the library and shows what came of it."""

from __future__ import annotations

from typing import Any

STYLE: Any = {"rich_markup_mode": None, "no_args_is_help": True, "add_completion": False}
