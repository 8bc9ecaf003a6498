"""Predicted memory against measured: `python docs/studies/memory.py [cpu | cuda] [FOLDER]`.

Each case is planned, then trained for two steps in a process of its own, as `ragr1-lite plan --probe` does. Prints the
table of docs/memory.md for this machine, a row as soon as it is measured. FOLDER receives models with the sizes of
Qwen2.5 and Qwen3, random weights and SmolLM2's tokenizer: memory asks for no more, and nothing has to be fetched.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks import machine
from ragr1_lite.config import load_recipe
from ragr1_lite.models.builtin import DEFAULT_MODEL
from ragr1_lite.models.hub import find_folder
from ragr1_lite.training.planning import corrected, probe
from ragr1_lite.training.planning.shapes import TABLE

Case = tuple[str, str, str, int, int, int]
"""Task, model, dtype, micro-batch, length, rows sampled together (0 for SFT)."""

CPU: list[Case] = [
    ("sft", DEFAULT_MODEL, "fp32", 2, 256, 0),
    ("sft", DEFAULT_MODEL, "fp32", 4, 256, 0),
    ("sft", DEFAULT_MODEL, "fp32", 2, 512, 0),
    ("sft", DEFAULT_MODEL, "nf4", 1, 256, 0),
    ("grpo", DEFAULT_MODEL, "fp32", 4, 256, 24),
    ("grpo", DEFAULT_MODEL, "fp32", 1, 512, 8),
]
CUDA: list[Case] = [
    (task, model, "nf4", micro, 4096, rows)
    for model, micro in (
        ("qwen2.5-0.5b", 4),
        ("qwen2.5-1.5b", 2),
        ("qwen2.5-3b", 2),
        ("qwen2.5-7b", 1),
        ("qwen3-4b", 1),
    )
    for task, rows in (("sft", 0), ("grpo", 16))
] + [("sft", "qwen2.5-1.5b", "bf16", 2, 4096, 0), ("sft", "qwen2.5-1.5b", "nf4", 8, 1024, 0)]


def main(device: str, folder: Path) -> None:
    """Prints the table."""
    packages = ("torch", "transformers", "trl", "peft", "bitsandbytes")
    print(machine(), *(f"{package} {version(package)}" for package in packages), sep=", ")
    print(
        "\n| task | model | dtype | micro-batch | length | rows | predicted GB | measured GB | ratio |\n"
        + "|---" * 9
        + "|"
    )
    for case in CUDA if device == "cuda" else CPU:
        predicted, measured = compare(case, folder)
        cells = (*case[:5], case[5] or "", f"{predicted:.2f}", f"{measured:.2f}", f"{predicted / measured:.3f}")
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def compare(case: Case, folder: Path) -> tuple[float, float]:
    """Predicted and measured peak of a case, GB."""
    task, model, dtype, micro, length, rows = case
    name = model if model == DEFAULT_MODEL else str(random_model(model, folder))
    adapter = "shipped" if task == "grpo" and model == DEFAULT_MODEL else "null"
    recipe = load_recipe(
        f"{task}-{DEFAULT_MODEL}",
        [
            f"model.name={name}",
            f"model.dtype={dtype}",
            f"model.adapter={adapter}",
            f"train.micro_batch={micro}",
            f"train.batch_size={24 if task == 'grpo' else 4}",
            f"rollout.batch_size={rows or 1}",
        ],
    )
    found = corrected(recipe, probe(recipe, length), length=length).probe
    assert found is not None
    return found["predicted_gb"], found["peak_gb"]


def random_model(name: str, folder: Path) -> Path:
    """A model folder with the sizes of a model, made where it is missing."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    made = folder / name
    if made.is_dir():
        return made
    sizes = asdict(TABLE[name])
    config = AutoConfig.for_model(sizes.pop("family"), **sizes)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(made)
    for file in find_folder(DEFAULT_MODEL).iterdir():
        if "token" in file.name or file.suffix == ".jinja":
            shutil.copy(file, made)
    return made


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as fresh:
        main(*(sys.argv[1:2] or ["cpu"]), Path(sys.argv[2] if len(sys.argv) > 2 else fresh))
