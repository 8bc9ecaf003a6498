"""Converts a GGUF file into an ordinary model folder: bf16 safetensors, config, fast tokenizer.

For the architectures of the built-in models, and Qwen3. transformers' ``gguf_file`` is
slow, loses SmolLM2's digit rule and swaps its end and start tokens, and takes Gemma's ranks for log-probabilities.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragr1_lite.core.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from gguf import GGUFReader, TensorNameMap
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

CLASSES = {
    "llama": ("LlamaForCausalLM", "llama"),
    "qwen2": ("Qwen2ForCausalLM", "qwen2"),
    "qwen3": ("Qwen3ForCausalLM", "qwen3"),
    "gemma3": ("Gemma3ForCausalLM", "gemma3_text"),
}
"""Of each GGUF architecture, transformers' class and model type."""
ARCHITECTURES = {model_type: architecture for architecture, (_, model_type) in CLASSES.items()}
"""GGUF's names by transformers' model types."""
_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
}
_ENDS = {"<|im_end|>", "<|endoftext|>", "<end_of_turn>"}
"""What ends a turn, too, whichever token the file names."""
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_COMPARED = 512  # rows of two matrices that show whether they are one
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5  # kinds of tokens in GGUF


def convert(gguf_path: Path, folder: Path) -> None:
    """Writes a model folder from a GGUF file of the architecture llama, qwen2, qwen3 or gemma3.

    Raises:
        ModelError: The file has another architecture, or lacks a field.
    """
    from gguf import GGUFReader
    from safetensors.torch import save_file

    reader = GGUFReader(gguf_path)
    config = _config(reader)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_weights(reader, config), folder / "model.safetensors", metadata={"format": "pt"})
    _save_tokenizer(reader, config, folder)
    tokens = _field(reader, "tokenizer.ggml.tokens")
    ends = [config["eos_token_id"], *(i for i, token in enumerate(tokens) if token in _ENDS)]
    generation = {"eos_token_id": list(dict.fromkeys(ends)), "pad_token_id": config["pad_token_id"]}
    for name, content in (("generation_config.json", generation), ("config.json", config)):
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


def _field(reader: GGUFReader, key: str) -> Any:
    if (field := reader.get_field(key)) is None:
        raise ModelError(f"The GGUF file has no {key}", "Give another file.")
    return field.contents()


def _config(reader: GGUFReader) -> dict[str, Any]:
    architecture = _field(reader, "general.architecture")
    if architecture not in CLASSES:
        raise ModelError(
            f"GGUF files of the architecture {architecture} cannot be read", f"Read: {', '.join(CLASSES)}."
        )
    model_class, model_type = CLASSES[architecture]

    def own(key: str) -> Any:
        return _field(reader, f"{architecture}.{key}")

    tokens = _field(reader, "tokenizer.ggml.tokens")
    eos, pad = (_field(reader, f"tokenizer.ggml.{name}_token_id") for name in ("eos", "padding"))
    sizes = {"vocab_size": len(tokens)} | {name: own(key) for name, key in _SIZES.items()}
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": own("rope.freq_base")}
    match architecture:
        case "llama":
            particular: dict[str, Any] = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
        case "qwen2":
            # Without a version transformers takes it for an old Mistral, whose tokenizer had a fault, and warns.
            particular = {"hidden_act": "silu", "transformers_version": "5.2.0"}
        case "qwen3":
            particular = {"hidden_act": "silu", "attention_bias": False, "head_dim": own("attention.key_length")}
        case _:
            rope = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}}
            types = ["sliding_attention"] * 5 + ["full_attention"]
            particular = {
                "hidden_activation": "gelu_pytorch_tanh",
                "head_dim": own("attention.key_length"),
                "query_pre_attn_scalar": own("attention.key_length"),
                "sliding_window": own("attention.sliding_window"),
                "layer_types": [types[layer % 6] for layer in range(sizes["num_hidden_layers"])],
            }
    return {
        "architectures": [model_class],
        "model_type": model_type,
        "dtype": "bfloat16",
        **sizes,
        "rms_norm_eps": float(f"{own('attention.layer_norm_rms_epsilon'):.6g}"),  # of 32 bits there
        "rope_parameters": rope,
        **particular,
        "tie_word_embeddings": _is_tied(reader),
        "bos_token_id": _field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": eos,
        "pad_token_id": tokens.index("<|endoftext|>") if pad == eos else pad,  # else an end would not be trained
    }


