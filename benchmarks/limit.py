"""How near a phase comes to what this machine can do at most.

The floor of a phase is the time it takes where nothing but the needed arithmetic, or nothing but the needed reading,
costs anything, and its share is the floor over the measured time::

    floor = max(products / rate, bytes / bandwidth)            share = floor / seconds

``products`` are floating point operations, two a multiply-add. With ``T`` tokens, ``P`` weights in linear layers, ``L``
in LoRA's, ``A`` the sum over tokens of how many tokens each attends to, itself included, ``Q`` the width of a layer's
queries times the layers, ``V`` the vocabulary, ``H`` the hidden size and ``N`` positions whose logits are needed::

    forward    2 P T + 2 L T + 4 Q A + 2 V H N
    backward   2 P T + 4 L T + 8 Q A + 2 V H N

Frozen weights need only the gradient to their input, LoRA's need both, attention needs that of queries, keys, values
and scores. The first layer's queries, keys and values need no gradient to their input: nothing before them is trained.
``bytes`` are the weights, read once in each direction, and when one token a row is decoded also the keys and values
that each row attends to. Norms, softmax, activations and the optimizer are left out: the floor is a lower bound.

A batch is counted in two ways: :func:`of_rows` counts every token of every row, without padding; :func:`distinct`
counts what rows that begin alike share only once, and is what floors are made of, as no more is needed.

``rate`` is that of torch's ``linear`` over the model's own layers with :data:`ROWS` rows, the best of its shapes;
``bandwidth`` that of summing :data:`READ` bytes, more than caches hold. Both are measured with the run's dtype and
threads, by turns with the phases, and medians count.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.training.planning.shapes import Shape

ROWS = 1024
"""Tokens multiplied at once where the rate of products is measured."""
READ = 2**28
"""Bytes of the array that is read where the bandwidth is measured."""
_FIRST = ("q_proj", "k_proj", "v_proj")
_READING = "reading"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What goes through the model: tokens, the tokens they attend to, positions that need logits."""

    count: int
    seen: int
    logits: int

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.count + other.count, self.seen + other.seen, self.logits + other.logits)


Row = tuple[Sequence[int], Sequence[int]]
"""Token ids, and 1 for each that is predicted."""


def of_rows(rows: Iterable[Row]) -> Tokens:
    """Every token of every row.

    >>> of_rows([([5, 6, 7], [0, 0, 1]), ([5, 6, 8, 9], [0, 0, 1, 1])])
    Tokens(count=7, seen=16, logits=3)
    """
    counted = [Tokens(len(ids), _triangle(len(ids)), sum(mask)) for ids, mask in rows]
    return sum(counted, Tokens(0, 0, 0))


def distinct(rows: Iterable[Row]) -> Tokens:
    """Every token once, however many rows begin with it and all that is before it.

    >>> distinct([([5, 6, 7], [0, 0, 1]), ([5, 6, 8, 9], [0, 0, 1, 1])])
    Tokens(count=5, seen=13, logits=2)
    """
    places: dict[tuple[int, int], int] = {}
    predicting: set[int] = set()
    seen = 0
    for ids, mask in rows:
        place = -1
        for position, (token, predicted) in enumerate(zip(ids, mask, strict=True), start=1):
            if predicted:
                predicting.add(place)
            if (place, token) not in places:
                places[place, token] = len(places)
                seen += position
            place = places[place, token]
    return Tokens(len(places), seen, len(predicting))


def rollout_passes(rows: Sequence[Row]) -> tuple[list[Tokens], list[Tokens]]:
    """What rollouts need that go turn by turn together: a prefill a turn, and their steps of one token a row.

    A turn's first token comes from the prefill, and its last one goes through the model with the next turn's prefill.
    Prompts that begin alike are computed once.

    >>> rollout_passes([([5, 6, 7, 8, 9, 10, 11], [0, 0, 1, 1, 0, 1, 1]), ([5, 6, 8], [0, 0, 1])])  # doctest: +ELLIPSIS
    ([Tokens(count=2, seen=3, logits=1), Tokens(count=2, seen=9, logits=1)], [Tokens(count=1, seen=3, logits=1), ...])
    """
    prefills: list[Tokens] = []
    steps: list[Tokens] = []
    turns = [_turns(mask) for _, mask in rows]
    for turn in range(max(map(len, turns))):
        live = [row[turn] for row in turns if turn < len(row)]
        if turn:
            pairs = sum(_triangle(begin) - _triangle(begin - new - 1) for begin, new, _ in live)
            prefills.append(Tokens(sum(1 + new for _, new, _ in live), pairs, len(live)))
        else:
            prompts = {tuple(ids[: row[0][0]]) for (ids, _), row in zip(rows, turns, strict=True) if row}
            prefills.append(replace(distinct((ids, [0] * len(ids)) for ids in prompts), logits=len(prompts)))
        for step in range(1, max(sampled for *_, sampled in live)):
            seen = [begin + step for begin, _, sampled in live if step < sampled]
            steps.append(Tokens(len(seen), sum(seen), len(seen)))
    return prefills, steps


