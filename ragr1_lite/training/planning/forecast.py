"""A plan: what a recipe takes at most, whether that fits, and what would."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from ragr1_lite.config import ALL_LINEAR, Recipe
from ragr1_lite.core.errors import ModelError
from ragr1_lite.models import precision
from ragr1_lite.models.adapter_folder import require_adapter
from ragr1_lite.training.planning import machine, memory
from ragr1_lite.training.planning.machine import GIB, Device
from ragr1_lite.training.planning.memory import Setting
from ragr1_lite.training.planning.shapes import find_shape
from ragr1_lite.training.planning.suggest import suggest

RUNTIME = {"cuda": 0.6 * GIB, "cpu": 580e6}
"""What is held without a model. CPU, measured: Python, PyTorch, TRL and what they import, a tokenizer. CUDA, nominal:
the context, kernels and cuBLAS's workspaces."""
ALLOCATOR = {"cuda": 0.05, "cpu": 0.38}
"""What the allocator holds beyond what is asked of it, as a share. CPU, measured in training: freed blocks are kept
(:func:`ragr1_lite.models.cpu_speed.keep_freed_memory`), and not each fits what is asked for next. CUDA, nominal:
PyTorch rounds blocks up and keeps freed ones."""
ROOM = 0.95  # share of a memory that a plan may fill: a card's screen, a machine's other programs need some


@dataclass(frozen=True, slots=True)
class Correction:
    """What a probe found: of what is held before training, bytes more or less; of what comes and goes, a factor."""

    runtime: float = 0.0
    working: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe takes."""

    task: str
    model: str
    device: Device
    dtype: str  # of the weights, ``auto`` resolved
    length: int  # tokens of the longest sequence
    peak_gb: float  # the most that is held: of the card's memory, or of a CPU's the resident memory of the process
    moment: str  # when: ``loss``, ``backward`` or ``sampling``
    parts: Mapping[str, float]  # GB of each part at that moment; they add up to the peak
    moments: Mapping[str, float]  # GB of each moment
    gpu_gb: float | None  # what there is; None where that is not known
    fits: bool | None  # whether the peak leaves some of it; None where that is not known
    suggestion: Mapping[str, int]  # recipe keys to change, with their values; empty where nothing is to be
    notes: tuple[str, ...]  # what to know about these figures, sentences
    seconds_per_step: float | None = None  # measured by a probe; None without one
    probe: Mapping[str, float | None] | None = None  # what a probe measured and what had been predicted

    def to_json(self) -> dict[str, Any]:
        """Everything, GB and seconds rounded."""
        return {name: _rounded(value) for name, value in asdict(self).items()}


def plan(
    recipe: Recipe,
    *,
    gpu_gb: float | None = None,
    length: int | None = None,
    device: Device | None = None,
    correction: Correction | None = None,
) -> Plan:
    """Predicts memory from the recipe and the model's sizes; nothing is loaded, nothing fetched.

    ``gpu_gb`` is the card's memory, by default that of the card or, on a CPU, of the machine; ``length`` the tokens of
    the longest sequence, by default ``rollout.max_length``, the worst case. The device is by default ``cuda`` where
    ``gpu_gb`` is given or a card is there.

    Raises:
        ModelError: The model's sizes are not known here.
    """
    if device is None:
        device = "cuda" if gpu_gb is not None or machine.has_card() else "cpu"
    gpu_gb = gpu_gb or machine.memory_gb(device)
    setting = to_setting(recipe, device, length)

    def moments(one: Recipe) -> dict[str, dict[str, float]]:
        return _moments(one, to_setting(one, device, length), gpu_gb, correction or Correction())

    found = moments(recipe)
    totals = {name: sum(parts.values()) / GIB for name, parts in found.items()}
    moment = max(totals, key=lambda name: totals[name])
    suggestion: dict[str, int] | None = {}
    if gpu_gb is not None:
        suggestion = suggest(
            recipe,
            ROOM * gpu_gb,
            lambda one: max(sum(parts.values()) for parts in moments(one).values()) / GIB,
            grow=device == "cuda",
            shorten=length is None,
        )
    return Plan(
        task=recipe.task,
        model=recipe.model.name,
        device=device,
        dtype=setting.dtype,
        length=setting.length,
        peak_gb=totals[moment],
        moment=moment,
        parts={name: value / GIB for name, value in found[moment].items() if value},
        moments=totals,
        gpu_gb=gpu_gb,
        fits=None if gpu_gb is None else totals[moment] <= ROOM * gpu_gb,
        suggestion=suggestion or {},
        notes=_notes(recipe, setting, length, suggestion, gpu_gb),
    )


def to_setting(recipe: Recipe, device: Device, length: int | None = None) -> Setting:
    """What the formulas need of a recipe, every ``auto`` resolved as the loader would."""
    rank, targets = _adapter_shape(recipe)
    dtype, compute, _ = precision.choose(recipe.model.name, recipe.model.dtype, cuda=device == "cuda")
    return Setting(
        shape=find_shape(recipe.model.name),
        task=recipe.task,
        device=device,
        dtype=dtype,
        stream=4 if compute == "fp32" else 2,
        rank=rank,
        targets=targets,
        micro_batch=recipe.train.micro_batch,
        length=length or recipe.rollout.max_length,
        rows=min(recipe.rollout.batch_size, recipe.train.batch_size),
        reference=recipe.task == "grpo" and recipe.grpo.beta > 0,
    )


def _adapter_shape(recipe: Recipe) -> tuple[int, tuple[str, ...]]:
    """Rank and targets: those of the adapter that the training goes on with, where that is here, else the recipe's."""
    own: Mapping[str, Any] = {}
    with suppress(ModelError):  # it may be made yet
        if adapter := require_adapter(recipe):
            own = adapter.config
    targets = own.get("target_modules")
    if isinstance(targets, str):  # a pattern, unless it is every layer
        targets = (targets,) if targets == ALL_LINEAR else None
    return int(own.get("r") or recipe.lora.r), tuple(targets or recipe.lora.targets)


