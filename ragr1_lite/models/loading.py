"""Loads a model for sampling and training: by unsloth on CUDA, by transformers elsewhere.

unsloth patches trl and transformers while it is imported, so it has to come before them: call
:func:`import_unsloth_first` before importing trl.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ragr1_lite.config import LoraConfig, Recipe
from ragr1_lite.core.errors import ModelError, first_line, out_of_memory
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.models import cpu_speed, precision, upstream
from ragr1_lite.models.adapter_folder import find_adapter
from ragr1_lite.models.builtin import cache_root
from ragr1_lite.models.hub import ADAPTER_CONFIG, find_folder, without_adapter
from ragr1_lite.models.precision import Compute, Dtype
from ragr1_lite.models.processes import local_rank, main_first, processes
from ragr1_lite.models.tokenizer import ChatTokenizer
from ragr1_lite.versions import install_hint

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Engine = Literal["auto", "unsloth", "transformers"]


@dataclass(frozen=True)
class ModelSpec:
    """Which model, and how."""

    name: str  # built-in, such as ``smollm2-135m``, a local folder, or a hub id
    dtype: Dtype = "auto"  # of the weights; see :class:`~ragr1_lite.config.ModelConfig`
    engine: Engine = "auto"  # likewise
    adapter: str | None = None  # see :func:`~ragr1_lite.models.adapter_folder.find_adapter`; None for the bare model
    max_length: int = 2048  # longest sequence in tokens; only unsloth has to know it beforehand
    compute: Compute | None = None  # what weights are multiplied in; None: as stored, 4 bits in what is fastest here
    threads: int | None = None  # of torch on a CPU. None: measured


def model_spec(recipe: Recipe) -> ModelSpec:
    """The model a recipe names."""
    model = recipe.model
    return ModelSpec(model.name, model.dtype, model.engine, model.adapter, recipe.rollout.max_length)


@dataclass
class Policy:
    """A loaded model, wrapped by peft where it has an adapter; in ``spec`` every ``auto`` is resolved.

    ``dtype`` and ``compute`` are what was loaded, whatever was asked for.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: ChatTokenizer
    spec: ModelSpec
    engine: str
    dtype: str
    compute: Compute
    device: str


def load_policy(spec: ModelSpec, *, lora: LoraConfig | None = None, report: Report = ignore) -> Policy:
    """Loads a model, reports which and why, and attaches an adapter.

    With ``lora`` the policy is trainable: a fresh adapter, or ``spec.adapter`` continued.

    Raises:
        ModelError: The model or adapter is missing, broken, unreachable or does not fit.
        StorageError: The model cache cannot be written.
    """
    spec, why = _resolve(spec)
    if spec.engine == "unsloth":
        import_unsloth_first()
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # progress is shown by our own events
    upstream.silence()
    with main_first():  # the others find what it fetched
        folder = find_folder(spec.name, report)
        adapter = find_adapter(spec.adapter, spec.name, report) if spec.adapter else None
    if adapter:
        adapter.require_fit(spec.name, report)
        spec = replace(spec, adapter=str(adapter.folder))
        if lora:
            adapter.require_trainable(lora, report)
    elif (folder / ADAPTER_CONFIG).is_file():
        report(Notice(f"The adapter that lies in {folder} is left out"))
    tokenizer = ChatTokenizer.load(folder, report)
    with without_adapter(folder) as bare, redirect_stdout(sys.stderr):  # unsloth prints, and results go to stdout
        model = _load_unsloth(bare, spec, lora) if spec.engine == "unsloth" else _load_plain(bare, spec, lora)
    if lora and (ends := upstream.adapted_ends(model)):
        raise ModelError(
            f"An adapter of {', '.join(ends)} cannot be trained: losses are computed past it",
            "Leave it out of lora.targets, or go on from another adapter; this one can only be asked.",
        )
    if bare != folder:
        model.name_or_path = model.config.name_or_path = str(folder)
    device = str(next(model.parameters()).device.type)
    dtype, compute = precision.loaded(model)
    spec = replace(spec, dtype=dtype, compute=compute)
    kept = dtype if dtype == compute else f"{dtype}, computed in {compute},"
    report(Notice(f"Model {spec.name} in {kept} on {device} by {spec.engine} ({why})"))
    return Policy(model, tokenizer, spec, spec.engine, dtype, compute, device)


def import_unsloth_first() -> bool:
    """Imports unsloth where it can run, and returns whether it did; raises ModelError where it is there but broken."""
    if not has_unsloth():
        return False
    upstream.settle_unsloth(cache_root() / "unsloth")
    try:
        with redirect_stdout(sys.stderr):
            importlib.import_module("unsloth")
    except Exception as error:  # it raises whatever its patches meet
        raise ModelError(
            f"unsloth is installed but cannot be imported: {first_line(error)}",
            f"{install_hint('gpu')}, or set model.engine to transformers.",
        ) from error
    return True


