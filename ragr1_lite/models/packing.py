"""Rows of a training batch as one packed sequence: no padding, and what rows begin with alike computed once.

Every trajectory begins with the same instruction, those of a GRPO group with the same question, and padding is not
read by anyone. So the rows go through the model one behind the other, each from where it parts from the row before;
an attention function of our own, registered with transformers, has its tokens see their own row. Hidden states and
gradients are those of the padded batch, for fewer multiplications.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ragr1_lite.models.spans import Span, common_prefix, view_of
from ragr1_lite.models.upstream import attention

NAME = "ragr1_packed"


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is computed of a row: its tokens ``begin`` to ``end``; ``path`` are those before.

    A step ``(piece, tokens)`` of the path is that piece's first tokens.
    """

    path: tuple[tuple[int, int], ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Packing:
    """How rows are packed."""

    token_ids: list[int]  # of the packed sequence
    positions: list[int]  # each token's place in its row
    places: list[list[int]]  # of each row, in the order given, its tokens' places in the packed sequence
    _pieces: list[_Piece]
    _masks: dict[tuple[int, int | None], Tensor | None] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Packing:
        """Packs rows of ids, none of them empty.

        >>> packing = Packing.of([[1, 2, 3], [1, 2, 4, 5]])
        >>> packing.token_ids, packing.positions, packing.places
        ([1, 2, 3, 4, 5], [0, 1, 2, 2, 3], [[0, 1, 2], [0, 1, 3, 4]])
        """
        ids: list[int] = []
        positions: list[int] = []
        places: list[list[int]] = [[] for _ in rows]
        pieces: list[_Piece] = []
        sizes: list[int] = []
        order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))  # whoever begins most alike comes before
        for number, i in enumerate(order):
            row, last = rows[i], order[number - 1]
            shared = common_prefix(rows[last], row) if number else 0
            path = _beginning((*pieces[-1].path, (number - 1, sizes[-1])), shared) if shared else ()
            pieces.append(_Piece(path, shared, len(row)))
            sizes.append(len(row) - shared)
            places[i] = [*places[last][:shared], *range(len(ids), len(ids) + len(row) - shared)]
            ids += row[shared:]
            positions += range(shared, len(row))
        return cls(ids, positions, places, pieces)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None) -> Tensor:
        """Has each token attend to its own row up to itself, or to the last ``window`` tokens of that.

        Shapes: query ``(1, heads, tokens, dim)``, key and value ``(1, key heads, tokens, dim)``, result ``(1, tokens,
        heads, dim)``.
        """
        sizes = [piece.end - piece.begin for piece in self._pieces]
        queries, keys, values = (torch.split(packed, sizes, dim=2) for packed in (query, key, value))
        outputs = []
        for number, piece in enumerate(self._pieces):
            if not sizes[number]:  # a row that is there already
                continue
            seen_keys, seen_values = (
                torch.cat([*(whole[step][:, :, :tokens] for step, tokens in piece.path), whole[number]], dim=2)
                for whole in (keys, values)
            )
            mask = self._mask(number, query, window)
            options: dict[str, Any] = {"attn_mask": mask, "is_causal": mask is None, "scale": scale, "enable_gqa": True}
            outputs.append(scaled_dot_product_attention(queries[number], seen_keys, seen_values, **options))
        return torch.cat(outputs, dim=2).transpose(1, 2)

    def _mask(self, number: int, like: Tensor, window: int | None) -> Tensor | None:
        """What is added to a piece's scores; layers alike share it."""
        known = number, window
        if known not in self._masks:
            piece = self._pieces[number]
            first, mask = view_of(Span(0, 0, 0, piece.begin, piece.end), like, window)
            self._masks[known] = mask if mask is None else torch.nn.functional.pad(mask, (first, 0), value=-torch.inf)
        return self._masks[known]


def _beginning(path: Iterable[tuple[int, int]], length: int) -> tuple[tuple[int, int], ...]:
    """The first ``length`` tokens of a path."""
    kept: list[tuple[int, int]] = []
    for piece, tokens in path:
        if taken := min(tokens, length):
            kept.append((piece, taken))
            length -= taken
    return tuple(kept)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: Any, *, packing: Packing, **options: Any
) -> tuple[Tensor, None]:
    """What transformers calls in every layer; ``packing`` is passed on from the model's call."""
    return packing.attend(query, key, value, options.get("scaling"), options.get("sliding_window")), None


def hidden_states(model: Any, rows: Sequence[Sequence[int]]) -> tuple[Packing, Tensor]:
    """The last hidden states of a causal language model's decoder, ``(tokens, hidden)``, in the packing's order.

    The decoder is of a kind that :func:`~ragr1_lite.models.kv_cache.supports` knows.
    """
    from transformers import AttentionInterface  # unsloth has to be imported before it

    AttentionInterface.register(NAME, _attention)
    packing = Packing.of(rows)
    ids, positions = (torch.tensor([found], device=model.device) for found in (packing.token_ids, packing.positions))
    with attention(model, NAME):
        output = model.base_model(input_ids=ids, position_ids=positions, use_cache=False, packing=packing)
    states: Tensor = output.last_hidden_state[0]
    return packing, states
