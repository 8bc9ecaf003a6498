"""Searches from which passages are hidden: one index serves rows that may find everything, and rows that may not."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ragr1_lite.core.rewards import normalize
from ragr1_lite.core.types import Passage, Searcher


def search_hiding(
    searcher: Searcher, queries: Sequence[str], k: int, hidden: Sequence[Collection[str]]
) -> list[tuple[Passage, ...]]:
    """Up to ``k`` passages per query, as the searcher finds them, without those whose ids or titles are hidden from it.

    All queries go to the searcher in one call. Those that have too few passages left are asked again for twice as many,
    until they have ``k`` or the index has no more.
    """
    found = searcher.search(queries, k)
    if not any(hidden):
        return found
    kept = [without(some, names) for some, names in zip(found, hidden, strict=True)]
    short, asked = [at for at, names in enumerate(hidden) if names], k
    while short := [at for at in short if len(kept[at]) < k and len(found[at]) >= asked]:
        asked *= 2
        for at, some in zip(short, searcher.search([queries[at] for at in short], asked), strict=True):
            found[at], kept[at] = some, without(some, hidden[at])
    return [some[:k] if names else some for some, names in zip(kept, hidden, strict=True)]


def without(passages: tuple[Passage, ...], hidden: Collection[str]) -> tuple[Passage, ...]:
    """The passages that are not hidden; titles are compared normalised, as sets and indexes may write them apart."""
    titles = {normalize(name) for name in hidden} - {""}
    return tuple(one for one in passages if one.id not in hidden and normalize(one.title) not in titles)
