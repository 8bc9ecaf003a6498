"""What a training holds in memory, part by part, from the model's sizes and the recipe's.

Bytes throughout. A CPU trains on packed rows (:mod:`ragr1_lite.training.packed_pass`), a card on TRL's padded batches.
What layers keep for the backward pass was read off ``torch.autograd.graph.saved_tensors_hooks`` for Llama, Qwen2 and
Qwen3 with LoRA, and each part was compared with processes that did the steps: see docs/memory.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ragr1_lite.config import ALL_LINEAR
from ragr1_lite.training.planning.machine import Device
from ragr1_lite.training.planning.shapes import Shape

MIB = 1 << 20
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Per weight: half a byte; of 64 weights one 8-bit scale, of 256 scales one in fp32 (double quantisation)."""
LOSS_CHUNK = {"cuda": 256, "cpu": 128}
"""Tokens whose logits a loss has at a time: TRL's chunked loss of SFT, :data:`ragr1_lite.models.fused.CHUNK`."""
LOSS_TILE = (2048, 8192)
"""Tokens and words of the vocabulary whose logits TRL's chunked log-probabilities of GRPO have at a time."""
PREFILL_CHUNK = 512
"""Tokens of one forward while rollouts are sampled; :data:`ragr1_lite.models.kv_cache.CHUNK`."""
SAMPLING_ON_CPU = 110 * MIB
"""What else a CPU holds while it samples, measured: kernels and buffers, what training left in small pieces."""
WORKING = {"activations", "logits", "kv_cache"}  # parts that come and go
SAMPLING = {"merged", "kv_cache", "activations"}  # parts that only our own sampler has
PADDED_TO = 32  # SFT on a card pads to a multiple of it


@dataclass(frozen=True, slots=True)
class Setting:
    """What the formulas need to know of a recipe."""

    shape: Shape
    task: Literal["sft", "grpo"]
    device: Device
    dtype: str  # of the weights: ``fp32``, ``bf16``, ``fp16`` or ``nf4``
    stream: int  # bytes of a number in the hidden states and of what a matrix product gives: 2 or, in fp32, 4
    rank: int  # of the adapter
    targets: tuple[str, ...]  # the linear modules that get one
    micro_batch: int  # sequences per forward pass
    length: int  # tokens of the longest sequence
    rows: int  # sequences sampled together
    reference: bool  # whether a copy of the starting adapter is kept for the KL

    @property
    def autocast(self) -> bool:
        """Whether training casts the adapter, which is in fp32, to what the base computes in."""
        return self.stream == 2

    @property
    def adapted(self) -> dict[str, tuple[int, int]]:
        """The linear modules of a layer that have an adapter."""
        every = ALL_LINEAR in self.targets
        return {name: size for name, size in self.shape.linears.items() if every or name in self.targets}

    @property
    def padded(self) -> int:
        """Tokens of the longest sequence with its padding."""
        return (
            math.ceil(self.length / PADDED_TO) * PADDED_TO
            if (self.task, self.device) == ("sft", "cuda")
            else self.length
        )

    @property
    def tokens(self) -> int:
        """Tokens of a micro-batch, padding included; packed rows may have no beginning in common."""
        return self.micro_batch * self.padded


def weights(s: Setting) -> float:
    """4 or 2 bytes a weight; 4 bits are for the linear modules of the layers, bitsandbytes leaves the rest as it is."""
    if s.dtype == "nf4":
        return s.shape.linear_parameters * NF4_BYTES + s.shape.other_parameters * s.stream
    return s.shape.parameters * (4 if s.dtype == "fp32" else 2)


def adapter(s: Setting) -> float:
    """``rank x (in + out)`` numbers in fp32 per adapted module of each layer, whatever the base is in."""
    return 4 * s.rank * s.shape.num_hidden_layers * sum(wide + high for wide, high in s.adapted.values())


def layer_saved(s: Setting) -> float:
    """What one layer keeps of a micro-batch for its backward pass.

    Per token: the two norms' inputs in fp32; gate, activated gate and up; queries, the attention's output, keys and
    values; each adapter's input; what lies between its two matrices; and, per head, a sum in fp32. A padded batch rules
    grouped attention out, so that keys and values are repeated for every head, and has an attention mask, as wide as a
    sequence. The base's linear modules are frozen and keep nothing.
    """
    shape, size, packs = s.shape, s.stream, s.device == "cpu"
    norms = 2 * shape.hidden_size * 4
    if shape.family == "qwen3":
        norms += (shape.queries + shape.keys) * 4
    mlp = 3 * shape.intermediate_size * size
    attention = 2 * (shape.queries + (shape.keys if packs else shape.queries)) * size + shape.num_attention_heads * 4
    mask = 0 if packs else s.padded * size
    lora = (_lora_inputs(s) + s.rank * len(s.adapted)) * size
    return s.tokens * (norms + mlp + attention + lora + mask)


