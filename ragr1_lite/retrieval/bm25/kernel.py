"""The best passages of a batch of queries, by compiled code that goes over bm25s' arrays block by block.

The only importer of numba for searching; imported inside functions, as numba takes half a second to start.

For each query, passages are taken in blocks whose scores fit into the processor's nearest cache. Each word's postings
of the block are added there, in the query's order, so that sums are bm25s' own, bit for bit. Chunks of scores are then
compared as integers, as which non-negative floats keep their order, and those that hold something better than the
``k``-th best so far are looked through.

Words in most passages cost most and say least. Once the ``k`` best are worth far more than the frequent words of the
query could add together, those are no longer added up: passages that could still win are found by the other words, and
looked up, one by one, in the postings left out (the MaxScore method of Turtle and Flood, 1995).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numba
import numpy as np

from ragr1_lite.retrieval.bm25.postings import Postings, best_by_numpy

Array = np.ndarray[Any, Any]
Compiled = TypeVar("Compiled", bound=Callable[..., Any])

MOST = 1000
"""The largest ``k`` that is served: the best passages are kept sorted, which is slow for many."""

BLOCK = 8192
"""Passages in a block, a power of two: their scores are 32 KiB. Twice or half as many take 3 to 10 % longer."""
CHUNK = 128
"""Scores that are compared at once; so many fill whole vectors, and few chunks hold a winner."""
SHARE = 1 / 3
"""The part of the ``k``-th best score that words left out may be worth together. With all of it, as MaxScore has it,
so many passages are looked up that short queries take seven times as long (100,000 passages); with none, whole
questions take twice as long, and five times at a million."""


def best(postings: Postings, queries: Sequence[Sequence[int]], k: int) -> tuple[Array, Array]:
    """Finds the best passages of each query on the calling thread, without the interpreter's lock.

    Equal queries are searched once. Positions in ``postings.indices`` and scores are not trusted: wrong ones give
    wrong results and nothing worse. ``postings.indptr`` is.

    Args:
        postings: Scores that are not negative, and 0 for absent words: bm25s' lucene, robertson or atire.
        queries: Words' ids, in order; their scores are added in this order, repeated ones repeatedly.
        k: At least 1; above :data:`MOST`, NumPy does the work.

    Returns:
        Positions, int64, and scores, float32, both of shape ``(queries, min(k, passages))``: the best first, equal
        ones by position. Where fewer passages have a word of the query, -1 and 0 fill the row.

    Raises:
        IndexError: A word's id is not in the index.
    """
    if k > MOST:
        return best_by_numpy(postings, queries, k)
    distinct: dict[tuple[int, ...], int] = {}
    rows = [distinct.setdefault(tuple(query), len(distinct)) for query in queries]
    words = np.array([word for query in distinct for word in query], np.int64)
    starts = np.zeros(len(distinct) + 1, np.int64)
    np.cumsum([len(query) for query in distinct], out=starts[1:])
    if len(words) and not 0 <= words.min() <= words.max() < len(postings.indptr) - 1:
        raise IndexError("A word's id is not in the index")
    shape = len(distinct), min(k, postings.passages)
    positions, scores = np.full(shape, -1, np.int64), np.zeros(shape, np.float32)
    data, indices, indptr = map(_read_only, (postings.data, postings.indices, postings.indptr))
    _search(
        data, data.view(np.int32), indices, indptr, _tops(postings), postings.passages, words, starts, positions, scores
    )
    return (positions, scores) if len(distinct) == len(rows) else (positions[rows], scores[rows])


def warm() -> None:
    """Compiles what :func:`best` runs, or loads it compiled: seconds the first time on a machine.

    Raises:
        RuntimeError: numba is not to compile anything.
    """
    if numba.config.DISABLE_JIT:
        raise RuntimeError("numba is switched off by NUMBA_DISABLE_JIT")
    data, indices = np.ones(2, np.float32), np.zeros(2, np.int32)
    best(Postings(data, indices, np.array([0, 1, 2]), 1), [(0, 1)], 1)


_TOPS: dict[int, tuple[weakref.ref[Array], Array]] = {}


def _tops(postings: Postings) -> Array:
    """The most each word adds to a passage, 0 where not known yet; kept for as long as ``postings.data`` is."""
    key = id(postings.data)
    known = _TOPS.get(key)
    if known is None or known[0]() is not postings.data:
        forget = weakref.ref(postings.data, lambda _: _TOPS.pop(key, None))
        known = _TOPS[key] = forget, np.zeros(len(postings.indptr) - 1, np.float32)
    return known[1]


def _read_only(array: Array) -> Array:
    """A view that cannot be written to: code is compiled for such arrays alone, as those on disk are."""
    view = array.view()
    view.flags.writeable = False
    return view


def _compiled(function: Compiled, inlined: bool = False) -> Compiled:
    options = {"nogil": True, "forceinline": inlined}
    try:
        compiled: Compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # No folder to keep compiled code in.
        compiled = numba.njit(**options)(function)
    return compiled


def _inlined(function: Compiled) -> Compiled:
    """Compiles into its one caller: handing an array over takes some 10 ns, as long as adding 20 postings."""
    return _compiled(function, inlined=True)


@_compiled
def _add(scores: Array, indices: Array, data: Array) -> None:
    for place in range(len(indices)):
        scores[indices[place] & (BLOCK - 1)] += data[place]  # Masked, no position points outside.


@_compiled
def _mark(marks: Array, indices: Array) -> None:
    """Marks the chunks that hold these positions."""
    for position in indices:
        marks[(position & (BLOCK - 1)) // CHUNK] = True


@_compiled
def _find(indices: Array, start: int, end: int, position: int) -> int:
    """Finds the first posting at ``position`` or behind it, in growing steps, as it is mostly near."""
    step, high = 1, start
    while high < end and indices[high] < position:
        start = high + 1
        high += step
        step *= 2
    high = min(high, end)
    while start < high:
        middle = (start + high) // 2
        if indices[middle] < position:
            start = middle + 1
        else:
            high = middle
    return start


@_compiled
def _insert(positions: Array, scores: Array, position: int, score: np.float32) -> None:
    """Puts a passage in its place among the best, behind equal ones."""
    place = len(scores) - 1
    while place > 0 and scores[place - 1] < score:
        scores[place], positions[place] = scores[place - 1], positions[place - 1]
        place -= 1
    scores[place], positions[place] = score, position


@_compiled
def _below(score: float, count: int) -> float:
    """A bit less than a score: ``count`` numbers whose exact sum is below this add up to less, however rounded."""
    return score / (1 + (count + 1) * 2.0**-21)


@_compiled
def _look_up(
    data: Array, indices: Array, seen: Array, ends: Array, order: Array, rest: Array, parts: Array,
    left: int, position: int, bound: float, floor: float,
) -> np.float32:  # fmt: skip
    """Returns a passage's whole score, summed in the query's order; or 0 as soon as it is surely not above ``floor``.

    Passages come in the order of their positions. ``bound`` is what the words that are not left out add to it.
    """
    for step in range(len(order)):
        if step <= left and bound + rest[left - step] <= floor:
            return np.float32(0)
        place = order[left - 1 - step if step < left else step]  # Those left out first, and of them the greatest.
        found = _find(indices, seen[place], ends[place], position)
        there = found < ends[place] and indices[found] == position
        seen[place], parts[place] = found, data[found] if there else 0
        if step < left:
            bound += parts[place]
    score = np.float32(0)
    for part in parts:
        score += part
    return score


@_inlined
def _top(bits: Array, tops: Array, word: int, start: int, end: int) -> Any:
    """The most a word adds: all its postings are read for it, once."""
    if tops[word] == 0:
        top = np.int32(0)
        for value in bits[start:end]:
            top = max(top, value)
        tops[word] = np.int32(top).view(np.float32)
    return tops[word]


@_inlined
def _rank(most: Array, order: Array, rank: Array, rest: Array) -> None:
    """Orders words by the most they add, least first; ``rest`` is what the first so many add at most together."""
    for place in range(len(most)):
        after = place
        while after > 0 and most[order[after - 1]] > most[place]:
            order[after] = order[after - 1]
            after -= 1
        order[after] = place
    for place in range(len(most)):
        rank[order[place]] = place
        rest[place + 1] = rest[place] + most[order[place]]


@_inlined
def _first(indices: Array, at: Array, ends: Array, rank: Array, left: int, passages: int) -> int:
    """The first position at which a word that is not left out has a posting to be added."""
    first = passages
    for place in range(len(at)):
        if rank[place] >= left and at[place] < ends[place]:
            first = min(first, indices[at[place]])
    return first


@_inlined
def _add_block(
    data: Array, indices: Array, at: Array, seen: Array, ends: Array, rank: Array, left: int, limit: int,
    sums: Array, marks: Array,
) -> None:  # fmt: skip
    """Adds all postings below ``limit``, in the query's order, and marks chunks: those with some, if there are few."""
    added = 0
    for place in range(len(at)):
        if rank[place] >= left:
            start = at[place]
            end = _find(indices, start, ends[place], limit)
            _add(sums, indices[start:end], data[start:end])
            seen[place], at[place] = start, end
            added += end - start
    marks[:] = added >= len(marks)
    if added < len(marks):
        for place in range(len(at)):
            if rank[place] >= left:
                _mark(marks, indices[seen[place] : at[place]])