def allocator_share(device: Device, moment: str) -> float:
    """What the allocator adds at a moment; a CPU's sampling was measured to need nothing more."""
    return 0.0 if (device, moment) == ("cpu", "sampling") else ALLOCATOR[device]


def _moments(
    recipe: Recipe, setting: Setting, gpu_gb: float | None, correction: Correction
) -> dict[str, dict[str, float]]:
    found = memory.moments(setting, max(RUNTIME[setting.device] + correction.runtime, 0.0))
    for name, parts in found.items():
        for part in memory.WORKING & parts.keys():
            parts[part] *= correction.working
        parts["allocator"] = allocator_share(setting.device, name) * (sum(parts.values()) - parts["runtime"])
        if _uses_vllm(recipe, setting.device):
            for part in memory.SAMPLING & parts.keys() if name == "sampling" else ():
                parts[part] = 0.0
            parts["vllm"] = recipe.rollout.gpu_share * (gpu_gb or 0.0) * GIB
    return found


def _uses_vllm(recipe: Recipe, device: Device) -> bool:
    if recipe.task == "sft" or device == "cpu" or recipe.rollout.engine == "transformers":
        return False
    return recipe.rollout.engine == "vllm" or (importlib.util.find_spec("vllm") is not None and machine.has_card())


def _notes(
    recipe: Recipe, setting: Setting, length: int | None, suggestion: Mapping[str, int] | None, gpu_gb: float | None
) -> tuple[str, ...]:
    longest = "--length" if length else "rollout.max_length, the worst case"
    notes = [f"For sequences of {setting.length} tokens ({longest}); shorter ones take less memory and time."]
    if setting.rank != recipe.lora.r:
        notes.append(f"{recipe.model.adapter} has rank {setting.rank}, not the recipe's {recipe.lora.r}, and keeps it.")
    if setting.device == "cuda":
        notes.append("Predicted for transformers and peft, not measured on a card; unsloth takes less.")
    else:
        notes.append("Rows that begin alike take less: what they share is computed once.")
    if _uses_vllm(recipe, setting.device) and gpu_gb is None:
        notes.append("What vLLM takes is not counted: give --gpu-gb.")
    if suggestion is None:
        notes.append("Nothing smaller fits either: choose a smaller model or, where it is not nf4, model.dtype=nf4.")
    return tuple(notes)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