def _turns(mask: Sequence[int]) -> list[tuple[int, int, int]]:
    """Where each of a row's turns begins, how many tokens before it are new to the model, how many are sampled.

    >>> _turns([0, 0, 1, 1, 0, 1])
    [(2, 2, 2), (5, 1, 1)]
    """
    found, at = [], 0
    runs = [(sampled, len(list(run))) for sampled, run in itertools.groupby(mask)]
    for (_, new), (_, sampled) in zip(runs[::2], runs[1::2], strict=False):
        found.append((at + new, new, sampled))
        at += new + sampled
    return found


def _triangle(count: int) -> int:
    return count * (count + 1) // 2


@dataclass(frozen=True, slots=True)
class Work:
    """What a pass needs at least: floating point operations and bytes to be read."""

    products: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What passes of a model need.

    Attributes:
        shape: The model's sizes.
        itemsize: Bytes of a weight.
        rank: That of LoRA on all linear layers, while it is trained.
    """

    shape: Shape
    itemsize: int
    rank: int = 0

    def forward(self, tokens: Tokens) -> Work:
        """A pass without an adapter, or with one that is merged."""
        head = self.shape.vocab_size * self.shape.hidden_size
        products = 2 * self.shape.linear_parameters * tokens.count + 2 * head * tokens.logits
        weights = self.shape.linear_parameters + head
        return Work(products + self._attention(tokens), weights * self.itemsize)

    def step(self, tokens: Tokens) -> Work:
        """A pass of one token a row, which reads keys and values from memory."""
        work, shape = self.forward(tokens), self.shape
        keys = 2 * shape.keys * shape.num_hidden_layers * self.itemsize * tokens.seen
        return Work(work.products, work.bytes + keys)

    def training(self, tokens: Tokens) -> Work:
        """A pass forward and back, the adapter trained, all else frozen."""
        forward, shape = self.forward(tokens), self.shape
        pairs = {name: (wide * high, self.rank * (wide + high)) for name, (wide, high) in shape.linears.items()}
        adapter = shape.num_hidden_layers * sum(lora for _, lora in pairs.values())
        unneeded = sum(shape.linears[name][0] * (shape.linears[name][1] + self.rank) for name in _FIRST)
        products = 2 * forward.products + self._attention(tokens) + (6 * adapter - 2 * unneeded) * tokens.count
        return Work(products, 2 * forward.bytes)

    def _attention(self, tokens: Tokens) -> int:
        return 4 * self.shape.queries * self.shape.num_hidden_layers * tokens.seen


@dataclass(frozen=True, slots=True)
class Limit:
    """Floating point operations and bytes a second that this machine comes to at most."""

    rate: float
    bandwidth: float

    def floor(self, works: Iterable[Work]) -> float:
        """Seconds that passes take at least, one after the other.

        >>> Limit(rate=100, bandwidth=10).floor([Work(products=300, bytes=10), Work(products=100, bytes=20)])
        5.0
        """
        return sum(max(work.products / self.rate, work.bytes / self.bandwidth) for work in works)

    def share(self, seconds: float, works: Iterable[Work], tokens: float) -> dict[str, float]:
        """How a phase did that took so long and has so many tokens in its rows: ``floor`` in seconds, and ``share``.

        >>> Limit(rate=100, bandwidth=10).share(4, [Work(products=300, bytes=10)], tokens=8)
        {'seconds': 4, 'tokens_per_second': 2.0, 'floor': 3.0, 'share': 0.75}
        """
        floor = self.floor(works)
        return {
            "seconds": round(seconds, 4),
            "tokens_per_second": round(tokens / seconds, 1),
            "floor": round(floor, 4),
            "share": round(floor / seconds, 3),
        }

    def to_json(self) -> dict[str, float]:
        """In billions a second."""
        return {"gflops": round(self.rate / 1e9, 1), "gigabytes": round(self.bandwidth / 1e9, 1)}


def require_cpu(device: str) -> None:
    """Refuses a card, whose limit is not measured here.

    Raises:
        ConfigError: It is one.
    """
    if device != "cpu":
        raise ConfigError(f"Limits are measured on a CPU, and the model is on {device}", "Set CUDA_VISIBLE_DEVICES=''.")


def probes(shape: Shape, dtype: Any) -> dict[str, Callable[[], object]]:
    """What the limit is measured by: a product for each shape of layer, and reading an array."""
    import torch

    def product(wide: int, high: int) -> Callable[[], object]:
        rows, weight = torch.rand(ROWS, wide).to(dtype), torch.rand(high, wide).to(dtype)
        return lambda: torch.nn.functional.linear(rows, weight)

    array = torch.rand(READ // 4)
    products = {f"{wide}x{high}": product(wide, high) for wide, high in sorted(set(shape.linears.values()))}
    return {**products, _READING: array.sum}


def limit(seconds: Mapping[str, float]) -> Limit:
    """The limit from the median seconds of each of :func:`probes`.

    >>> limit({"10x20": 0.001, "20x10": 0.002, "reading": 0.5}).rate == 2 * ROWS * 10 * 20 / 0.001
    True
    """
    sizes = {name: math.prod(map(int, name.split("x"))) for name in seconds if name != _READING}
    return Limit(max(2 * ROWS * size / seconds[name] for name, size in sizes.items()), READ / seconds[_READING])
