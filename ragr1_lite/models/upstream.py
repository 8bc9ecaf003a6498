"""The private and unstable names of other libraries: all that this package touches of them.

A release may change any of them without notice. Each entry names the version that it was read from; on a new version,
read them again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def attention(model: Any, name: str) -> Iterator[None]:
    """Has a model compute attention by the registered function of this name while the block runs.

    transformers 5.17.0, ``config._attn_implementation``.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = base.config._attn_implementation
    base.set_attn_implementation(name)
    try:
        yield
    finally:
        base.set_attn_implementation(before)


def can_pack_linear() -> bool:
    """Whether this torch has the operators of :func:`packed_linear`. torch 2.13.0, ``torch.ops.mkldnn``."""
    import torch

    return all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))


def packed_linear(layer: Any, rows: int) -> Callable[[Any], Any]:
    """A linear layer's product, its weight laid out once for so many rows. torch 2.13.0, ``torch.ops.mkldnn``."""
    import torch

    packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
    return lambda inputs: torch.ops.mkldnn._linear_pointwise(inputs, packed, layer.bias, "none", [], "")


def lost_connection(error: RuntimeError) -> bool:
    """Whether the connection between processes broke. torch 2.13.0: gloo's errors have no type of their own."""
    import torch

    return isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)


def silence_bitsandbytes() -> None:
    """Leaves out the warning that an optional kernel is missing. bitsandbytes 0.50.2."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def keep_4bit_gradients(model: Any) -> None:
    """Keeps 4-bit layers trainable on a CPU. bitsandbytes 0.50.2, ``Linear4bit.support_avx512bf16_for_cpu``.

    On CPUs with AVX512-BF16 the first forward in eval mode repacks the weights for inference, and every later training
    step goes on without a gradient, silently.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def lora_layers(model: Any) -> Sequence[Any]:
    """The layers that carry an adapter. peft 0.21.2, ``BaseTunerLayer``."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def forget_merge(layer: Any) -> None:
    """Has an adapter's layer count as unmerged, whose base weight was put back. peft 0.21.2, ``merged_adapters``."""
    layer.merged_adapters.clear()