def has_unsloth() -> bool:
    """Whether unsloth is installed and there is a CUDA device, without which its import fails."""
    return importlib.util.find_spec("unsloth") is not None and _has_cuda()


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _resolve(spec: ModelSpec) -> tuple[ModelSpec, str]:
    """Fills in every ``auto`` and explains the choice."""
    cuda = _has_cuda()
    engine, threads = spec.engine, spec.threads
    dtype, compute, reasons = precision.choose(spec.name, spec.dtype, spec.compute, cuda=cuda)
    why = ["CUDA device found" if cuda else "no CUDA device", *reasons]
    if dtype == "fp16" and not cuda:
        raise ModelError("dtype fp16 needs a CUDA device", "Set model.dtype to auto.")
    if not cuda:
        cpu_speed.keep_freed_memory()
        threads = cpu_speed.use_best_threads(spec.threads)
        why.append(f"{threads} thread{'s' if threads > 1 else ''}")
    if engine == "unsloth" and not has_unsloth():
        raise ModelError(
            "unsloth is not installed or there is no CUDA device" if cuda else "unsloth needs a CUDA device",
            f"{install_hint('gpu')} on a machine with an NVIDIA card, or set model.engine to transformers.",
        )
    if engine == "auto":
        engine = "unsloth" if cuda and has_unsloth() else "transformers"
        if cuda and engine == "transformers":
            why.append("unsloth is not installed")
    if dtype == "nf4" and importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("dtype nf4 needs bitsandbytes", "pip install bitsandbytes, or set model.dtype to bf16.")
    return replace(spec, dtype=dtype, engine=engine, compute=compute, threads=threads), ", ".join(why)


def _load_plain(folder: Path, spec: ModelSpec, lora: LoraConfig | None) -> PreTrainedModel | PeftModel:
    """Loads by transformers, bitsandbytes and peft."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    compute = precision.to_torch(spec.compute)
    options: dict[str, Any] = {"dtype": compute}
    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": compute}
    try:
        if spec.dtype == "nf4" and not precision.is_quantized(folder):
            options["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True, **nf4)
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            attn_implementation="sdpa",
            device_map={"": local_rank() if torch.cuda.is_available() else "cpu"},
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # a broken file raises errors of many types
        raise _not_loadable(folder, error) from error
    if missing := [key for key in info["missing_keys"] if "lm_head" not in key]:
        raise ModelError(
            f"The weights in {folder} lack {len(missing)} tensors, {missing[0]} among them", "Download the model again."
        )
    if precision.loaded(model)[0] == "nf4":
        upstream.compute_4bit_in(model, compute)
    return _with_adapter(model, spec, lora)


def _not_loadable(folder: Path, error: Exception, by: str = "transformers") -> Exception:
    """The error of a model that is there and cannot be loaded; where memory ran out, that."""
    from safetensors import SafetensorError

    if out_of_memory(error):
        hint = "Set model.dtype to nf4, take a smaller model, or end what else uses the memory."
    elif isinstance(error, SafetensorError | OSError):
        hint = "Download it again."
    elif by == "unsloth":
        hint = "Set model.engine to transformers, which may know what unsloth does not."
    else:
        hint = "Check that your transformers version knows this architecture, or download the model again."
    return ModelError(f"The model in {folder} cannot be loaded by {by}: {first_line(error)}", hint)


def _load_unsloth(folder: Path, spec: ModelSpec, lora: LoraConfig | None) -> PreTrainedModel | PeftModel:
    """Loads by unsloth, which has its own kernels; peft attaches the adapter, as elsewhere."""
    from unsloth import FastLanguageModel

    try:
        model, _ = FastLanguageModel.from_pretrained(
            model_name=str(folder),
            max_seq_length=spec.max_length,
            dtype=precision.to_torch(spec.compute),
            load_in_4bit=spec.dtype == "nf4",
            local_files_only=True,
            **({"device_map": {"": local_rank()}} if processes() > 1 else {}),  # else it chooses itself
        )
    except Exception as error:
        raise _not_loadable(folder, error, by="unsloth") from error
    model = _with_adapter(model, spec, lora)
    return upstream.unsloth_kernels(model) if lora else model


def _with_adapter(model: PreTrainedModel, spec: ModelSpec, lora: LoraConfig | None) -> PreTrainedModel | PeftModel:
    """Attaches the adapter of ``spec`` or a fresh one, in fp32 whatever the base is in."""
    import peft
    from safetensors import SafetensorError

    model.requires_grad_(False)
    if spec.adapter:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice about merging, which lora.py knows
                warnings.filterwarnings("error", "Found missing adapter keys")  # else they stay as they were drawn
                adapted = peft.PeftModel.from_pretrained(model, spec.adapter, is_trainable=lora is not None)
        except (SafetensorError, OSError, TypeError) as error:
            raise ModelError(
                f"The adapter in {spec.adapter} is broken: {first_line(error)}", "Copy it again from where it was made."
            ) from error
        except Exception as error:  # wrong sizes and unknown layers raise errors of many types
            raise ModelError(
                f"The adapter in {spec.adapter} does not fit {spec.name}: {first_line(error)}",
                "Load it with the model it was trained on, which its adapter_config.json names.",
            ) from error
        if lora and _train_whole_layers_in_fp32(adapted):
            adapted.load_adapter(spec.adapter, "default", is_trainable=True)  # again, without rounding
        return adapted
    if lora is None:
        return model
    shape = {"r": lora.r, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    config = peft.LoraConfig(**shape, target_modules=lora.target_modules, task_type="CAUSAL_LM")
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(
            f"{spec.name} has none of the layers {', '.join(lora.targets)}", "Name its linear layers in lora.targets."
        ) from error


def _train_whole_layers_in_fp32(model: PeftModel) -> bool:
    """Has layers that an adapter trains as a whole be in fp32 as LoRA is, where small updates do not vanish.

    Returns whether there are any that were not.
    """
    import torch

    layers = [layer for layer in upstream.whole_layers(model) if next(layer.parameters()).dtype != torch.float32]
    for layer in layers:
        dtype = next(layer.parameters()).dtype
        layer.float()
        layer.register_forward_pre_hook(
            lambda _, given: tuple(x.float() if x.is_floating_point() else x for x in given)
        )
        layer.register_forward_hook(lambda _, given, result, dtype=dtype: result.to(dtype))
    return bool(layers)
