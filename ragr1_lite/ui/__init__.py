"""Everything a user sees: progress on stderr, results on stdout. The only importer of Rich."""

from __future__ import annotations

from ragr1_lite.ui.conversation import Conversation, PlainConversation, PrettyConversation
from ragr1_lite.ui.display import Display
from ragr1_lite.ui.histogram import histogram
from ragr1_lite.ui.tables import (
    counts_table,
    evaluation_table,
    findings_table,
    index_table,
    pairs_table,
    records_table,
    saved_index,
    search_results,
)
from ragr1_lite.ui.trajectories import trajectories_view

__all__ = [
    "Conversation",
    "Display",
    "PlainConversation",
    "PrettyConversation",
    "counts_table",
    "evaluation_table",
    "findings_table",
    "histogram",
    "index_table",
    "pairs_table",
    "records_table",
    "saved_index",
    "search_results",
    "trajectories_view",
]
