"""A model's sizes without its weights: from its config.json where that is at hand, else from a small table."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from ragr1_lite.core.errors import ModelError
from ragr1_lite.files.json_lines import json_of, whole_text
from ragr1_lite.models.adapter_folder import base_key


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder, by the names of its config.json; ``family`` is its ``model_type``."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool
    family: str

    @property
    def queries(self) -> int:
        """Width of a token's queries, all heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of a token's keys, and of its values, all heads together."""
        return self.num_key_value_heads * self.head_dim

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """A layer's linear modules: what goes in and what comes out."""
        hidden, inner = self.hidden_size, self.intermediate_size
        return {
            "q_proj": (hidden, self.queries),
            "k_proj": (hidden, self.keys),
            "v_proj": (hidden, self.keys),
            "o_proj": (self.queries, hidden),
            "gate_proj": (hidden, inner),
            "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Weights of all layers' linear modules: those that 4 bits are for."""
        return self.num_hidden_layers * sum(wide * high for wide, high in self.linears.values())

    @property
    def other_parameters(self) -> int:
        """Embeddings, output layer, norms and biases: those that 4 bits leave alone."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        bias = self.queries + 2 * self.keys if self.family == "qwen2" else 0
        norms = (4 if self.family == "gemma3_text" else 2) * self.hidden_size
        norms += 2 * self.head_dim if self.family in ("qwen3", "gemma3_text") else 0
        return embeddings + self.num_hidden_layers * (bias + norms) + self.hidden_size

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.linear_parameters + self.other_parameters


TABLE = {
    "smollm2-135m": Shape(576, 1536, 30, 9, 3, 64, 49_152, True, "llama"),
    "gemma-3-270m": Shape(640, 2048, 18, 4, 1, 256, 262_144, True, "gemma3_text"),
    "qwen2.5-0.5b": Shape(896, 4864, 24, 14, 2, 64, 151_936, True, "qwen2"),
    "qwen2.5-1.5b": Shape(1536, 8960, 28, 12, 2, 128, 151_936, True, "qwen2"),
    "qwen2.5-3b": Shape(2048, 11_008, 36, 16, 2, 128, 151_936, True, "qwen2"),
    "qwen2.5-7b": Shape(3584, 18_944, 28, 28, 4, 128, 152_064, False, "qwen2"),
    "qwen3-0.6b": Shape(1024, 3072, 28, 16, 8, 128, 151_936, True, "qwen3"),
    "qwen3-1.7b": Shape(2048, 6144, 28, 16, 8, 128, 151_936, True, "qwen3"),
    "qwen3-4b": Shape(2560, 9728, 36, 32, 8, 128, 151_936, True, "qwen3"),
}
"""The published configs of the models that recipes ship for."""


def find_shape(name: str) -> Shape:
    """The shape of a model by its name, a folder or a hub id; nothing is fetched.

    Raises:
        ModelError: It is not known on this machine, or its config is broken.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return read_shape(folder / "config.json")
    if shape := _from_table(name):
        return shape
    if cached := _cached_config(name):
        return read_shape(cached)
    raise ModelError(
        f"The sizes of {name} are not known here",
        "Give --probe, which loads the model and measures, or set model.name to its folder.",
    )


def _from_table(name: str) -> Shape | None:
    """By what all names of a model have in common, without ``-Coder`` and what follows the size: ``-Instruct``."""
    key = base_key(name).replace("-coder", "")
    for known, shape in TABLE.items():
        if re.fullmatch(rf"{re.escape(known)}(-(instruct|base|\d{{4}}))*", key):
            return shape
    return None


def _cached_config(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    with suppress(HFValidationError):
        if isinstance(found := try_to_load_from_cache(name, "config.json"), str):
            return Path(found)
    return None


def read_shape(path: Path) -> Shape:
    """The shape that a config.json describes.

    Raises:
        ModelError: It is missing or broken, or lacks a size.
    """
    try:
        config = json_of(whole_text(path))
        heads = int(config["num_attention_heads"])
        derived = {
            "num_key_value_heads": heads,
            "head_dim": int(config["hidden_size"]) // heads,
            "tie_word_embeddings": False,
            "family": config["model_type"],
        }
        given = {field.name: config.get(field.name) for field in fields(Shape)}
        sizes = derived | {name: value for name, value in given.items() if value is not None}
        for field in fields(Shape):
            value = sizes[field.name]
            if type(value).__name__ != field.type or (type(value) is int and value <= 0):
                raise ValueError(f"{field.name} is {value!r:.40}")
        return Shape(**sizes)
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist, so there is no model in that folder", "Check the path.") from None
    except (ArithmeticError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} does not give the sizes of a decoder ({type(error).__name__}: {error})",
            "Give the folder of a causal language model such as Qwen2.5.",
        ) from error
