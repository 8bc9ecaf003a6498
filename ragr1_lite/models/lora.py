"""An adapter on a loaded model: saved, and merged into the base weights for sampling."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ragr1_lite.core.errors import ModelError
from ragr1_lite.files.writing import write_json, writing
from ragr1_lite.models import upstream
from ragr1_lite.models.loading import Policy

if TYPE_CHECKING:
    import torch


def save_adapter(
    policy: Policy,
    folder: Path | str,
    *,
    dtype: Literal["fp32", "bf16"] = "fp32",
    weights: dict[str, torch.Tensor] | None = None,
) -> Path:
    """Writes the adapter, whole or not at all, and returns its folder.

    Args:
        policy: The model with the adapter.
        folder: Where to write it.
        dtype: In bf16 it takes half the space; loading makes fp32 of it again.
        weights: The model's weights by name, where the model itself is sharded.

    Raises:
        ModelError: The policy has no adapter.
        StorageError: The folder cannot be written.
    """
    from peft import PeftModel

    folder = Path(folder)
    if not isinstance(policy.model, PeftModel):
        raise ModelError("The model has no adapter to save", "Load it with a LoRA first.")
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as making:
            fresh = Path(making) / "adapter"
            policy.model.save_pretrained(
                str(fresh),
                selected_adapters=[policy.model.active_adapter],
                save_embedding_layers=False,
                state_dict=weights,
            )
            name_base(fresh / "adapter_config.json", policy.spec.name)
            if dtype == "bf16":
                _halve(fresh / "adapter_model.safetensors")
            (fresh / "README.md").unlink(missing_ok=True)  # peft's empty card
            (fresh / "adapter_model.safetensors").chmod(0o644)  # safetensors leaves it to its owner alone
            if folder.exists():
                folder.rename(Path(making) / "old")
            fresh.rename(folder)
    return folder


def name_base(config: Path, base: str) -> None:
    """Sets the base model's name in place of its folder, so that a saved adapter can be used anywhere."""
    fields = json.loads(config.read_text(encoding="utf-8"))
    write_json(config, fields | {"base_model_name_or_path": base})


def _halve(path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    save_file({name: weight.to(torch.bfloat16) for name, weight in load_file(path).items()}, path, {"format": "pt"})


@contextmanager
def merged_for_sampling(policy: Policy) -> Iterator[None]:
    """Merges the adapter into the base weights while the block runs, since LoRA layers slow decoding down.

    Afterwards the same tensors as before are back, at the cost of a second copy of the adapted layers: subtracting the
    adapter would leave bf16 rounding. Does nothing for quantized models, for adapters of embeddings and without an
    adapter.
    """
    import torch

    if not _mergeable(policy):
        yield
        return
    originals: list[tuple[Any, torch.Tensor]] = []
    try:
        with torch.no_grad():
            for layer in upstream.lora_layers(policy.model):
                originals.append((layer, layer.get_base_layer().weight.data))
                layer.merge(safe_merge=True)  # safe: merges into a copy, which leaves the original untouched
        yield
    finally:
        for layer, weight in originals:
            layer.get_base_layer().weight.data = weight
            upstream.forget_merge(layer)


def merge_adapter(policy: Policy) -> None:
    """Merges the adapter for good, for use without training, where it can be merged."""
    if _mergeable(policy):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Input and output embeddings are no longer tied")  # as they should be
            policy.model = policy.model.merge_and_unload()


def _mergeable(policy: Policy) -> bool:
    from peft import PeftModel

    return (
        isinstance(policy.model, PeftModel)
        and policy.dtype != "nf4"
        and not upstream.adapted_ends(policy.model)
        and not upstream.has_lora_bias(policy.model)
    )