def _lora_inputs(s: Setting) -> int:
    """Numbers per token that a layer's adapters keep as their inputs.

    peft casts its input to the adapter's fp32, which autocast copies for each. Else modules with the same input share
    it, and o_proj's is, unless rows are packed, the attention's own output.
    """
    inputs = {name: wide for name, (wide, _) in s.adapted.items()}
    fused = s.device == "cpu" and s.dtype != "nf4"
    if s.autocast and not fused:
        return sum(inputs.values())
    shared = [("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("down_proj",)]
    if s.device == "cpu":
        shared.append(("o_proj",))
    return sum(max(inputs.get(name, 0) for name in names) for names in shared)


def layer_working(s: Setting) -> float:
    """What the backward pass of one layer needs at its widest: gradients of the MLP's three inner tensors.

    In 4 bits also the module's weights, for a moment in ``stream`` bytes each.
    """
    whole = max(wide * high for wide, high in s.shape.linears.values()) * s.stream if s.dtype == "nf4" else 0
    return 3 * s.tokens * s.shape.intermediate_size * s.stream + whole


def checkpoints(s: Setting) -> float:
    """With gradient checkpointing: the hidden states between the layers."""
    return s.shape.num_hidden_layers * s.tokens * s.shape.hidden_size * s.stream


def ends_saved(s: Setting) -> float:
    """The last norm's input and output and, by autocast, the adapter in bf16."""
    return s.tokens * s.shape.hidden_size * (4 + s.stream) + (adapter(s) / 2 if s.autocast else 0)


def logits(s: Setting) -> float:
    """What the loss holds on top: no more than a tile of tokens by words of the vocabulary at a time.

    A CPU: a tile's logits and what comes of them, next to the tile before's, in fp32, and of all tokens the states and
    their gradients. A card, SFT: the tile's logits, log-probabilities, those exponentiated and a product, in fp32, and
    before them the product in the dtype of training. GRPO, in the backward pass: the product, its buffer in fp32, the
    tile before's probabilities and gradient, a difference about to become the next probabilities and, by autocast, the
    output layer's weights in fp32.
    """
    tokens, words, rest = LOSS_CHUNK[s.device], s.shape.vocab_size, 0
    if s.device == "cpu":
        numbers, rest = 3 * 4, 2 * s.tokens * s.shape.hidden_size * s.stream
    elif s.task == "sft":
        numbers = 4 * 4 + (2 if s.autocast else 0)
    else:
        tokens, words = LOSS_TILE[0], min(LOSS_TILE[1], words)
        numbers = 5 * 4 + s.stream
        rest = 4 * words * s.shape.hidden_size if s.autocast else 0
    return min(tokens, s.tokens) * words * numbers + rest


def merged(s: Setting) -> float:
    """While sampling: the adapted modules with their adapter added in, next to the originals; not for 4 bits."""
    if s.dtype == "nf4":
        return 0.0
    layer = sum(wide * high for wide, high in s.adapted.values())
    return s.shape.num_hidden_layers * layer * (4 if s.dtype == "fp32" else 2)


def kv_cache(s: Setting) -> float:
    """``rows x length x layers x 2 x keys`` numbers."""
    return s.rows * s.length * s.shape.num_hidden_layers * 2 * s.shape.keys * s.stream


def sampling_working(s: Setting) -> float:
    """One forward of prefill through a layer, or the logits of all rows' next tokens, as they are and thrice in fp32.

    On a card, prefill's attention has all its scores in fp32, twice: its fast kernels take no mask with shared keys.
    """
    shape = s.shape
    whole = max(wide * high for wide, high in shape.linears.values()) * s.stream if s.dtype == "nf4" else 0
    layer = PREFILL_CHUNK * (3 * shape.intermediate_size + 2 * shape.hidden_size) * s.stream
    if s.device == "cuda":
        layer += 2 * PREFILL_CHUNK * shape.num_attention_heads * s.length * 4
    rest = SAMPLING_ON_CPU if s.device == "cpu" else 0
    return rest + max(layer + whole, s.rows * shape.vocab_size * (s.stream + 3 * 4))


def moments(s: Setting, runtime: float) -> dict[str, dict[str, float]]:
    """The moments at which memory may be highest, and what is held then."""
    always = {
        "runtime": runtime,
        "weights": weights(s),
        "adapter": adapter(s) * (1 + s.reference),  # the KL is measured from a copy of the starting one
        "optimizer": 2 * adapter(s),  # AdamW's two moments
    }
    kept = {"gradients": adapter(s)}
    if s.device == "cuda":
        layers, one = checkpoints(s), layer_saved(s)
    else:
        layers, one = s.shape.num_hidden_layers * layer_saved(s), 0.0
    found = {
        "loss": always | kept | {"activations": layers + ends_saved(s), "logits": logits(s)},
        "backward": always | kept | {"activations": layers + one + ends_saved(s) + layer_working(s)},
    }
    if s.task == "grpo":
        found["sampling"] = always | {
            "merged": merged(s),
            "kv_cache": kv_cache(s),
            "activations": sampling_working(s),
        }
    return found
