"""Models for the card: Qwen2.5's shapes with random weights and the real tokenizer, so that nothing comes from a hub.

Speed and memory do not depend on the values of the weights. RAGR1_LITE_GPU_MODEL names a real model for the tests of
training; the tests of memory are about shapes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
ENGINES = ["transformers", *(["unsloth"] if importlib.util.find_spec("unsloth") else [])]
"""Those that are installed."""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def apart() -> Callable[..., dict[str, Any]]:
    """Runs one of :mod:`tests.gpu.work` in a process of its own and returns its figures."""

    def run(name: str, **arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.gpu.work", name],
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}

    return run


@pytest.fixture(scope="session")
def shaped(qwen2_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Makes the folder of a size such as ``0.5b``, one at a time: the largest takes 15 GB."""
    root = tmp_path_factory.mktemp("qwen")

    def make(size: str) -> Path:
        folder = root / f"qwen2.5-{size}-random"
        if not folder.is_dir():
            for other in root.iterdir():
                shutil.rmtree(other)
            _save_random(size, folder, qwen2_tokenizer_folder)
        return folder

    yield make
    shutil.rmtree(root)


def _save_random(size: str, folder: Path, tokenizer: Path) -> None:
    """Weights are drawn on the card, where that takes seconds."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from ragr1_lite.training.planning.shapes import find_shape

    shape = find_shape(f"Qwen/Qwen2.5-{size}-Instruct")
    config = Qwen2Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads,
        tie_word_embeddings=shape.tie_word_embeddings,
        max_position_embeddings=32_768,
    )
    with torch.device("cuda"):
        model = Qwen2ForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    del model
    torch.cuda.empty_cache()
    for file in tokenizer.iterdir():
        shutil.copy(file, folder)


@pytest.fixture
def model(shaped: Callable[[str], Path]) -> str:
    """The model to train: the 0.5B shape, or the one that RAGR1_LITE_GPU_MODEL names."""
    return os.environ.get("RAGR1_LITE_GPU_MODEL") or str(shaped("0.5b"))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Prints a test's figures as one line of JSON, with the card and the versions they were taken with."""
    names = ("torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth", "vllm")

    def show(**figures: Any) -> None:
        there = {name: importlib.metadata.version(name) for name in names if importlib.util.find_spec(name)}
        line = {"test": request.node.name, "card": torch.cuda.get_device_name()} | figures | {"versions": there}
        print("\n" + json.dumps(line))

    return show
