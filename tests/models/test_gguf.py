"""GGUF files converted: the same logits as the model they were written from, and its tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ragr1_lite.core.errors import ModelError
from ragr1_lite.models.gguf import convert
from tests.support import gguf_files

MERGES = ["Ġ t", "h e", "Ġt he", "1 2", "' m", "Ġ Ġ", "Ã ©"]
ENDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PIECES = ["▁t", "he", "▁the", "in", "ing", "th", "▁▁", "▁", *"abcdeghinrt"]
VOCABULARIES: dict[str, dict[str, Any]] = {
    "llama": gguf_files.byte_level("smollm", MERGES, ENDS, [], start="<|im_start|>", padding="<|im_end|>"),
    "qwen2": gguf_files.byte_level("qwen2", MERGES, ENDS, ["<tool_call>"], start=ENDS[0], padding=ENDS[0]),
    "qwen3": gguf_files.byte_level("qwen2", MERGES, ENDS, ["<think>"], start=ENDS[0], padding=ENDS[0]),
    "gemma3": gguf_files.sentencepiece(PIECES, ["   ", "\n\n", "<b>"]),
}


@pytest.fixture(scope="module", params=list(VOCABULARIES))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Path]:
    """An architecture, a model of it, and the folder converted from the GGUF file of that model."""
    folder = tmp_path_factory.mktemp(request.param)
    vocabulary = VOCABULARIES[request.param]
    model = gguf_files.model(request.param, len(vocabulary["tokens"]))
    head = request.param == "qwen2"
    convert(gguf_files.write(folder / "x.gguf", request.param, model, vocabulary, head=head), folder / "model")
    return request.param, model, folder / "model"


def test_the_logits_are_the_models(made: tuple[str, Any, Path]) -> None:
    """Over more tokens than Gemma's window, in layers of both kinds; Qwen2's embedding is there twice, once coarse."""
    _, model, folder = made
    converted, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = torch.arange(30)[None] * 7 % model.config.vocab_size
    with torch.no_grad():
        torch.testing.assert_close(converted(ids).logits, model(ids).logits)
    assert converted.get_output_embeddings().weight is converted.get_input_embeddings().weight


def test_the_config_is_the_models(made: tuple[str, Any, Path]) -> None:
    _, model, folder = made
    config = json.loads((folder / "config.json").read_text("utf-8"))
    expected = model.config.to_dict()
    named = {"architectures", "dtype", "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id"}
    assert {key: value for key, value in config.items() if expected[key] != value}.keys() <= named
    assert config["architectures"] == [type(model).__name__]


def test_what_ends_a_turn_and_fills_a_batch(made: tuple[str, Any, Path]) -> None:
    """The padding is never the end of a turn: that would be left out of a training, as padding is."""
    architecture, _, folder = made
    tokens = VOCABULARIES[architecture]["tokens"]
    generation = json.loads((folder / "generation_config.json").read_text("utf-8"))
    assert [tokens[i] for i in generation["eos_token_id"]] == (
        ["<eos>", "<end_of_turn>"] if architecture == "gemma3" else ["<|im_end|>", "<|endoftext|>"]
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert generation["pad_token_id"] == tokenizer.pad_token_id
    assert tokenizer.pad_token == ("<pad>" if architecture == "gemma3" else "<|endoftext|>")
    assert tokenizer.eos_token == ("<eos>" if architecture == "gemma3" else "<|im_end|>")
    assert (
        tokenizer.bos_token == {"llama": "<|im_start|>", "qwen2": None, "qwen3": None, "gemma3": "<bos>"}[architecture]
    )
    assert bool(tokenizer.chat_template) == (architecture != "gemma3")


SPLIT = {
    "llama": {
        " the 12": ["Ġthe", "Ġ", "1", "2"],
        "  the": ["Ġ", "Ġthe"],
        "I'm e\u0301<|im_end|>": ["I", "'m", "Ġ", "e", "Ì", "ģ", "<|im_end|>"],
        "<tool_call>": [*"<tool_call>"],
    },
    "qwen2": {
        " the 12": ["Ġthe", "Ġ", "1", "2"],
        "  the": ["Ġ", "Ġthe"],
        "I'm e\u0301<|im_end|>": ["I", "'m", "Ġ", "Ã©", "<|im_end|>"],
        "<tool_call>": ["<tool_call>"],
        "[PAD1]": [*"[PAD1]"],
        "the": ["t", "he"],
    },
    "gemma3": {
        " the thing": ["▁the", "▁t", "h", "ing"],
        "theing": ["t", "he", "ing"],
        "a  b": ["a", "▁▁", "b"],
        "a   b": ["a", "▁▁▁", "b"],
        "a\n\nb<b>": ["a", "\n\n", "b", "<b>"],
        "é": ["<0xC3>", "<0xA9>"],
        "a<eos>": ["a", "<eos>"],
    },
}


@pytest.mark.parametrize("made", list(SPLIT), indirect=True)
def test_texts_are_split_as_by_the_original(made: tuple[str, Any, Path]) -> None:
    architecture, _, folder = made
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, expected in SPLIT[architecture].items():
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == expected, text
        assert tokenizer.decode(ids) == text.replace("e\u0301", "é" if architecture == "qwen2" else "e\u0301")
    opened = tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    assert opened == (architecture == "gemma3")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    vocabulary = VOCABULARIES["llama"]
    path = gguf_files.write(tmp_path / "x", "llama", gguf_files.model("llama", len(vocabulary["tokens"])), vocabulary)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"llama", b"other", 1))
    with pytest.raises(ModelError, match="architecture other cannot be read.*llama, qwen2, qwen3, gemma3"):
        convert(path, tmp_path / "model")
    path.write_bytes(content.replace(b"llama.block_count", b"llama.other_count"))
    with pytest.raises(ModelError, match="no llama.block_count"):
        convert(path, tmp_path / "model")
