"""SFT and GRPO on an NVIDIA card: ``python -m pytest tests/gpu -m gpu`` (``make test-slow`` on a machine with one).

The model is Qwen2.5's architecture at the 0.5B shape with random weights and its real tokenizer, so nothing is taken
from a hub; RAGR1_LITE_GPU_MODEL names another one. Both engines are run where unsloth is installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")]

ENGINES = ["transformers", *(["unsloth"] if importlib.util.find_spec("unsloth") else [])]


@pytest.fixture(scope="module")
def model(qwen2_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    if named := os.environ.get("RAGR1_LITE_GPU_MODEL"):
        return named
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("qwen") / "qwen2.5-0.5b-random"
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(qwen2_tokenizer_folder).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("engine", ENGINES)
def test_sft_then_grpo_in_four_bits(model: str, engine: str, tmp_path: Path) -> None:
    from ragr1_lite import grpo, sft
    from ragr1_lite.config import load_recipe

    common = [f"model.name={model}", f"model.engine={engine}", "model.dtype=nf4", "rollout.max_new_tokens=64"]
    first = load_recipe("sft-qwen2.5-1.5b", [*common, "train.steps=5", f"output={tmp_path / 'sft'}"])
    trained = sft.train(first)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "sft/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    second = load_recipe(
        "grpo-qwen2.5-1.5b",
        [
            *common,
            f"model.adapter={trained.adapter}",
            "train.steps=2",
            "train.batch_size=16",
            f"output={tmp_path / 'grpo'}",
        ],
    )
    assert grpo.train(second).steps == 2
    print(f"{engine}: peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
