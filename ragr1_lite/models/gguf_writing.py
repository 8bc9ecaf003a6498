"""Writes a model folder as a GGUF file, which llama.cpp and Ollama read: what :mod:`.gguf` reads, the other way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ragr1_lite.core.errors import ModelError
from ragr1_lite.models.gguf import ARCHITECTURES, QWEN2_WORDS, tensor_names

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter
    from numpy.typing import NDArray

Precision = Literal["f16", "q8_0"]


def write_gguf(folder: Path, path: Path, precision: Precision = "f16") -> None:
    """Writes a model folder as one file; vectors stay in fp32.

    Args:
        folder: Weights as safetensors, config.json and a fast tokenizer.
        path: The file.
        precision: Of the matrices: 16 bits, or 8 bits in blocks of 32 with a scale each.

    Raises:
        ModelError: Its architecture, rotary embedding or tokenizer cannot be written.
    """
    from gguf import GGUFWriter
    from transformers import AutoTokenizer

    config = json.loads((folder / "config.json").read_text("utf-8"))
    kind = config["model_type"]
    if kind not in ARCHITECTURES:
        raise ModelError(f"A {kind} model cannot be written as GGUF", f"Written: {', '.join(ARCHITECTURES)}.")
    writer = GGUFWriter(path, ARCHITECTURES[kind])
    writer.add_name(folder.name)
    _add_sizes(writer, config)
    _add_tokenizer(writer, AutoTokenizer.from_pretrained(folder, local_files_only=True), config)
    _add_weights(writer, folder, config, precision)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_sizes(writer: GGUFWriter, config: dict[str, Any]) -> None:
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10_000.0)}
    rope = rope.get("full_attention", rope)
    scaled = rope.get("rope_type", "default") != "default" or config.get("rope_scaling")
    if scaled:
        raise ModelError("A scaled rotary embedding cannot be written as GGUF", "Export the merged folder instead.")
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope["rope_theta"])
    if config["model_type"] == "llama":
        writer.add_rope_dimension_count(head_dim)
        writer.add_vocab_size(config["vocab_size"])
    if config["model_type"] == "gemma3_text":
        writer.add_sliding_window(config["sliding_window"])


def _add_weights(writer: GGUFWriter, folder: Path, config: dict[str, Any], precision: Precision) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType, quants

    kind = config["model_type"]
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config.get("num_key_value_heads", 0)}
    names = tensor_names(config)
    writer.add_file_type(1 if precision == "f16" else 7)  # llama.cpp's numbers for mostly f16, mostly q8_0
    for name, values in _weights(folder):
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue  # some folders hold it a second time
        target = names.get_name(name, (".weight", ".bias"))
        if target is None:
            raise ModelError(f"GGUF has no name for the weight {name}", "Export the merged folder instead.")
        part = name.split(".")[-2]
        if kind == "llama" and part in heads:
            values = _pairs(values, heads[part])
        if kind == "gemma3_text" and name.endswith("norm.weight"):
            values = values + 1  # transformers adds it
        if values.ndim == 1:
            writer.add_tensor(target, values)
        elif precision == "q8_0" and values.shape[-1] % 32 == 0:
            eight = GGMLQuantizationType.Q8_0
            writer.add_tensor(target, quants.quantize(values, eight), raw_dtype=eight)
        else:
            writer.add_tensor(target, values.astype(np.float16))


def _weights(folder: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """All tensors in fp32, one after the other."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                yield name, file.get_tensor(name).float().numpy()


def _pairs(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Reorders a query or key projection ``(heads * dim, hidden)`` from transformers' halves to GGUF's rotary pairs."""
    rows, hidden = values.shape
    return values.reshape(heads, 2, rows // heads // 2, hidden).swapaxes(1, 2).reshape(rows, hidden)


def _add_tokenizer(writer: GGUFWriter, tokenizer: Any, config: dict[str, Any]) -> None:
    from gguf import TokenType

    fields = json.loads(tokenizer.backend_tokenizer.to_str())
    model, count = fields["model"], config["vocab_size"]
    if model["type"] != "BPE":
        raise ModelError(f"A {model['type']} tokenizer cannot be written as GGUF", "Export the merged folder instead.")
    pieces = bool(model.get("byte_fallback"))
    tokens, kinds = [f"[PAD{i}]" for i in range(count)], [int(TokenType.UNUSED)] * count
    for token, i in model["vocab"].items():
        is_byte = pieces and len(token) == 6 and token.startswith("<0x")
        tokens[i], kinds[i] = token, int(TokenType.BYTE if is_byte else TokenType.NORMAL)
    for added in fields["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        tokens[added["id"]], kinds[added["id"]] = added["content"], int(kind)
    writer.add_tokenizer_model("llama" if pieces else "gpt2")
    if pieces:  # the better a piece, the lower its id
        tokens = [
            token.replace("▁", " ") if its == TokenType.USER_DEFINED else token
            for token, its in zip(tokens, kinds, strict=True)
        ]
        writer.add_token_scores([-float(i) for i in range(count)])
    else:
        writer.add_tokenizer_pre(_pre(fields["pre_tokenizer"]))
        merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
        writer.add_token_merges(list(merges))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_add_bos_token(tokenizer("").input_ids[:1] == [tokenizer.bos_token_id] != [None])
    bos = config.get("bos_token_id") if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    writer.add_bos_token_id(pad if bos is None else bos)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(pad)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _pre(pre_tokenizer: dict[str, Any]) -> str:
    """GGUF's name of the rule by which a text is cut before its bytes are merged; ModelError for one not known."""
    first, *_ = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    if first["type"] == "Digits" and first["individual_digits"]:
        return "smollm"
    if first["type"] == "Split" and first["pattern"].get("Regex") == QWEN2_WORDS:
        return "qwen2"
    raise ModelError(
        "The tokenizer cuts texts by a rule whose name in GGUF is not known here",
        "Export the merged folder, and convert it with llama.cpp's own converter.",
    )
