"""The pass of a training step on a CPU: packed rows, fused layers, and logits only where there is something to learn.

TRL calls the model with padded rows, labels and masks, and goes on with the loss and log-probabilities that it gets.
Here the model's forward is replaced below all wrappers: rows are packed (:mod:`ragr1_lite.models.packing`), LoRA layers
and the output layer are single functions (:mod:`ragr1_lite.models.fused`). Of GRPO's rows, those that teach nothing
are left out: an advantage of 0 multiplies all they would add. Losses and gradients are TRL's, up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ragr1_lite.config import Recipe
from ragr1_lite.models import upstream
from ragr1_lite.models.fused import fuse_lora, token_logprobs
from ragr1_lite.models.kv_cache import supports
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.packing import hidden_states
from ragr1_lite.models.processes import processes, sharded

IGNORED = -100  # the label of a position that is not trained


class PackedForward:
    """A causal language model's forward that packs its rows where it is given labels.

    Attributes:
        wanted: Of the batch's last columns, 1 where a label counts, ``(rows, columns)``; None: all count.
        temperature: Logits are divided by it.
    """

    def __init__(self, model: Any, temperature: float = 1.0) -> None:
        self.wanted: Tensor | None = None
        self.temperature = temperature
        self._model, self._otherwise = model, type(model).forward.__get__(model)

    def __call__(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **options: Any,
    ) -> Any:
        """What TRL reads of an output: the loss, and figures of each label; without labels, what the model gives."""
        if labels is None:
            return self._otherwise(input_ids=input_ids, attention_mask=attention_mask, **options)
        assert input_ids is not None and attention_mask is not None
        labels = self._trained(labels)
        real = attention_mask.bool()
        rows = [ids[mask].tolist() for ids, mask in zip(input_ids, real, strict=True)]
        # a row without a label is not read; one is, so that a gradient, if only of zeros, reaches every weight
        read = sorted(set((labels != IGNORED).any(1).nonzero()[:, 0].tolist()) or {0})
        packing, states = hidden_states(self._model, [rows[i] for i in read])
        before = torch.zeros_like(input_ids)  # where in the packing stands what predicts a token
        for i, places in zip(read, packing.places, strict=True):
            before[i, real[i].nonzero()[1:, 0]] = torch.tensor(places[:-1], device=before.device)
        known = labels != IGNORED
        found = token_logprobs(states[before[known]], self._weight, labels[known], self.temperature)
        logprobs, entropies, likeliest = (part.new_zeros(labels.shape).masked_scatter(known, part) for part in found)
        count = known.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        return upstream.scored(-logprobs.sum() / count, logprobs, entropies, likeliest, known)

    def _trained(self, labels: Tensor) -> Tensor:
        """Labels of what is wanted; what begins a row is predicted by nothing."""
        labels = labels.clone()
        labels[:, 0] = IGNORED
        if self.wanted is not None:
            labels[:, -self.wanted.shape[1] :].masked_fill_(self.wanted == 0, IGNORED)
        return labels

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = self._model.get_output_embeddings().weight
        return weight


def pack(trainer: Any, policy: Policy, temperature: float = 1.0) -> PackedForward | None:
    """Has the policy's model pack the rows that it trains on.

    None on a card, where nothing was measured, with gradient checkpointing, and for models sharded or of another kind.
    """
    base: Any = policy.model.get_base_model()
    head: Any = base.get_output_embeddings()
    plain = getattr(head, "bias", None) is None and not head.weight.requires_grad
    usable = policy.device == "cpu" and not trainer.args.gradient_checkpointing and not sharded()
    if not usable or not plain or not supports(base.config):
        return None
    fuse_lora(policy.model)
    forward = PackedForward(base, temperature)
    vars(base)["forward"] = forward
    return forward


def unpack(policy: Policy) -> None:
    """Gives the model its own forward back."""
    base: Any = policy.model.get_base_model()
    if isinstance(vars(base).get("forward"), PackedForward):
        del vars(base)["forward"]


def pack_grpo(trainer: Any, policy: Policy, recipe: Recipe) -> bool:
    """The same for GRPO's trainer, which then reads no row that teaches nothing and no token that was retrieved."""
    forward = pack(trainer, policy, recipe.grpo.temperature)
    if forward is None:
        return False
    upstream.score_by_labels(trainer)
    if recipe.grpo.loss_type != "bnpo":  # whose means are those of passes
        upstream.keep_groups_together(trainer)
    trainer.compute_loss = _LiveRows(trainer, forward, recipe)
    return True


class _LiveRows:
    """A GRPO trainer's ``compute_loss`` that leaves out rows without an advantage, and has no logits of other tokens.

    With a KL (``grpo.beta``) every row has something to say; ``bnpo`` counts the tokens of all; of several processes
    each has to call the model.
    """

    def __init__(self, trainer: Any, forward: PackedForward, recipe: Recipe) -> None:
        self._compute_loss, self._model, self._forward = trainer.compute_loss, trainer.model, forward
        self._all = recipe.grpo.beta != 0 or recipe.grpo.loss_type == "bnpo" or processes() > 1

    def __call__(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        live = torch.ones_like(inputs["advantages"]) if self._all else (inputs["advantages"] != 0).float()
        if not live.any():  # zeros: AdamW goes on where there is no gradient
            return sum(0.0 * weight.sum() for weight in self._model.parameters() if weight.requires_grad)
        mask = inputs["tool_mask"] * live[:, None].to(inputs["tool_mask"].dtype)
        self._forward.wanted = mask * inputs["completion_mask"]
        try:
            return self._compute_loss(model, inputs | {"tool_mask": mask}, *args, **options)
        finally:
            self._forward.wanted = None
