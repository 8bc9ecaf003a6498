"""What goes through the model at once: spans of rows, and the keys that their tokens see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

View = tuple[int, Tensor | None]
"""The first key that is looked at, and what is added to the scores from there on."""


@dataclass(frozen=True, slots=True)
class Span:
    """New tokens of a slot, ``begin`` to ``end``; those from ``held`` to ``begin`` are copied from ``source``."""

    slot: int
    source: int
    held: int
    begin: int
    end: int


def view_of(span: Span, like: Tensor, window: int | None) -> View:
    """What a span's tokens see; no mask where that is a plain square."""
    first = max(0, span.begin + 1 - window) if window else 0
    cut = window is not None and span.end - first > window
    if not span.begin and not cut:
        return first, None
    shape = span.end - span.begin, span.end - first
    mask = like.new_full(shape, -torch.inf).triu_(span.begin - first + 1)
    if window and cut:
        mask += like.new_full(shape, -torch.inf).tril_(span.begin - first - window)
    return first, mask


def chunks(spans: Sequence[Span], size: int) -> Iterator[list[Span]]:
    """Groups spans into chunks of at most ``size`` tokens, splitting spans where needed."""
    chunk: list[Span] = []
    room = size
    for span in spans:
        begin, held = span.begin, span.held
        while begin < span.end:
            end = min(span.end, begin + room)
            chunk.append(Span(span.slot, span.source, held, begin, end))
            room -= end - begin
            begin = held = end
            if not room:
                yield chunk
                chunk, room = [], size
    if chunk:
        yield chunk


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two rows have in common before they part."""
    for i, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return i
    return min(len(a), len(b))