def _is_tied(reader: GGUFReader) -> bool:
    """Whether the output layer is the embedding: it is not there, or there as the same matrix in other precision."""
    import numpy as np
    from gguf import dequantize

    found = {tensor.name: tensor for tensor in reader.tensors}
    if "output.weight" not in found:
        return True
    both = [found[name] for name in ("token_embd.weight", "output.weight")]
    few = max(len(both[0].data) // _COMPARED, 1)
    one, other = (dequantize(tensor.data[::few], tensor.tensor_type) for tensor in both)
    return bool(np.linalg.norm(one - other) < 0.5 * np.linalg.norm(one))


def tensor_names(config: dict[str, Any]) -> TensorNameMap:
    """GGUF's names of a model's tensors, by transformers' names."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    return get_tensor_name_map(MODEL_ARCH[ARCHITECTURES[config["model_type"]].upper()], config["num_hidden_layers"])


def _weights(reader: GGUFReader, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Every tensor, dequantized to bf16 under its transformers name."""
    import torch
    from gguf import dequantize
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, names = config["model_type"], tensor_names(config)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    with torch.device("meta"):  # no weights, only their names
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    targets = {names.get_name(name, (".weight", ".bias")): name for name in model.state_dict()}
    found = {tensor.name: tensor for tensor in reader.tensors}
    if config["tie_word_embeddings"] and "output.weight" in found:  # twice: the head's copy is the finer one
        found["token_embd.weight"] = found.pop("output.weight")
    weights = {}
    for name in found.keys() & targets.keys():
        target = targets[name]
        values = dequantize(found[name].data, found[name].tensor_type)
        if kind == "gemma3_text" and name.endswith("norm.weight"):
            values = values - 1  # transformers adds it
        if kind == "llama" and (part := target.split(".")[-2]) in heads:
            values = _halves(values, heads[part])
        weights[target] = torch.tensor(values).to(torch.bfloat16)
    return weights


def _halves(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Reorders a query or key projection ``(heads * dim, hidden)`` from GGUF's rotary pairs to transformers' halves."""
    rows, hidden = values.shape
    return values.reshape(heads, rows // heads // 2, 2, hidden).swapaxes(1, 2).reshape(rows, hidden)


def _save_tokenizer(reader: GGUFReader, config: dict[str, Any], folder: Path) -> None:
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = _field(reader, "tokenizer.ggml.tokens")
    kinds: list[int] = _field(reader, "tokenizer.ggml.token_type")
    if _field(reader, "tokenizer.ggml.model") == "llama":
        tokens = [token.replace(" ", "▁") for token in tokens]
        backend = _pieces(reader, tokens, kinds)
    else:
        backend = _byte_level(reader, tokens, kinds)
    named = {
        f"{name}_token": tokens[config[f"{name}_token_id"]]
        for name in ("bos", "eos", "pad")
        if name != "bos" or config["bos_token_id"] != config["pad_token_id"]  # Qwen's, which opens nothing
    }
    if unknown := reader.get_field("tokenizer.ggml.unknown_token_id"):
        named["unk_token"] = tokens[unknown.contents()]
    for kind in (_CONTROL, _USER_DEFINED):
        added = [token for token, its in zip(tokens, kinds, strict=True) if its == kind]
        backend.add_tokens([AddedToken(token, normalized=False, special=kind == _CONTROL) for token in added])
    template = reader.get_field("tokenizer.chat_template")
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **named,
        model_max_length=config["max_position_embeddings"],
        clean_up_tokenization_spaces=False,
        chat_template=template.contents() if template else None,
    ).save_pretrained(folder)


def _byte_level(reader: GGUFReader, tokens: list[str], kinds: list[int]) -> Tokenizer:
    """SmolLM2's (single digits) and Qwen2's tokenizer: BPE over bytes."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    merges = [tuple(merge.split(" ")) for merge in _field(reader, "tokenizer.ggml.merges")]
    vocabulary = {token: i for i, token in enumerate(tokens) if kinds[i] != _UNUSED}
    backend = Tokenizer(BPE(vocab=vocabulary, merges=merges))
    qwen2 = _field(reader, "tokenizer.ggml.pre") == "qwen2"
    words = pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated") if qwen2 else pre_tokenizers.Digits(True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not qwen2)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_])
    if qwen2:
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    return backend


def _pieces(reader: GGUFReader, tokens: list[str], kinds: list[int]) -> Tokenizer:
    """Gemma's tokenizer: BPE over characters, and over the bytes of those that it does not know.

    A SentencePiece model stores no merges: any two tokens that make a third may be merged, the best third first, of
    equals that with the longest first half.
    """
    from tokenizers import Tokenizer, decoders, normalizers, processors
    from tokenizers.models import BPE

    scores: list[float] = _field(reader, "tokenizer.ggml.scores")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    found = [
        (scores[i] if kinds[i] != _USER_DEFINED else 0.0, at, len(token) - at, token[:at], token[at:])
        for i, token in enumerate(tokens)
        if kinds[i] in (1, _USER_DEFINED)
        for at in range(1, len(token))
        if token[:at] in vocabulary and token[at:] in vocabulary
    ]
    found.sort(key=lambda one: one[:3], reverse=True)
    unknown = tokens[_field(reader, "tokenizer.ggml.unknown_token_id")]
    merges = [one[3:] for one in found]
    backend = Tokenizer(BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    start = _field(reader, "tokenizer.ggml.bos_token_id")
    backend.post_processor = processors.TemplateProcessing(
        single=f"{tokens[start]} $A", special_tokens=[(tokens[start], start)]
    )
    return backend
