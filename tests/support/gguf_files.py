"""Small GGUF files with random weights, written as llama.cpp's converter writes them from a transformers model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, TokenType, get_tensor_name_map, quants
from tokenizers import pre_tokenizers

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "head_dim": 16,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-5,
}
CONTROL, USER_DEFINED = int(TokenType.CONTROL), int(TokenType.USER_DEFINED)


def model(architecture: str, vocabulary: int, *, tied: bool = True) -> Any:
    """A tiny random model of transformers' class for a GGUF architecture, in weights that bf16 holds exactly."""
    from transformers import (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
    )  # fmt: skip

    sizes = SIZES | {"vocab_size": vocabulary, "pad_token_id": 0, "tie_word_embeddings": tied}
    rope = {"rope_type": "default", "rope_theta": 50_000.0}
    if architecture == "llama":
        made: Any = LlamaForCausalLM(LlamaConfig(**sizes, rope_parameters=rope))
    elif architecture == "qwen2":
        made = Qwen2ForCausalLM(Qwen2Config(**sizes, rope_parameters=rope))
    elif architecture == "qwen3":
        made = Qwen3ForCausalLM(Qwen3Config(**sizes, rope_parameters=rope))
    else:
        local = {"rope_type": "default", "rope_theta": 10_000.0}
        ropes = {"full_attention": rope, "sliding_attention": local}
        config = Gemma3TextConfig(**sizes, sliding_window=8, query_pre_attn_scalar=16, rope_parameters=ropes)
        made = Gemma3ForCausalLM(config)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randint(-64, 65, weight.shape) / 128)
    return made.eval()


def write(path: Path, architecture: str, of: Any, vocabulary: dict[str, Any], *, head: bool = False) -> Path:
    """Writes a model and a vocabulary (GGUF's names to values); with ``head`` the embedding a second time, finer."""
    config = of.config
    writer = GGUFWriter(path, architecture)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if architecture in ("qwen3", "gemma3"):
        writer.add_key_length(config.head_dim)
    if architecture == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    for name, value in vocabulary.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
        add[type(value)](f"tokenizer.{name}" if name == "chat_template" else f"tokenizer.ggml.{name}", value)
    names = get_tensor_name_map(MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    for name, weight in of.named_parameters():
        values = weight.detach().numpy()
        if architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            values = _rotary_pairs(values, config.head_dim)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            values = values + 1
        found = names.get_name(name, (".weight", ".bias"))
        if head and found == "token_embd.weight":
            writer.add_tensor("output.weight", values)
            coarse = GGMLQuantizationType.Q5_0
            writer.add_tensor(found, quants.quantize(values, coarse), raw_dtype=coarse)
        else:
            writer.add_tensor(found, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _rotary_pairs(values: np.ndarray[Any, Any], head_dim: int) -> np.ndarray[Any, Any]:
    """Each head's rows in GGUF's order: i of the first half, i of the second, i + 1 of the first, …"""
    half = head_dim // 2
    order = [row + part for row in range(half) for part in (0, half)]
    heads = values.reshape(-1, head_dim, values.shape[1])
    return np.ascontiguousarray(heads[:, order].reshape(values.shape))


def byte_level(
    pre: str, merges: list[str], control: list[str], user_defined: list[str], *, start: str, padding: str
) -> dict[str, Any]:
    """A vocabulary of bytes, what the merges make, added tokens, and fillers that stand for nothing."""
    plain = sorted(pre_tokenizers.ByteLevel.alphabet()) + [merge.replace(" ", "") for merge in merges]
    tokens = plain + control + user_defined + ["[PAD1]", "[PAD2]"]
    kinds = [1] * len(plain) + [CONTROL] * len(control) + [USER_DEFINED] * len(user_defined)
    return {
        "model": "gpt2",
        "pre": pre,
        "tokens": tokens,
        "token_type": [*kinds, int(TokenType.UNUSED), int(TokenType.UNUSED)],
        "merges": merges,
        "bos_token_id": tokens.index(start),
        "eos_token_id": tokens.index("<|im_end|>"),
        "padding_token_id": tokens.index(padding),
        "chat_template": "{{ messages[0]['content'] }}",
    }


def sentencepiece(pieces: list[str], user_defined: list[str]) -> dict[str, Any]:
    """A vocabulary as Gemma's: named tokens, bytes, and pieces from the best on; spaces are spaces in added ones."""
    control = ["<pad>", "<eos>", "<bos>", "<unk>", "<end_of_turn>"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    ranked = [-float(rank) for rank in range(len(pieces))]
    return {
        "model": "llama",
        "tokens": control + user_defined + byte_tokens + pieces,
        "scores": [-1000.0] * (len(control) + len(user_defined)) + [0.0] * 256 + ranked,
        "token_type": [CONTROL] * len(control)
        + [USER_DEFINED] * len(user_defined)
        + [int(TokenType.BYTE)] * 256
        + [1] * len(pieces),
        "bos_token_id": 2,
        "eos_token_id": 1,
        "unknown_token_id": 3,
        "padding_token_id": 0,
    }
