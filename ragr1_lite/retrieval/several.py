"""Several indexes searched as one: each answers all queries of a turn in one call, and what they find is merged.

Indexes of ours whose words are cut alike are merged by score: how rare a word is, is counted over all of them together,
as in one index of everything; a passage's length is measured by its own index' mean. Other scores are not comparable:
then the first passages of all indexes come first, in the indexes' order, and the second ones after them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from ragr1_lite.core.types import Passage, Searcher

if TYPE_CHECKING:
    from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher


class SeveralSearcher:
    """A ``core.types.Searcher`` over others; each passage names the ``index`` it is from."""

    def __init__(self, searchers: Mapping[str, Searcher]) -> None:
        self._searchers = dict(searchers)
        self._alike = _cut_alike(self._searchers.values())

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        """Finds at most ``k`` passages per query in all indexes together; raises as theirs do."""
        if k < 1:
            return [()] * len(queries)
        distinct = list(dict.fromkeys(queries))
        if self._alike:
            from ragr1_lite.retrieval.bm25.searcher import search_together

            results = search_together(self._alike, distinct, k)
        else:
            results = [searcher.search(distinct, k) for searcher in self._searchers.values()]
        named = [
            [[replace(passage, index=name) for passage in found] for found in rows]
            for name, rows in zip(self._searchers, results, strict=True)
        ]
        merge = _by_score if self._alike else _by_rank
        merged = {query: merge(found)[:k] for query, *found in zip(distinct, *named, strict=True)}
        return [merged[query] for query in queries]


def _cut_alike(searchers: Collection[Searcher]) -> list[Bm25Searcher]:
    """The searchers, where all are indexes of ours with one tokenizer; else none."""
    from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher

    ours = [searcher for searcher in searchers if isinstance(searcher, Bm25Searcher)]
    alike = len(ours) == len(searchers) and all(one.info.tokenizer == ours[0].info.tokenizer for one in ours)
    return ours if alike else []


def _by_score(found: Sequence[Sequence[Passage]]) -> tuple[Passage, ...]:
    return tuple(sorted(chain(*found), key=lambda passage: -passage.score))


def _by_rank(found: Sequence[Sequence[Passage]]) -> tuple[Passage, ...]:
    return tuple(passage for rank in zip_longest(*found) for passage in rank if passage is not None)
