"""In what weights are stored and passes compute: chosen for the machine, then read from what was loaded.

Everything that depends on a precision asks here or the loaded :class:`~.loading.Policy`: the trainer's autocast and
loss scaling, the proof's bounds, vLLM's copy, the memory plan.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from ragr1_lite.models import cpu_speed
from ragr1_lite.models.builtin import BUILT_IN
from ragr1_lite.models.processes import anywhere

if TYPE_CHECKING:
    import torch

Dtype = Literal["auto", "fp32", "bf16", "fp16", "nf4"]
Compute = Literal["fp32", "bf16", "fp16"]

TORCH: dict[str | None, str] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""What torch calls them."""
FAST_FP16 = (7, 0)  # the compute capability from which cards multiply fp16 faster than fp32 (Volta)


def choose(name: str, dtype: Dtype, compute: Compute | None = None, *, cuda: bool) -> tuple[Dtype, Compute, list[str]]:
    """In what a model is stored and computed here, and why; ``auto`` is resolved.

    4 bits are multiplied in ``compute``, by default what the machine is fastest at; all others in what they are stored.
    """
    if dtype in ("fp32", "fp16") or (dtype == "nf4" and compute):
        return dtype, compute or cast(Compute, dtype), []
    fastest = fastest_on(cuda=cuda)
    why = [f"{fastest} is the faster on this {'card' if cuda else 'CPU'}"] if not cuda or fastest != "bf16" else []
    if dtype == "bf16":
        return dtype, dtype, why
    if dtype == "nf4":
        return dtype, fastest, why
    if not cuda:
        return fastest, fastest, why
    if name in BUILT_IN and BUILT_IN[name].is_small:
        return fastest, fastest, [*why, "4 bits would save nothing on a model this small"]
    if importlib.util.find_spec("bitsandbytes") is None:
        return fastest, fastest, [*why, "bitsandbytes is not installed"]
    return "nf4", fastest, [*why, "bitsandbytes is installed"]


def fastest_on(*, cuda: bool) -> Compute:
    """What this machine multiplies fastest; a card that is only planned for is taken for one with bf16."""
    import torch

    if not cuda:  # measured; processes that train together have to agree
        return "bf16" if anywhere(cpu_speed.prefers_bf16()) else "fp32"
    if not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp16" if torch.cuda.get_device_capability() >= FAST_FP16 else "fp32"


def to_torch(compute: Compute | None) -> torch.dtype:
    """Torch's own dtype; None, which is only for what is not resolved yet, is a KeyError."""
    import torch

    dtype: torch.dtype = getattr(torch, TORCH[compute])
    return dtype


def is_quantized(folder: Path) -> bool:
    """Whether a model's weights are stored quantized, as in copies whose names end in ``bnb-4bit``."""
    return "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8"))


def loaded(model: Any) -> tuple[Dtype, Compute]:
    """In what a loaded model is stored and computed, whatever was asked for."""
    names = {to_torch(compute): compute for compute in get_args(Compute)}
    compute: Compute = names[model.config.dtype]
    return ("nf4" if getattr(model, "is_loaded_in_4bit", False) else compute), compute
