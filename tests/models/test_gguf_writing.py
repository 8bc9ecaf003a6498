"""GGUF files written: read again they are the same model and the same tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer

from ragr1_lite.core.errors import ModelError
from ragr1_lite.models.gguf import convert
from ragr1_lite.models.gguf_writing import write_gguf
from tests.models.test_gguf import VOCABULARIES, made
from tests.support import gguf_files

__all__ = ["made"]


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        found: torch.Tensor = model(torch.arange(30)[None] * 7 % model.config.vocab_size).logits
    return found


def test_it_is_the_same_model(made: tuple[str, Any, Path], tmp_path: Path) -> None:
    """16 bits hold the tiny model's weights exactly."""
    _, _, folder = made
    write_gguf(folder, tmp_path / "x.gguf")
    convert(tmp_path / "x.gguf", tmp_path / "again")
    torch.testing.assert_close(logits(tmp_path / "again"), logits(folder))
    for name in ("config.json", "generation_config.json"):
        one, other = (json.loads((place / name).read_text("utf-8")) for place in (folder, tmp_path / "again"))
        assert one == other


def test_it_is_the_same_tokenizer(made: tuple[str, Any, Path], tmp_path: Path) -> None:
    _, _, folder = made
    write_gguf(folder, tmp_path / "x.gguf")
    convert(tmp_path / "x.gguf", tmp_path / "again")
    one, other = (AutoTokenizer.from_pretrained(place) for place in (folder, tmp_path / "again"))
    text = "the  thing in 1234, café\n\n<|im_end|> 青 <b>"
    assert one(text).input_ids == other(text).input_ids
    assert (one.eos_token, one.pad_token, one.bos_token) == (other.eos_token, other.pad_token, other.bos_token)
    assert one.chat_template == other.chat_template


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_an_output_layer_of_its_own(architecture: str, tmp_path: Path) -> None:
    """Comes back as one, next to the embedding."""
    vocabulary = VOCABULARIES[architecture]
    model = gguf_files.model(architecture, len(vocabulary["tokens"]), tied=False)
    convert(gguf_files.write(tmp_path / "x.gguf", architecture, model, vocabulary), tmp_path / "model")
    ids = torch.arange(30)[None] * 7 % model.config.vocab_size
    with torch.no_grad():
        torch.testing.assert_close(logits(tmp_path / "model"), model(ids).logits)
    write_gguf(tmp_path / "model", tmp_path / "again.gguf")
    assert {"output.weight", "token_embd.weight"} <= {one.name for one in GGUFReader(tmp_path / "again.gguf").tensors}
    convert(tmp_path / "again.gguf", tmp_path / "again")
    torch.testing.assert_close(logits(tmp_path / "again"), logits(tmp_path / "model"))
    assert not json.loads((tmp_path / "again" / "config.json").read_text("utf-8"))["tie_word_embeddings"]


def test_eight_bits(made: tuple[str, Any, Path], tmp_path: Path) -> None:
    """Matrices are rounded by a 254th of their blocks' largest, vectors not at all."""
    _, _, folder = made
    write_gguf(folder, tmp_path / "x.gguf", "q8_0")
    kinds = {len(one.shape): one.tensor_type for one in GGUFReader(tmp_path / "x.gguf").tensors}
    assert kinds == {1: GGMLQuantizationType.F32, 2: GGMLQuantizationType.Q8_0}
    convert(tmp_path / "x.gguf", tmp_path / "again")
    found, expected = logits(tmp_path / "again"), logits(folder)
    assert 0 < float((found - expected).norm() / expected.norm()) < 0.1


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"model_type": "mamba"}, "A mamba model cannot be written as GGUF. Written: "),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}, "A scaled rotary embedding"),
    ],
)
def test_what_cannot_be_written(
    made: tuple[str, Any, Path], tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    _, _, folder = made
    config = json.loads((folder / "config.json").read_text("utf-8")) | changed
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelError, match=problem):
        write_gguf(tmp_path, tmp_path / "x.gguf")


def test_an_unknown_rule_of_cutting_texts(made: tuple[str, Any, Path], tmp_path: Path) -> None:
    architecture, _, folder = made
    if architecture != "llama":
        pytest.skip("transformers knows the rule by the model's type")
    fields = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    fields["pre_tokenizer"] = {"type": "Whitespace"}
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields), "utf-8")
    with pytest.raises(ModelError, match="cuts texts by a rule"):
        write_gguf(tmp_path, tmp_path / "x.gguf")
