"""Everything a user sees: progress on stderr, results on stdout. Only this package imports Rich."""

from __future__ import annotations

from ragr1_lite.ui.conversation import Conversation
from ragr1_lite.ui.display import Display

__all__ = ["Conversation", "Display"]
