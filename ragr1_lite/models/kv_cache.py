"""A key-value cache for rows of any lengths, without padding.

All rows' new tokens go through the model as one packed sequence. An attention function of our own, registered with
transformers, knows where each row begins and keeps the keys and values. Rows that begin with the same tokens (a shared
instruction, a GRPO group) compute them once, and a row that comes back longer after a search computes what is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ragr1_lite.models import step_attention
from ragr1_lite.models.spans import Span, View, chunks, common_prefix, view_of
from ragr1_lite.models.upstream import attention

NAME = "ragr1_ragged"
CHUNK = 512  # tokens of prefill in one forward pass: with more, a CPU's activations no longer fit its cache


_Slabs = tuple[Tensor, Tensor]  # keys and values of a layer, ``(slots, key heads, tokens, dim)`` each


@dataclass(slots=True)
class _Slot:
    """A place for one row, with the ids whose keys and values are in it."""

    name: int
    token_ids: list[int] = field(default_factory=list)


class RaggedCache:
    """Keys and values of named rows; the first of them are live, the others are parked.

    A layer has one slab for all rows: as long as the longest row needs, doubled where rows grow, never longer than
    their limit, which few rows reach. Only one layer's slab exists twice while slabs grow.

    Args:
        model: A decoder that :func:`supports` knows, inside :func:`ragged_attention`. Its weights must not change
            while the cache is in use.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._slots: list[_Slot] = []
        self._live = 0
        self._shape = (0, 0)
        self._limit = 0
        self._slabs: dict[int, _Slabs] = {}
        self._spans: list[Span] = []
        self._positions: list[int] = []
        self._places = (torch.empty(0), torch.empty(0))
        self._views: dict[int | None, list[View]] = {}
        self._beginnings: step_attention.Beginnings | None = None

    @property
    def live(self) -> list[int]:
        """Names of the live rows, in the order of logits and tokens."""
        return [slot.name for slot in self._slots[: self._live]]

    @property
    def names(self) -> list[int]:
        """Names of all rows, parked ones too."""
        return [slot.name for slot in self._slots]

    def prefill(self, rows: Mapping[int, Sequence[int]], new: int) -> Tensor:
        """Runs rows, but for the beginnings that are held already; other rows are dropped, these are live afterwards.

        Args:
            rows: Ids by name.
            new: By how many tokens a row may grow afterwards.

        Returns:
            Logits of each row's next token in the order of :attr:`live`, ``(rows, vocabulary)``.
        """
        for i in reversed(range(len(self._slots))):
            if self._slots[i].name not in rows:
                self._drop(i)
        held = set(self.names)
        self._slots.extend(_Slot(name) for name in rows if name not in held)
        self._live = len(self._slots)
        self._beginnings = None
        longest = max(map(len, rows.values()))
        self._limit = longest + new
        self._fit(longest)
        spans = self._plan(rows)
        logits = torch.cat([self._run_spans(chunk, rows) for chunk in chunks(spans, CHUNK)])
        for slot in self._slots:
            slot.token_ids = list(rows[slot.name])
        order = {span.slot: at for at, span in enumerate(spans)}
        return logits[[order[i] for i in range(self._live)]]

    def extend(self, tokens: Sequence[int]) -> Tensor:
        """Appends one token to each live row and returns the logits of the next, ``(rows, vocabulary)``."""
        slots = self._slots[: self._live]
        positions = [len(slot.token_ids) for slot in slots]
        self._fit(max(positions) + 1)
        self._spans, self._positions, self._views = [], positions, {}
        device = self.model.device
        self._places = (torch.arange(len(slots), device=device), torch.tensor(positions, device=device))
        logits = self._run(tokens, positions, range(len(slots)))
        for slot, token in zip(slots, tokens, strict=True):
            slot.token_ids.append(token)
        return logits

    def park(self, name: int) -> None:
        """Keeps a live row for a later prefill; the last live one takes its place."""
        i, self._live, self._beginnings = self.live.index(name), self._live - 1, None
        last = self._live
        if i == last:
            return
        first, second = self._slots[i], self._slots[last]
        self._slots[i], self._slots[last] = second, first
        one, other = len(first.token_ids), len(second.token_ids)
        for slab in chain.from_iterable(self._slabs.values()):
            moved = slab[i, :, :one].clone()
            slab[i, :, :other] = slab[last, :, :other]
            slab[last, :, :one] = moved

    def _drop(self, i: int) -> None:
        last = self._slots.pop()
        if i == len(self._slots):
            return
        self._slots[i], length = last, len(last.token_ids)
        for slab in chain.from_iterable(self._slabs.values()):
            slab[i, :, :length] = slab[len(self._slots), :, :length]

    def _fit(self, longest: int) -> None:
        """Chooses the slabs' shape for all rows and the longest; layers resize when they run."""
        rows, length = self._shape
        if len(self._slots) > rows or longest > length:
            self._shape = (len(self._slots), max(min(2 * longest, self._limit), length))

    def _slab(self, layer: int, like: Tensor) -> _Slabs:
        """A layer's keys and values, in slabs of the chosen shape."""
        slabs = self._slabs.get(layer)
        rows, length = self._shape
        if slabs is None or slabs[0].shape[0] < rows or slabs[0].shape[2] < length:
            # Not empty: a masked place weighs 0, and 0 times a stray NaN is NaN.
            keys, values = (like.new_zeros(rows, like.shape[1], length, like.shape[3]) for _ in range(2))
            if slabs is not None:
                used = max(len(slot.token_ids) for slot in self._slots)
                for fresh, old in zip((keys, values), slabs, strict=True):
                    fresh[: len(old), :, :used] = old[:rows, :, :used]
            self._slabs[layer] = keys, values
        return self._slabs[layer]

    def _plan(self, rows: Mapping[int, Sequence[int]]) -> list[Span]:
        """What has to be computed of each row, sorted so that rows that begin alike are neighbours."""
        ids = [rows[slot.name] for slot in self._slots]
        spans: list[Span] = []
        before: int | None = None
        for i in sorted(range(len(ids)), key=lambda i: tuple(ids[i])):
            most = len(ids[i]) - 1  # one token at least is computed, for its logits
            held = min(common_prefix(self._slots[i].token_ids, ids[i]), most)
            shared = 0 if before is None else min(common_prefix(ids[before], ids[i]), most)
            spans.append(Span(i, i if before is None else before, held, max(held, shared), len(ids[i])))
            before = i
        return spans

    def _run_spans(self, spans: list[Span], rows: Mapping[int, Sequence[int]]) -> Tensor:
        """One forward pass of prefill; logits of the rows that end in it."""
        self._spans, self._views = spans, {}
        texts = [rows[self._slots[span.slot].name] for span in spans]
        ids = [token for span, text in zip(spans, texts, strict=True) for token in text[span.begin : span.end]]
        positions = [position for span in spans for position in range(span.begin, span.end)]
        ends = accumulate(span.end - span.begin for span in spans)
        last = [end - 1 for span, text, end in zip(spans, texts, ends, strict=True) if span.end == len(text)]
        return self._run(ids, positions, last)

    def _run(self, ids: Sequence[int], positions: Sequence[int], last: Sequence[int]) -> Tensor:
        """One forward pass of packed tokens; logits at the indices ``last`` only."""
        device = self.model.device
        output = self.model(
            input_ids=torch.tensor([list(ids)], device=device),
            position_ids=torch.tensor([list(positions)], device=device),
            use_cache=False,
            logits_to_keep=torch.tensor(list(last), dtype=torch.long, device=device),
            ragged=self,
        )
        logits: Tensor = output.logits[0]
        return logits

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        """Stores the packed tokens' keys and values and has each query attend to its own row up to itself.

        Shapes: query ``(1, heads, tokens, dim)``, key and value ``(1, key heads, tokens, dim)``, result ``(1, tokens,
        heads, dim)``; scores are multiplied by ``scale``. With a ``window``, only the last so many keys are seen, the
        query's own among them.
        """
        slabs = self._slab(layer, key)
        if not self._spans and (loop := step_attention.fast_attention(key.dtype, key.device)):
            if self._beginnings is None:
                self._beginnings = step_attention.beginnings_of([slot.token_ids for slot in self._slots[: self._live]])
            new = [one[0].transpose(0, 1) for one in (query, key, value)]
            places = self._places[1].numpy(), self._beginnings
            return step_attention.attend(loop, slabs, new, *places, scale, window)[None]
        if window not in self._views:  # layers alike share them
            views = [view_of(span, query, window) for span in self._spans]
            self._views[window] = views or [self._step_view(query, window)]
        attend = self._attend_spans if self._spans else self._attend_step
        return attend(slabs, query, key, value, scale, self._views[window])

    def _attend_spans(
        self, slabs: _Slabs, query: Tensor, key: Tensor, value: Tensor, scale: float | None, views: list[View]
    ) -> Tensor:
        """Prefill, row by row: a row's source comes before it."""
        keys, values = slabs
        outputs, at = [], 0
        for span, (first, mask) in zip(self._spans, views, strict=True):
            new = slice(at, at + span.end - span.begin)
            at = new.stop
            for slab, fresh in ((keys, key), (values, value)):
                if span.held < span.begin:
                    slab[span.slot, :, span.held : span.begin] = slab[span.source, :, span.held : span.begin]
                slab[span.slot, :, span.begin : span.end] = fresh[0, :, new]
            seen = keys[span.slot, None, :, first : span.end], values[span.slot, None, :, first : span.end]
            options: dict[str, Any] = {"attn_mask": mask, "is_causal": mask is None, "scale": scale}
            outputs.append(scaled_dot_product_attention(query[:, :, new], *seen, **options, enable_gqa=True))
        return torch.cat(outputs, dim=2).transpose(1, 2)

    def _attend_step(
        self, slabs: _Slabs, query: Tensor, key: Tensor, value: Tensor, scale: float | None, views: list[View]
    ) -> Tensor:
        """Decoding: one new token a row, all rows at once.

        Query heads that share a key head are treated as a sequence, so that keys and values are read once.
        """
        (keys, values), (rows, positions), [(first, mask)] = slabs, self._places, views
        assert mask is not None
        count, groups, dim, end = len(rows), key.shape[1], key.shape[3], first + mask.shape[-1]
        keys[rows, :, positions] = key[0].transpose(0, 1)
        values[rows, :, positions] = value[0].transpose(0, 1)
        grouped = query[0].transpose(0, 1).reshape(count, groups, -1, dim)
        seen = keys[:count, :, first:end], values[:count, :, first:end]
        output = scaled_dot_product_attention(
            grouped, *seen, attn_mask=mask.expand(-1, -1, grouped.shape[2], -1), scale=scale
        )
        return output.reshape(1, count, -1, dim)

    def _step_view(self, like: Tensor, window: int | None) -> View:
        """What the rows' new tokens see, from the first key that one of them sees; ``(rows, 1, 1, keys)``."""
        last = self._places[1][:, None]
        first = max(0, min(self._positions) + 1 - window) if window else 0
        places = torch.arange(first, max(self._positions) + 1, device=like.device)[None]
        unseen = places > last
        if window:
            unseen |= places <= last - window
        # Not boolean: the kernels would convert a boolean mask in every layer.
        mask = like.new_zeros(unseen.shape).masked_fill_(unseen, -torch.inf)
        return first, mask[:, None, None]


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: Any, *, ragged: RaggedCache, **options: Any
) -> tuple[Tensor, None]:
    """What transformers calls in every layer; ``ragged`` is passed on from the model's call."""
    window = options.get("sliding_window")
    return ragged.attend(module.layer_idx, query, key, value, options.get("scaling"), window), None


def supports(config: Any) -> bool:
    """Whether every layer has full attention or a sliding window: no chunks, no capped scores, no sinks."""
    kinds = set(getattr(config, "layer_types", None) or ())
    other = getattr(config, "attn_logit_softcapping", None) or getattr(config, "use_bidirectional_attention", None)
    known = config.model_type in {"llama", "qwen2", "qwen3", "mistral", "gemma3_text"}
    return known and not other and kinds <= {"full_attention", "sliding_attention"}


@contextmanager
def ragged_attention(model: Any) -> Iterator[None]:
    """Has the model attend by its rows' :class:`RaggedCache` while the block runs."""
    from transformers import AttentionInterface  # unsloth has to be imported before it

    AttentionInterface.register(NAME, _attention)
    with attention(model, NAME):
        yield