@_inlined
def _take_block(
    data: Array, indices: Array, seen: Array, ends: Array, order: Array, rest: Array, parts: Array, left: int,
    base: int, passages: int, sums: Array, marks: Array, positions: Array, scores: Array,
) -> None:  # fmt: skip
    """Takes what is among the best so far out of the block that begins at ``base``, and clears it."""
    bits = sums.view(np.int32)
    floor = _below(scores[-1], len(parts))
    needed = np.float32(floor - rest[left]) if left else scores[-1]
    for chunk in range(len(sums) // CHUNK):  # So counted, chunks are seen to lie inside, and the loops get vectors.
        if not marks[chunk]:
            continue
        start, most = chunk * CHUNK, np.int32(0)
        for place in range(start, start + CHUNK):
            most = max(most, bits[place])
        if np.int32(most).view(np.float32) > needed:
            for place in range(start, min(start + CHUNK, passages - base)):
                score = sums[place]
                if score > needed:
                    if left:
                        score = _look_up(
                            data, indices, seen, ends, order, rest, parts, left, base + place, score, floor
                        )
                    if score > scores[-1]:
                        _insert(positions, scores, base + place, score)
                        floor = _below(scores[-1], len(parts))
                        needed = np.float32(floor - rest[left]) if left else scores[-1]
        sums[start : start + CHUNK] = 0


@_compiled
def _search_one(
    data: Array, bits: Array, indices: Array, indptr: Array, tops: Array, passages: int, words: Array,
    sums: Array, marks: Array, positions: Array, scores: Array,
) -> None:  # fmt: skip
    """Searches for one query; the first ``left`` words of ``order`` are left out when postings are added."""
    count = len(words)
    at, ends = np.empty(count, np.int64), np.empty(count, np.int64)  # Of each word, the postings not added yet.
    seen = np.empty(count, np.int64)  # The posting where a word was last looked up.
    order, rank = np.empty(count, np.int64), np.empty(count, np.int64)
    most, parts = np.empty(count, np.float32), np.zeros(count, np.float32)
    for place in range(count):
        at[place] = seen[place] = indptr[words[place]]
        ends[place] = indptr[words[place] + 1]
        most[place] = _top(bits, tops, words[place], at[place], ends[place])
    rest = np.zeros(count + 1)
    _rank(most, order, rank, rest)
    left, base = 0, 0
    while base < passages:
        while left < count and rest[left + 1] <= SHARE * _below(scores[-1], count):
            left += 1
        base = max(base, _first(indices, at, ends, rank, left, passages) & ~(BLOCK - 1))
        if base < passages:
            _add_block(data, indices, at, seen, ends, rank, left, base + BLOCK, sums, marks)
            _take_block(
                data, indices, seen, ends, order, rest, parts, left, base, passages, sums, marks, positions, scores
            )
        base += BLOCK


@_compiled
def _search(
    data: Array, bits: Array, indices: Array, indptr: Array, tops: Array, passages: int,
    words: Array, starts: Array, positions: Array, scores: Array,
) -> None:  # fmt: skip
    """Searches for each query, of the words between two ``starts``."""
    sums, marks = np.zeros(BLOCK, np.float32), np.empty(BLOCK // CHUNK, np.bool_)
    for row in range(len(positions)):
        asked = words[starts[row] : starts[row + 1]]
        _search_one(data, bits, indices, indptr, tops, passages, asked, sums, marks, positions[row], scores[row])
