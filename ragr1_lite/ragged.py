"""A key-value cache for rows of any lengths, without a single padding token.

All rows' new tokens go through the model as one packed sequence, so its matrix products meet real tokens only. An
attention function of our own, registered with transformers, knows where each row begins and keeps the keys and values.
Rows that begin with the same tokens (a shared instruction, the members of a GRPO group) compute them once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "ragr1_ragged"
CHUNK = 512
"""Tokens of prefill in one forward. More does not make a CPU's matrix products faster, but its activations leave the
cache and have to be mapped anew in every layer."""


@dataclass(frozen=True, slots=True)
class _Span:
    """New tokens of one row: those from ``begin`` to ``end``; what is before comes from row ``source``."""

    row: int
    source: int
    begin: int
    end: int


class RaggedCache:
    """Keys and values of the rows that are being continued.

    Args:
        model: A decoder with full attention in every layer, inside :func:`ragged_attention`.
        rows: How many rows at most.
        length: How many tokens a row can hold.
    """

    def __init__(self, model: Any, rows: int, length: int) -> None:
        self._model = model
        self._shape = (rows, length)
        self._slabs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._lengths: list[int] = []
        self._spans: list[_Span] = []
        self._mask = torch.empty(0)
        self._places: tuple[torch.Tensor, torch.Tensor] = (torch.empty(0), torch.empty(0))

    def prefill(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Runs whole rows; neighbours that begin alike share the work, so bring them sorted.

        Returns:
            Logits of each row's next token, ``(rows, vocabulary)``.
        """
        self._lengths = [len(row) for row in rows]
        before: Sequence[int] = ()
        pieces: list[_Span] = []
        for i, row in enumerate(rows):
            begin = min(_common_prefix(before, row), len(row) - 1)  # one token at least, for its logits
            pieces.append(_Span(i, i - 1, begin, len(row)))
            before = row
        return torch.cat([self._run_spans(spans, rows) for spans in _chunks(pieces, CHUNK)])

    def _run_spans(self, spans: list[_Span], rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """One forward of prefill; logits of those rows that end in it."""
        self._spans = spans
        ids = [token for span in spans for token in rows[span.row][span.begin : span.end]]
        positions = [position for span in spans for position in range(span.begin, span.end)]
        ends = accumulate(span.end - span.begin for span in spans)
        last = [end - 1 for span, end in zip(spans, ends, strict=True) if span.end == len(rows[span.row])]
        return self._run(ids, positions, last)

    def extend(self, tokens: Sequence[int]) -> torch.Tensor:
        """Appends one token to each row and returns the logits of the next, ``(rows, vocabulary)``."""
        count, positions = len(tokens), list(self._lengths)
        self._lengths = [length + 1 for length in self._lengths]
        self._spans = []
        device = self._model.device
        lengths = torch.tensor(self._lengths, device=device)
        unused = torch.arange(max(self._lengths), device=device)[None] >= lengths[:, None]
        # Added, not boolean: the kernels would turn a boolean mask into this in every layer.
        self._mask = torch.zeros_like(unused, dtype=self._slabs[0][0].dtype).masked_fill(unused, -torch.inf)[
            :, None, None
        ]
        self._places = (torch.arange(count, device=device), lengths - 1)
        return self._run(tokens, positions, range(count))

    def drop(self, row: int) -> None:
        """Removes a row; the last one takes its place."""
        last = len(self._lengths) - 1
        length = self._lengths.pop()
        if row == last:
            return
        self._lengths[row] = length
        for keys, values in self._slabs.values():
            keys[row, :, :length] = keys[last, :, :length]
            values[row, :, :length] = values[last, :, :length]

    def _run(self, ids: Sequence[int], positions: Sequence[int], last: Sequence[int]) -> torch.Tensor:
        """One forward of packed tokens; logits at the indices ``last`` only."""
        device = self._model.device
        output = self._model(
            input_ids=torch.tensor([list(ids)], device=device),
            position_ids=torch.tensor([list(positions)], device=device),
            use_cache=False,
            logits_to_keep=torch.tensor(list(last), dtype=torch.long, device=device),
            ragged=self,
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """Stores the packed tokens' keys and values and lets each query see its own row up to itself.

        Args:
            layer: The layer's index.
            query: ``(1, heads, tokens, dim)``.
            key: ``(1, key heads, tokens, dim)``.
            value: Like ``key``.
            scale: What scores are multiplied by.

        Returns:
            ``(1, tokens, heads, dim)``.
        """
        if layer not in self._slabs:
            rows, length = self._shape
            # Zeros rather than empty: a masked place weighs 0, and 0 times a stray NaN is NaN.
            fresh = (key.new_zeros(rows, key.shape[1], length, key.shape[3]) for _ in range(2))
            self._slabs[layer] = (next(fresh), next(fresh))
        attend = self._attend_spans if self._spans else self._attend_step
        return attend(*self._slabs[layer], query, key, value, scale)

    def _attend_spans(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
    ) -> torch.Tensor:
        """Prefill: row by row, in an order in which a row's source is always there before it."""
        outputs, at = [], 0
        for span in self._spans:
            new = slice(at, at + span.end - span.begin)
            at = new.stop
            for slab, fresh in ((keys, key), (values, value)):
                if span.source != span.row:
                    slab[span.row, :, : span.begin] = slab[span.source, :, : span.begin]
                slab[span.row, :, span.begin : span.end] = fresh[0, :, new]
            seen = None
            if span.begin:
                square = torch.ones(new.stop - new.start, span.end, dtype=torch.bool, device=query.device)
                seen = square.tril(span.begin)
            outputs.append(
                scaled_dot_product_attention(
                    query[:, :, new],
                    keys[span.row, None, :, : span.end],
                    values[span.row, None, :, : span.end],
                    attn_mask=seen,
                    is_causal=seen is None,
                    scale=scale,
                    enable_gqa=True,
                )
            )
        return torch.cat(outputs, dim=2).transpose(1, 2)

    def _attend_step(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
    ) -> torch.Tensor:
        """Decoding: one new token a row, all rows at once.

        Query heads that share a key head are laid side by side as if they were a sequence: keys and values are read
        once and never repeated.
        """
        rows, positions = self._places
        count, groups, dim, longest = len(rows), key.shape[1], key.shape[3], self._mask.shape[-1]
        keys[rows, :, positions] = key[0].transpose(0, 1)
        values[rows, :, positions] = value[0].transpose(0, 1)
        grouped = query[0].transpose(0, 1).reshape(count, groups, -1, dim)
        seen = keys[:count, :, :longest], values[:count, :, :longest]
        mask = self._mask.expand(-1, -1, grouped.shape[2], -1)
        output = scaled_dot_product_attention(grouped, *seen, attn_mask=mask, scale=scale)
        return output.reshape(1, count, -1, dim)


def _chunks(spans: Sequence[_Span], size: int) -> Iterator[list[_Span]]:
    """Groups spans into runs of at most ``size`` tokens; a cut span goes on with itself as its source."""
    chunk: list[_Span] = []
    room = size
    for span in spans:
        begin, source = span.begin, span.source
        while begin < span.end:
            end = min(span.end, begin + room)
            chunk.append(_Span(span.row, source, begin, end))
            room -= end - begin
            begin, source = end, span.row
            if not room:
                yield chunk
                chunk, room = [], size
    if chunk:
        yield chunk


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two rows have in common at their beginning."""
    for i, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return i
    return min(len(a), len(b))


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    ragged: RaggedCache,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in every layer; extra keywords of the model's call arrive here."""
    return ragged.attend(module.layer_idx, query, key, value, scaling), None


def supports(config: Any) -> bool:
    """Whether every layer is plain full attention: no window, no capped scores, no sinks."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    plain = not windowed and not getattr(config, "attn_logit_softcapping", None)
    return kinds == {"full_attention"} and plain and config.model_type in {"llama", "qwen2", "qwen3", "mistral"}


@contextmanager
def ragged_attention(model: Any) -> Iterator[None]:
    """Switches a model's attention to ours and back."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    AttentionInterface.register(NAME, _attention)
    before = base.config._attn_implementation
    base.set_attn_implementation(NAME)
    try:
        yield
    finally:
        base.set_attn_implementation(before)
