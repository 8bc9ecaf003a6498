"""Runs the real unsloth on a machine without a card.

``UNSLOTH_ALLOW_CPU`` is unsloth's own switch for being imported without one; it leaves TRL alone then, so the calls by
which it changes TRL on a card are made here. What asks for a card is answered here, and the kernels, which are in
Triton, are written in PyTorch. So everything but kernels, 4 bits and speed is unsloth's own code.

unsloth changes transformers, peft and TRL for the whole process: import this before them, and in a process of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

os.environ |= {
    "UNSLOTH_ALLOW_CPU": "1",
    "UNSLOTH_COMPILE_LOCATION": tempfile.mkdtemp(prefix="unsloth-"),
    "UNSLOTH_DISABLE_PINNED_MEMORY": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "UNSLOTH_GRPO_PREFIX_GROUPER": "0",  # its attention has no backward pass on a CPU
    "TRITON_INTERPRET": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
}

import torch

CARD = SimpleNamespace(
    name="no card", total_memory=24 * 2**30, major=8, minor=0, multi_processor_count=1, gcnArchName="", is_integrated=0
)
STREAM = SimpleNamespace(cuda_stream=0, synchronize=lambda: None)


class _OnCpu(torch.overrides.TorchFunctionMode):
    """Makes on the CPU what is asked for on a card."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if "device" in kwargs:
            kwargs["device"] = _on_cpu(kwargs["device"])
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.to:
            args = (args[0], *(_on_cpu(arg) if isinstance(arg, str | torch.device | int) else arg for arg in args[1:]))
        return func(*args, **kwargs)


def _on_cpu(device: Any) -> Any:
    numbered = isinstance(device, int) and not isinstance(device, bool)
    return torch.device("cpu") if numbered or str(device).startswith("cuda") else device


def _pretend() -> None:
    """Answers for a card."""
    answers = {
        "get_device_properties": CARD,
        "get_device_capability": (CARD.major, CARD.minor),
        "get_device_name": CARD.name,
        "current_device": 0,
        "mem_get_info": (CARD.total_memory, CARD.total_memory),
        "synchronize": None,
        "empty_cache": None,
        "current_stream": STREAM,
        "default_stream": STREAM,
        "is_current_stream_capturing": False,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    start = torch.autocast.__init__

    def autocast(self: Any, device_type: str, *args: Any, **options: Any) -> None:
        start(self, "cpu" if device_type == "cuda" else device_type, *args, **options)

    torch.autocast.__init__ = autocast  # type: ignore[method-assign]
    _OnCpu().__enter__()


def _unsloths(attribute: str) -> Iterator[Any]:
    """unsloth's modules that have a name."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("unsloth", "unsloth_zoo") and hasattr(module, attribute):
            yield module


def _import() -> None:
    """Imports unsloth and lets it change TRL."""
    import unsloth  # noqa: F401

    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    for module in _unsloths("DEVICE_COUNT"):
        module.DEVICE_COUNT = 1
    from unsloth import context_parallel, trainer
    from unsloth.models import llama, rl

    def build_rope_cache(self: Any, device: Any) -> None:  # as unsloth's, but a CPU's number is None for it
        size = self.current_rope_size
        self._set_cos_sin_cache(self._rope_cache_rows(), torch.device("cpu", 0), self._rope_cache_dtype)
        self.current_rope_size, self._rope_cache_versions[0] = size, self._rope_cache_version

    llama._PerDeviceRopeCache._build_rope_cache = build_rope_cache
    rl.PatchFastRL(FastLanguageModel=llama.FastLlamaModel)
    trainer._patch_trl_trainer()
    context_parallel.patch_sft_trainer()


@contextmanager
def card(*, bf16: bool) -> Iterator[None]:
    """A card that computes in bf16, or an older one that does not."""
    before = torch.cuda.is_bf16_supported
    _set_bf16(lambda *_, **__: bf16)
    try:
        yield
    finally:
        _set_bf16(before)


def _set_bf16(supported: Any) -> None:
    torch.cuda.is_bf16_supported = supported
    for module in _unsloths("SUPPORTS_BFLOAT16"):
        module.SUPPORTS_BFLOAT16 = supported()


def _rms_norm(norm: Any, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.variance_epsilon)).to(x.dtype) * norm.weight


class _Rope(torch.autograd.Function):
    """Cosines and sines may have been made in inference mode, so autograd must not see them."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.cos, ctx.sin = cos, sin
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat((-right, left), -1) * sin

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        left, right = (gradient * ctx.sin).chunk(2, -1)
        return gradient * ctx.cos + torch.cat((right, -left), -1), None, None


def _rope(query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, places: Any = None) -> Any:
    length = query.shape[-2]
    at = torch.arange(length)[None] if places is None else places.reshape(-1, length).long()
    cos, sin = cos[at][:, None], sin[at][:, None]
    return _Rope.apply(query, cos, sin), _Rope.apply(key, cos, sin)


def _swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.silu(gate.float()).to(gate.dtype) * up


def _swiglu_backward(down: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, ...]:
    wide = gate.float()
    share = wide.sigmoid()
    active = (share * wide).to(down.dtype)
    slope = (share * (1 + wide * (1 - share))).to(down.dtype)
    return active * up, down * active, down * up * slope


def _unpacked(weight: torch.Tensor, state: Any = None, **_: Any) -> torch.Tensor:
    assert state is None, "4 bits need a card"
    return weight


def _replace_kernels() -> None:
    kernels = {
        "fast_rms_layernorm": _rms_norm,
        "fast_rope_embedding": _rope,
        "swiglu_fg_kernel": _swiglu,
        "swiglu_DWf_DW_dfg_kernel": _swiglu_backward,
        "fast_dequantize": _unpacked,
    }
    for name, ours in kernels.items():
        for module in _unsloths(name):
            setattr(module, name, ours)


_pretend()
_import()
_replace_kernels()
_set_bf16(lambda *_, **__: True)
